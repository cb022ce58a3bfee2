//! Which keys a query sees: a band of positions, and its edges in whole blocks.
//!
//! Every mask is a band `position - left ..= position + right`, where the last query is at the last key's position. What
//! is hidden by a bias of `-∞` is not this file's business.

use std::ops::Range;

/// Which keys a query sees. The last query of a sequence is at the position of its last key: with fewer queries than keys
/// query `i` is at position `i + keys - queries`, as when a prompt continues a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mask {
    /// All of its sequence.
    #[default]
    None,
    /// Those at its position and before.
    Causal,
    /// Those from `left` before its position to `right` after it; `usize::MAX` is without end.
    Window {
        /// Most positions that a key lies before the query.
        left: usize,
        /// Most positions that a key lies after the query.
        right: usize,
    },
}

impl Mask {
    /// For a sequence of so many queries and keys.
    pub(crate) fn band(self, queries: usize, keys: usize) -> Band {
        // Beyond all there is (and a panel of queries more), a distance is as any larger one; lengths do not overflow.
        let all = queries + keys + 64;
        let (left, right) = match self {
            Mask::None => (all, all),
            Mask::Causal => (all, 0),
            Mask::Window { left, right } => (left.min(all), right.min(all)),
        };
        let offset = keys as isize - queries as isize;
        Band { offset, left: left as isize, right: right as isize, queries, keys }
    }
}

/// A mask on one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Band {
    /// Position of query 0.
    offset: isize,
    left: isize,
    right: isize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
}

impl Band {
    /// Keys that query `i` sees; `i` may lie beyond the last one.
    #[inline(always)]
    pub(crate) fn seen(&self, i: usize) -> Range<usize> {
        let position = i as isize + self.offset;
        let clamp = |at: isize| at.clamp(0, self.keys as isize) as usize;
        let start = clamp(position - self.left);
        start..clamp(position + self.right + 1).max(start)
    }

    /// Keys that one of these queries sees.
    #[inline(always)]
    pub(crate) fn seen_by(&self, queries: Range<usize>) -> Range<usize> {
        let last = queries.end.min(self.queries).max(queries.start + 1) - 1;
        let (first, last) = (self.seen(queries.start), self.seen(last));
        first.start..last.end.max(first.start)
    }

    /// Keys that each of these queries sees.
    #[inline(always)]
    pub(crate) fn seen_by_all(&self, queries: Range<usize>) -> Range<usize> {
        let (first, last) = (self.seen(queries.start), self.seen(queries.end - 1));
        last.start..first.end.max(last.start)
    }

    /// Queries that see one of these keys.
    #[inline(always)]
    pub(crate) fn seeing(&self, keys: Range<usize>) -> Range<usize> {
        let clamp = |at: isize| at.clamp(0, self.queries as isize) as usize;
        let start = clamp(keys.start as isize - self.right - self.offset);
        start..clamp(keys.end as isize + self.left - self.offset).max(start)
    }

    /// Which of `width` queries from `first` on, counted from `first`, see key `j`.
    #[inline(always)]
    pub(crate) fn lanes(&self, first: usize, width: usize, j: usize) -> Range<usize> {
        let clamp = |at: isize| at.clamp(0, width as isize) as usize;
        let at = j as isize - self.offset - first as isize;
        let start = clamp(at - self.right);
        start..clamp(at + self.left + 1).max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_is_what_its_mask_says() {
        let masks = [
            Mask::None,
            Mask::Causal,
            Mask::Window { left: 0, right: 0 },
            Mask::Window { left: 3, right: 0 },
            Mask::Window { left: usize::MAX, right: 2 },
            Mask::Window { left: 2, right: usize::MAX },
        ];
        for (queries, keys) in [(1, 1), (7, 7), (3, 9), (9, 3), (5, 0), (0, 5)] {
            for mask in masks {
                let band = mask.band(queries, keys);
                let sees = |i: usize, j: usize| {
                    let distance = j as i64 - (i + keys) as i64 + queries as i64;
                    match mask {
                        Mask::None => true,
                        Mask::Causal => distance <= 0,
                        Mask::Window { left, right } => {
                            -distance <= left.min(1000) as i64 && distance <= right.min(1000) as i64
                        }
                    }
                };
                for i in 0..queries {
                    for j in 0..keys {
                        let what = format!("{mask:?} of {queries} by {keys} at ({i}, {j})");
                        assert_eq!(band.seen(i).contains(&j), sees(i, j), "{what}");
                        assert_eq!(band.seeing(j..j + 1).contains(&i), sees(i, j), "{what}");
                        assert_eq!(band.lanes(0, queries, j).contains(&i), sees(i, j), "{what}");
                        let both = i..(i + 2).min(queries);
                        assert!(!sees(i, j) || band.seen_by(both.clone()).contains(&j), "{what}");
                        let all = both.clone().all(|i| sees(i, j));
                        assert_eq!(band.seen_by_all(both).contains(&j), all, "{what}");
                    }
                }
            }
        }
    }
}
