//! Sizes of blocks, from the shape and the [`Tuning`]. Only [`block_of_k`] touches the order of summation, and it looks at
//! `k` alone; everything else may be tuned without changing a bit of the result.

use super::operand::Side;
use crate::tuning::Tuning;

/// Longest block of `k`: a panel of B of 16 columns then fills 24 KiB of a 32 KiB first-level cache, and a width of 384
/// or less is summed in one block.
const MAX_BLOCK_OF_K: usize = 384;
/// Blocks of `k` are multiples of this, as packing transposes 4 by 4.
const K_STEP: usize = 4;
/// A slab of so many columns or rows keeps the private factor's repeated packing below 1/30 of the work.
const MIN_SLAB: usize = 512;
/// Rows of A for which a packed B is worth reading again: 96 operations a byte, some 2 GB/s a core.
const MIN_ROWS: usize = 192;

/// Length of the blocks that `k` is cut into, the last one maybe shorter: as few blocks as [`MAX_BLOCK_OF_K`] allows, and
/// of one size.
pub(crate) fn block_of_k(k: usize) -> usize {
    k.div_ceil(k.div_ceil(MAX_BLOCK_OF_K).max(1)).next_multiple_of(K_STEP).max(K_STEP)
}

/// How a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocking {
    /// The factor that each task packs for itself: the one with the larger outer dimension.
    pub(super) private: Side,
    /// Rows of A or columns of B in a task.
    pub(super) task: usize,
    /// Rows or columns of the shared factor that are packed at once.
    pub(super) slab: usize,
    /// How much of `k` is packed at once; a multiple of `block` unless it is all.
    pub(super) span: usize,
    /// Length of a block of `k`.
    pub(super) block: usize,
}

impl Blocking {
    /// For `C[m, n]` over `k` with register tiles `[mr, nr]`, on `workers`.
    pub(super) fn new(
        (m, n, k): (usize, usize, usize),
        (mr, nr): (usize, usize),
        workers: usize,
        tuning: Tuning,
    ) -> Self {
        let block = block_of_k(k);
        let (private, outer, inner, width, shared_width) =
            if m >= n { (Side::A, m, n, mr, nr) } else { (Side::B, n, m, nr, mr) };

        let numbers = tuning.shared_bytes / size_of::<f32>();
        let slab = (numbers / k.max(1)).max(MIN_SLAB).next_multiple_of(shared_width).min(inner);
        let span =
            if slab.saturating_mul(k) <= numbers { k } else { (numbers / slab / block).max(1) * block };

        // A private block is read once for every panel of the shared factor: it should stay in the second level.
        let fits = (tuning.private_bytes / size_of::<f32>() / block / width).max(1) * width;
        let worth = tuning.task_work.div_ceil(k.max(1).saturating_mul(slab)).next_multiple_of(width);
        let spread = outer.div_ceil(tuning.tasks * workers).next_multiple_of(width);
        let task = spread.max(worth).min(fits).min(outer.next_multiple_of(width));
        let task = balanced(outer.div_ceil(width), task / width, fits / width, workers) * width;
        Self { private, task, slab, span: span.max(1), block }
    }
}

impl Blocking {
    /// The same with B packed already, all of it: only A's rows are private, and slabs are tasks of their own.
    pub(super) fn of_packed(
        (m, n, k): (usize, usize, usize),
        (mr, nr): (usize, usize),
        workers: usize,
        tuning: Tuning,
    ) -> Self {
        let block = block_of_k(k);
        let fits = (tuning.private_bytes / size_of::<f32>() / block / mr).max(1);
        let panels = m.div_ceil(mr);
        // Each task of rows reads its columns of B again, which may come from memory, so rows are cut down to `MIN_ROWS` alone; where that is too
        // few for all workers, columns are cut as well, but not below what makes packing A cheap.
        let tasks = tuning.tasks * workers;
        let down = tasks.min(m / MIN_ROWS).max(1);
        let task = match down {
            1 => panels.min(fits),
            _ => balanced(panels, panels.div_ceil(down).min(fits), fits, workers),
        };
        let columns = tasks.div_ceil(panels.div_ceil(task));
        let numbers = tuning.shared_bytes / size_of::<f32>();
        let slab =
            n.div_ceil(columns).max(MIN_SLAB).min((numbers / k.max(1)).max(MIN_SLAB)).next_multiple_of(nr);
        Self { private: Side::A, task: task * mr, slab, span: k.max(1), block }
    }
}

/// Panels of a task: of the sizes between half of `panels` and twice as many, at most `most`, the one with which `workers`
/// are done first when each takes the next task as it ends one, and of several such the largest.
fn balanced(all: usize, panels: usize, most: usize, workers: usize) -> usize {
    let done = |panels: usize| all.div_ceil(panels).div_ceil(workers) * panels;
    let sizes = panels.div_ceil(2)..=(2 * panels).min(most).max(panels);
    sizes.min_by_key(|&panels| (done(panels), usize::MAX - panels)).unwrap_or(panels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::Caches;

    #[test]
    fn blocks_of_k_are_few_and_even() {
        for (k, block) in [(0, 4), (1, 4), (384, 384), (385, 196), (1024, 344), (1536, 384), (2048, 344)] {
            assert_eq!(block_of_k(k), block, "k = {k}");
        }
        assert!((1..5000).all(|k| block_of_k(k) <= 384 && k.div_ceil(block_of_k(k)) <= k.div_ceil(384)));
    }

    #[test]
    fn every_shape_gets_sizes_that_work() {
        let tuning = Tuning::of(Caches { private: 512 << 10, shared: 32 << 20 });
        for m in [1, 5, 6, 65, 384, 2048, 100_000] {
            for n in [1, 16, 65, 384, 1536, 50_257] {
                for k in [0, 1, 65, 384, 2048, 1 << 20] {
                    let b = Blocking::new((m, n, k), (6, 16), 2, tuning);
                    let (outer, inner, width) = if m >= n { (m, n, 6) } else { (n, m, 16) };
                    assert!(b.task.is_multiple_of(width) && b.task < outer + width, "{b:?}");
                    assert!(b.slab == inner || b.slab.is_multiple_of(22 - width), "{b:?}");
                    assert!(b.span == k.max(1) || b.span.is_multiple_of(b.block), "{b:?}");
                    assert!(b.slab * b.span * 4 <= tuning.shared_bytes || b.span == b.block, "{b:?}");
                }
            }
        }
    }

    #[test]
    fn packed_weights_are_read_once_unless_there_are_many_rows() {
        let tuning = Tuning::of(Caches { private: 2 << 20, shared: 32 << 20 });
        for m in [1, 33, 64, 128, 250, 1000, 100_000] {
            for n in [1, 33, 512, 700, 11_008] {
                for k in [1, 384, 4096] {
                    let b = Blocking::of_packed((m, n, k), (12, 32), 2, tuning);
                    assert!(b.task.is_multiple_of(12) && b.slab.is_multiple_of(32), "{b:?}");
                    // The second of two tasks is as even with the first as panels allow, so both may be half of that.
                    assert!(
                        m.div_ceil(b.task) <= (2 * m / MIN_ROWS).max(1),
                        "{m} rows in tasks of {}",
                        b.task
                    );
                    assert!(b.slab >= MIN_SLAB || b.slab >= n, "{n} columns in slabs of {}", b.slab);
                }
            }
        }
        let few = Blocking::of_packed((128, 11_008, 4096), (12, 32), 2, tuning);
        assert!(few.task >= 128 && 11_008_usize.div_ceil(few.slab) >= 12, "{few:?}");
    }

    #[test]
    fn tasks_are_dealt_out_evenly() {
        // 86 panels in tasks of 8 would be 11 of them: one worker would do 48 panels, the other 38.
        assert_eq!(balanced(86, 8, 20, 2), 11);
        assert_eq!(balanced(86, 8, 8, 1), 8);
        assert_eq!(balanced(1, 1, 1, 2), 1);
        for all in 1..200 {
            for panels in 1..=all {
                let task = balanced(all, panels, all, 3);
                assert!((1..=2 * panels).contains(&task), "{all} panels in tasks of {panels}: {task}");
            }
        }
    }
}
