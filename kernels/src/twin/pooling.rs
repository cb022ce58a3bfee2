//! Pooling in f64, window by window.

use crate::element::Write;
use crate::error::ShapeError;
use crate::pooling::{check_global, check_indices, Divisor, Pool2d};
use crate::twin::put;

/// Calls `f(output, elements)` for each window, `elements` being the indices of those inside the plane, by rows.
fn windows(pool: &Pool2d, (rows, cols): (usize, usize), mut f: impl FnMut(usize, &[usize])) {
    let (down, right) = pool.lines();
    let mut inside = Vec::new();
    for output in 0..pool.batch * pool.channels * rows * cols {
        let (plane, y, x) = (output / cols / rows, output / cols % rows, output % cols);
        inside.clear();
        for row in down.seen(y) {
            inside.extend(right.seen(x).map(|col| (plane * pool.height + row) * pool.width + col));
        }
        f(output, &inside);
    }
}

/// See [`pooling::max_pool_forward`](crate::pooling::max_pool_forward).
pub fn max_pool_forward(
    pool: &Pool2d,
    x: &[f64],
    out: &mut [f64],
    mut indices: Option<&mut [u32]>,
) -> Result<(), ShapeError> {
    let sizes = pool.check(x.len(), out.len())?;
    check_indices(pool, out.len(), indices.as_deref().map(<[u32]>::len))?;
    windows(pool, sizes, |output, elements| {
        let larger = |a: f64, b: f64| a > b || (a.is_nan() && !b.is_nan());
        let best = elements.iter().copied().reduce(|best, at| if larger(x[at], x[best]) { at } else { best });
        let best = best.expect("a window has an element");
        out[output] = x[best];
        if let Some(indices) = &mut indices {
            indices[output] = (best % (pool.height * pool.width)) as u32;
        }
    });
    Ok(())
}

/// See [`pooling::max_pool_backward`](crate::pooling::max_pool_backward).
pub fn max_pool_backward(
    pool: &Pool2d,
    dy: &[f64],
    indices: &[u32],
    dx: &mut [f64],
    write: Write,
) -> Result<(), ShapeError> {
    let (rows, cols) = pool.check(dx.len(), dy.len())?;
    check_indices(pool, dy.len(), Some(indices.len()))?;
    let plane = pool.height * pool.width;
    if let Some(&index) = indices.iter().find(|&&index| index as usize >= plane) {
        return Err(ShapeError::Index { what: "the place of a maximum", index: index as usize, len: plane });
    }
    if write == Write::Overwrite {
        dx.fill(0.0);
    }
    for (i, (dy, &index)) in dy.iter().zip(indices).enumerate() {
        dx[i / (rows * cols) * plane + index as usize] += dy;
    }
    Ok(())
}

/// See [`pooling::average_pool_forward`](crate::pooling::average_pool_forward).
pub fn average_pool_forward(
    pool: &Pool2d,
    divisor: Divisor,
    x: &[f64],
    out: &mut [f64],
) -> Result<(), ShapeError> {
    let sizes = pool.check(x.len(), out.len())?;
    windows(pool, sizes, |output, elements| {
        out[output] = elements.iter().map(|&at| x[at]).sum::<f64>() / count(pool, divisor, elements);
    });
    Ok(())
}

fn count(pool: &Pool2d, divisor: Divisor, inside: &[usize]) -> f64 {
    match divisor {
        Divisor::Kernel => pool.kernel.0 as f64 * pool.kernel.1 as f64,
        Divisor::Inside => inside.len() as f64,
    }
}

/// See [`pooling::average_pool_backward`](crate::pooling::average_pool_backward).
pub fn average_pool_backward(
    pool: &Pool2d,
    divisor: Divisor,
    dy: &[f64],
    dx: &mut [f64],
    write: Write,
) -> Result<(), ShapeError> {
    let sizes = pool.check(dx.len(), dy.len())?;
    if write == Write::Overwrite {
        dx.fill(0.0);
    }
    windows(pool, sizes, |output, elements| {
        for &at in elements {
            dx[at] += dy[output] / count(pool, divisor, elements);
        }
    });
    Ok(())
}

/// See [`pooling::global_average_forward`](crate::pooling::global_average_forward).
pub fn global_average_forward(x: &[f64], plane: usize, out: &mut [f64]) -> Result<(), ShapeError> {
    check_global(x.len(), plane, out.len())?;
    put(out, Write::Overwrite, |p| x[p * plane..][..plane].iter().sum::<f64>() / plane as f64);
    Ok(())
}

/// See [`pooling::global_average_backward`](crate::pooling::global_average_backward).
pub fn global_average_backward(
    dy: &[f64],
    plane: usize,
    dx: &mut [f64],
    write: Write,
) -> Result<(), ShapeError> {
    check_global(dx.len(), plane, dy.len())?;
    put(dx, write, |i| dy[i / plane] / plane as f64);
    Ok(())
}
