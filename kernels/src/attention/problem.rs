//! What attention is asked for: views, mask, bias and sequences, checked against each other once, and how sequences are
//! cut into tasks. Shapes alone decide the cut. What a task computes is not this file's business.

use std::ops::Range;

use super::mask::{Band, Mask};
use super::view::{Bias, Heads, Rows};
use crate::error::{check, checked_len, ShapeError};
use crate::grid::heads::Layout;
use crate::pool::{Buffer, Tag};

/// Attention with its options: what queries see, what is added to logits, where sequences begin. The default sees
/// everything, adds nothing and takes each entry of the batch for a sequence.
///
/// A query head reads key and value head `head · kv_heads / heads`, so that `heads / kv_heads` neighbours share one
/// (grouped-query attention).
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a, T> {
    pub(super) mask: Mask,
    pub(super) scale: Option<f64>,
    pub(super) bias: Option<Bias<'a, T>>,
    pub(super) offsets: Option<(&'a [usize], &'a [usize])>,
}

impl<T> Default for Attention<'_, T> {
    fn default() -> Self {
        Self { mask: Mask::None, scale: None, bias: None, offsets: None }
    }
}

impl<'a, T> Attention<'a, T> {
    /// Full attention, scaled by `1/√dim`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which keys a query sees.
    #[must_use]
    pub fn mask(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// The factor on `q·k`, instead of `1/√dim`.
    #[must_use]
    pub fn scale(self, scale: f64) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// Adds a bias to the scaled logits.
    #[must_use]
    pub fn bias(self, bias: Bias<'a, T>) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// Sequences of several lengths, packed one behind the other in a batch of 1: sequence `s` has the queries
    /// `queries[s]..queries[s + 1]` and the keys `keys[s]..keys[s + 1]`. Offsets begin at 0, do not descend, and end at
    /// the number of positions.
    #[must_use]
    pub fn sequences(self, queries: &'a [usize], keys: &'a [usize]) -> Self {
        Self { offsets: Some((queries, keys)), ..self }
    }
}

/// What was asked for, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem<'a, T> {
    pub(crate) q: Heads<'a, T>,
    pub(crate) k: Heads<'a, T>,
    pub(crate) v: Heads<'a, T>,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) dim: usize,
    pub(crate) sequences: usize,
    pub(crate) scale: f64,
    attention: Attention<'a, T>,
}

/// One head of one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a, T> {
    pub(crate) q: Rows<'a, T>,
    pub(crate) k: Rows<'a, T>,
    pub(crate) v: Rows<'a, T>,
    pub(crate) bias: Option<Rows<'a, T>>,
    pub(crate) band: Band,
    pub(crate) dim: usize,
    pub(crate) scale: f64,
}

impl<'a, T: Copy> Problem<'a, T> {
    pub(crate) fn new(
        attention: &Attention<'a, T>,
        q: Heads<'a, T>,
        k: Heads<'a, T>,
        v: Heads<'a, T>,
    ) -> Result<Self, ShapeError> {
        let [batch, queries, heads, dim] = q.shape();
        let [k_batch, keys, kv_heads, k_dim] = k.shape();
        check("the batch of the keys", batch, k_batch)?;
        check("the width of the keys", dim, k_dim)?;
        for (what, expected, found) in [
            ("the batch of the values", batch, v.shape()[0]),
            ("the positions of the values", keys, v.shape()[1]),
            ("the heads of the values", kv_heads, v.shape()[2]),
            ("the width of the values", dim, v.shape()[3]),
        ] {
            check(what, expected, found)?;
        }
        if heads > 0 && (kv_heads == 0 || !heads.is_multiple_of(kv_heads)) {
            return Err(ShapeError::Multiple { what: "the query heads", unit: kv_heads, found: heads });
        }
        let scale = attention.scale.unwrap_or(1.0 / (dim.max(1) as f64).sqrt());
        let sequences = match attention.offsets {
            None => batch,
            Some((of_queries, of_keys)) => {
                check("the batch of packed sequences", 1, batch)?;
                check("the offsets of the keys", of_queries.len(), of_keys.len())?;
                check_offsets(of_queries, queries)?;
                check_offsets(of_keys, keys)?;
                of_queries.len() - 1
            }
        };
        if let Some(bias) = attention.bias {
            let longest = |offsets: Option<&[usize]>, all| match offsets {
                None => all,
                Some(offsets) => offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0),
            };
            let queries = longest(attention.offsets.map(|offsets| offsets.0), queries);
            let keys = longest(attention.offsets.map(|offsets| offsets.1), keys);
            bias.check([sequences, heads, queries, keys])?;
        }
        Ok(Self { q, k, v, heads, kv_heads, dim, sequences, scale, attention: *attention })
    }

    /// The entry of the batch that a sequence's queries are in, and their positions there.
    pub(crate) fn queries(&self, sequence: usize) -> (usize, Range<usize>) {
        match self.attention.offsets {
            None => (sequence, 0..self.q.shape()[1]),
            Some((offsets, _)) => (0, offsets[sequence]..offsets[sequence + 1]),
        }
    }

    /// The same for its keys.
    pub(crate) fn keys(&self, sequence: usize) -> (usize, Range<usize>) {
        match self.attention.offsets {
            None => (sequence, 0..self.k.shape()[1]),
            Some((_, offsets)) => (0, offsets[sequence]..offsets[sequence + 1]),
        }
    }

    /// What the queries of a sequence see.
    pub(crate) fn band(&self, sequence: usize) -> Band {
        self.attention.mask.band(self.queries(sequence).1.len(), self.keys(sequence).1.len())
    }

    /// Whether something is added to logits.
    pub(super) fn is_biased(&self) -> bool {
        self.attention.bias.is_some()
    }

    /// Query heads that share a key and value head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }

    /// One query head of a sequence.
    pub(crate) fn head(&self, sequence: usize, head: usize) -> Head<'a, T> {
        let ((batch, queries), (_, keys)) = (self.queries(sequence), self.keys(sequence));
        let kv_head = head / self.group();
        Head {
            q: self.q.rows(batch, queries.start, head),
            k: self.k.rows(batch, keys.start, kv_head),
            v: self.v.rows(batch, keys.start, kv_head),
            bias: self.attention.bias.map(|bias| bias.rows(sequence, head)),
            band: self.band(sequence),
            dim: self.dim,
            scale: self.scale,
        }
    }

    /// That log-sums are `[batch, heads, queries]`.
    pub(crate) fn check_lse(&self, lse: usize) -> Result<(), ShapeError> {
        let [batch, queries, heads, _] = self.q.shape();
        check("the length of lse", checked_len("lse", &[batch, heads, queries])?, lse)
    }

    /// The log-sums as vectors of one number.
    pub(crate) fn lse_layout(&self) -> Layout {
        let [batch, queries, heads, _] = self.q.shape();
        Layout { shape: [batch, queries, heads, 1], strides: [heads * queries, 1, queries] }
    }
}

/// That gradients, or an output, are shaped as what they belong to.
pub(crate) fn check_shape(
    what: &'static str,
    expected: [usize; 4],
    found: [usize; 4],
) -> Result<(), ShapeError> {
    let names = match what {
        "output" => {
            ["the output's batch", "the output's positions", "the output's heads", "the output's width"]
        }
        _ => ["a gradient's batch", "a gradient's positions", "a gradient's heads", "a gradient's width"],
    };
    (0..4).try_for_each(|axis| check(names[axis], expected[axis], found[axis]))
}

/// That offsets begin at 0, do not descend, and end at `positions`.
fn check_offsets(offsets: &[usize], positions: usize) -> Result<(), ShapeError> {
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
        return Err(ShapeError::Mismatch { what: "the number of offsets", expected: 1, found: 0 });
    };
    check("the first offset", 0, *first)?;
    check("the last offset", positions, *last)?;
    match offsets.windows(2).find(|pair| pair[0] > pair[1]) {
        Some(pair) => Err(ShapeError::Index { what: "sequence's offset", index: pair[0], len: pair[1] }),
        None => Ok(()),
    }
}

/// Items `0..len()`, some for each sequence: which sequence an item is of, and which of its items it is.
pub(crate) struct Items {
    /// Items of the sequences before each sequence, and all at last.
    before: Buffer<usize>,
}

impl Items {
    /// `count(s)` items for sequence `s`.
    pub(crate) fn new(sequences: usize, count: impl Fn(usize) -> usize) -> Self {
        let mut before = Buffer::zeroed_as(Tag::Workspace, sequences + 1);
        for sequence in 0..sequences {
            before[sequence + 1] = before[sequence] + count(sequence);
        }
        Self { before }
    }

    pub(crate) fn len(&self) -> usize {
        self.before[self.before.len() - 1]
    }

    /// Where a sequence's items begin.
    pub(crate) fn start(&self, sequence: usize) -> usize {
        self.before[sequence]
    }

    /// The sequence of an item, and its number there.
    pub(crate) fn find(&self, item: usize) -> (usize, usize) {
        let sequence = self.before.partition_point(|before| *before <= item) - 1;
        (sequence, item - self.before[sequence])
    }
}
