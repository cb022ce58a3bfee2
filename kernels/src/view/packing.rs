//! When a row-major copy of a view pays: a model of the bytes that cross between a core's cache and memory.
//!
//! A pass over a view in row-major order loads whole cache lines. Where its last merged axis is dense in runs of `r` bytes, each run loads
//! `⌈r / 64⌉` lines; where it has a longer stride each element loads a line of its own, unless the lines of one whole run along that
//! axis fit the cache, for then the next index of a dense outer axis finds them there. A copy costs one such pass, and the row-major
//! bytes twice (a write loads the line that it overwrites); each later pass costs the row-major bytes.

use super::Layout;

/// Bytes of a cache line.
const LINE: usize = 64;

/// What passes over a view cost, in bytes moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// All passes over the view as it is.
    pub strided: u64,
    /// A copy, and all passes over the copy.
    pub packed: u64,
}

impl Packing {
    /// The cost of `passes` over a view of elements of `size` bytes, on a core whose cache holds `cache` bytes.
    ///
    /// ```
    /// use upbeat_kernels::view::{packing::Packing, Layout};
    ///
    /// let matrix = Layout::row_major(&[32768, 32768])?;
    /// assert!(!Packing::new(&matrix, 4, 10, 512 << 10).pays());
    /// // Columns of a large matrix: every element is alone on its line.
    /// let columns = matrix.transpose(0, 1)?;
    /// assert!(Packing::new(&columns, 4, 2, 512 << 10).pays());
    /// # Ok::<(), upbeat_kernels::view::LayoutError>(())
    /// ```
    pub fn new(layout: &Layout, size: usize, passes: u64, cache: usize) -> Self {
        let dense = (layout.len() as u64).saturating_mul(size as u64);
        let pass = pass_bytes(layout, size, cache);
        let packed =
            pass.saturating_add(dense.saturating_mul(2)).saturating_add(dense.saturating_mul(passes));
        Self { strided: pass.saturating_mul(passes), packed }
    }

    /// Whether the copy moves fewer bytes.
    pub fn pays(self) -> bool {
        self.packed < self.strided
    }
}

/// Bytes that one pass loads.
fn pass_bytes(layout: &Layout, size: usize, cache: usize) -> u64 {
    let merged = layout.merged();
    let len = merged.len() as u64;
    let Some(last) = merged.rank().checked_sub(1) else { return (len * size as u64).min(LINE as u64) };
    let (length, stride) = (merged.dims()[last], merged.strides()[last].unsigned_abs());
    if length == 0 {
        return 0;
    }
    let runs = len / length as u64;
    // Lines of one run: side by side, or every stride.
    let lines = match stride {
        0 => 1,
        stride => (((length - 1) * stride + 1) * size).div_ceil(LINE).min(length),
    };
    let one_run = (lines * LINE) as u64;
    let inner_fits = lines.saturating_mul(LINE) <= cache / 2;
    let neighbours = merged.strides()[..last].iter().any(|s| s.unsigned_abs() * size < LINE && *s != 0);
    if stride > 1 && inner_fits && neighbours {
        // Runs beside each other share lines: what is loaded is what is reached.
        return (len * size as u64).max(one_run);
    }
    runs.saturating_mul(one_run)
}
