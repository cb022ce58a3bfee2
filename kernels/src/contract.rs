//! What each kernel demands of its arguments' lengths and indices, said once for `f32` and its `f64` twin.
//!
//! A function here checks before anything is written and returns the number of rows. A width of 0 holds no rows.
//! GEMM's views are checked when they are made ([`crate::matrix`]) and attention's in [`attention`].

use crate::element::{AttentionShape, Epilogue, Gemm, RopeShape};
use crate::error::{check, checked_len, ShapeError};

/// Whole units in `len`.
pub(crate) fn units(what: &'static str, len: usize, unit: usize) -> Result<usize, ShapeError> {
    match (len, unit) {
        (0, _) => Ok(0),
        (_, 0) => Err(ShapeError::Multiple { what, unit, found: len }),
        _ if !len.is_multiple_of(unit) => Err(ShapeError::Multiple { what, unit, found: len }),
        _ => Ok(len / unit),
    }
}

/// The first index outside `0..len`, as an error.
fn indices(what: &'static str, indices: &[u32], len: usize) -> Result<(), ShapeError> {
    match indices.iter().find(|&&i| i as usize >= len) {
        Some(&i) => Err(ShapeError::Index { what, index: i as usize, len }),
        None => Ok(()),
    }
}

/// `(m, k, n)` of a product.
pub(crate) fn gemm<T>(g: &Gemm<'_, T>) -> Result<(usize, usize, usize), ShapeError> {
    let (m, k) = if g.transpose_a { (g.a.cols(), g.a.rows()) } else { (g.a.rows(), g.a.cols()) };
    let (k_b, n) = if g.transpose_b { (g.b.cols(), g.b.rows()) } else { (g.b.rows(), g.b.cols()) };
    product((m, k), (k_b, n), (g.c.rows(), g.c.cols()), &g.epilogue)?;
    Ok((m, k, n))
}

/// `[m, k]`, `[k, n]` and `[m, n]` of a product, and its epilogue.
pub(crate) fn product<T>(
    (m, k): (usize, usize),
    (k_b, n): (usize, usize),
    c: (usize, usize),
    epilogue: &Epilogue<'_, T>,
) -> Result<(), ShapeError> {
    check("a product's rows of op(b), which are op(a)'s columns,", k, k_b)?;
    check("a product's rows of c", m, c.0)?;
    check("a product's columns of c", n, c.1)?;
    if let Some(bias) = epilogue.bias {
        check("the length of the bias", n, bias.len())?;
    }
    if let Some(residual) = &epilogue.residual {
        check("rows of the residual", m, residual.rows())?;
        check("columns of the residual", n, residual.cols())?;
    }
    Ok(())
}

/// Lengths of packed projections, of the output and of the row sums: `(qkv, out, lse)`.
pub(crate) fn attention(
    shape: &AttentionShape,
    qkv: usize,
    out: usize,
    lse: usize,
) -> Result<(), ShapeError> {
    let AttentionShape { batch, seq, heads, dim, .. } = *shape;
    check("the length of qkv", checked_len("qkv", &[batch, seq, 3, heads, dim])?, qkv)?;
    check("the length of attention's output", batch * seq * heads * dim, out)?;
    check("the length of lse", checked_len("lse", &[batch, heads, seq])?, lse)
}

/// Lengths for one query against a cache; returns the positions in the cache.
pub(crate) fn decode(
    heads: usize,
    dim: usize,
    q: usize,
    keys: usize,
    values: usize,
    out: usize,
) -> Result<usize, ShapeError> {
    let row = checked_len("q", &[heads, dim])?;
    check("the length of q", row, q)?;
    check("the length of attention's output", row, out)?;
    check("the length of values", keys, values)?;
    units("the length of keys", keys, row)
}

/// Rows of `cols` in `x` and `out` (a normalisation, softmax, a bias).
pub(crate) fn rows(x: usize, cols: usize, out: usize) -> Result<usize, ShapeError> {
    let rows = units("the length of x", x, cols)?;
    check("the length of the output", x, out)?;
    Ok(rows)
}

/// Rows of a normalisation with its per-row statistics and per-column parameters.
pub(crate) fn norm(
    x: usize,
    cols: usize,
    out: usize,
    per_row: &[usize],
    per_col: &[usize],
) -> Result<usize, ShapeError> {
    let rows = rows(x, cols, out)?;
    per_row.iter().try_for_each(|&n| check("the length of a row statistic", rows, n))?;
    per_col.iter().try_for_each(|&n| check("the length of a column parameter", cols, n))?;
    Ok(rows)
}

/// The epsilon beside a variance or a mean of squares. It is the program's own number, not data: a wrong one would turn whole rows into NaN.
///
/// # Panics
/// When it is no finite number of at least 0.
pub(crate) fn epsilon(epsilon: f64) {
    assert!(
        epsilon.is_finite() && epsilon >= 0.0,
        "the epsilon of a norm must be a finite number of at least 0, but is {epsilon}"
    );
}

/// Slices of one length.
pub(crate) fn same(len: usize, others: &[usize]) -> Result<(), ShapeError> {
    others.iter().try_for_each(|&n| check("the length of an operand", len, n))
}

/// Rows `[gate | up]` of `2·width` beside rows of `width`.
pub(crate) fn swiglu(gate_up: usize, width: usize, out: usize) -> Result<usize, ShapeError> {
    let row = width.checked_mul(2).ok_or(ShapeError::Overflow { what: "a row of gate and up" })?;
    let rows = units("the length of gate and up", gate_up, row)?;
    check("the length of SwiGLU's output", rows * width, out)?;
    Ok(rows)
}

/// Rows of `heads · dim`.
pub(crate) fn rope(x: usize, shape: &RopeShape, out: usize) -> Result<usize, ShapeError> {
    units("the width of a rotary head", shape.dim, 2)?;
    if shape.rotate > shape.heads {
        return Err(ShapeError::Index { what: "rotated head", index: shape.rotate, len: shape.heads });
    }
    let rows = rows(x, checked_len("a row of heads", &[shape.heads, shape.dim])?, out)?;
    if rows > 0 && shape.seq == 0 {
        return Err(ShapeError::Multiple { what: "the number of rows", unit: 0, found: rows });
    }
    let positions = shape.seq.min(rows);
    if shape.first.checked_add(positions).is_none() {
        let what = "positions from the first one on";
        return Err(ShapeError::Limit { what, most: usize::MAX - shape.first, found: positions });
    }
    Ok(rows)
}

/// Rows of `heads · dim`, each at a position of its own.
pub(crate) fn rope_at(x: usize, positions: usize, shape: &RopeShape, out: usize) -> Result<(), ShapeError> {
    let rows = rope(x, &RopeShape { seq: positions, first: 0, ..*shape }, out)?;
    check("the number of positions", rows, positions)
}

/// Table rows picked by tokens; returns the vocabulary.
pub(crate) fn embedding(table: usize, width: usize, ids: &[u32], out: usize) -> Result<usize, ShapeError> {
    let vocabulary = units("the length of the table", table, width)?;
    check("the length of the embedded rows", checked_len("embedded rows", &[ids.len(), width])?, out)?;
    indices("token", ids, vocabulary)?;
    Ok(vocabulary)
}

/// Logits, targets and row sums.
pub(crate) fn cross_entropy(
    logits: usize,
    classes: usize,
    targets: &[u32],
    lse: usize,
) -> Result<(), ShapeError> {
    check("the length of the logits", checked_len("logits", &[targets.len(), classes])?, logits)?;
    check("the length of lse", targets.len(), lse)?;
    indices("target", targets, classes)
}
