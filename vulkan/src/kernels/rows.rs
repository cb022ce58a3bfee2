//! How kernels of rows share them out: the constants and the workgroups of `shaders/rows.glsl`.

use upbeat_kernels::ShapeError;

use super::{count, WORKGROUP};
use crate::error::VulkanError;

/// Invocations of a workgroup to choose from. No fewer than the first: sums would have more roundings than
/// [`Commands::sum`](crate::Commands::sum) says.
pub(crate) const WORKGROUPS: [u32; 3] = [WORKGROUP, 256, 512];
/// Columns that an invocation keeps in registers at most.
const MOST_KEPT: u32 = 32;
/// Workgroups that every device allows.
const MOST_GROUPS: u32 = 65_535;

/// Rows as kernels see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) rows: u32,
    pub(super) cols: u32,
    /// Invocations of a workgroup, a power of two.
    workgroup: u32,
    /// Invocations of a row, a power of two.
    lanes: u32,
    /// Columns that an invocation keeps, a power of two.
    kept: u32,
    streamed: bool,
}

impl Rows {
    pub(super) fn new(rows: usize, cols: usize, workgroup: u32) -> Result<Self, VulkanError> {
        let (rows, cols) = (count("rows", rows)?, count("columns", cols)?);
        let lanes = cols.next_power_of_two().min(workgroup);
        let kept = cols.div_ceil(lanes).next_power_of_two();
        let streamed = kept > MOST_KEPT;
        Ok(Self { rows, cols, workgroup, lanes, kept: if streamed { 1 } else { kept }, streamed })
    }

    /// As many rows of `cols` as `len` numbers are.
    pub(super) fn of(
        what: &'static str,
        len: usize,
        cols: usize,
        workgroup: u32,
    ) -> Result<Self, VulkanError> {
        count(what, len)?;
        if len == 0 {
            return Self::new(0, cols, workgroup);
        }
        if cols == 0 || !len.is_multiple_of(cols) {
            return Err(ShapeError::Multiple { what, unit: cols, found: len }.into());
        }
        Self::new(len / cols, cols, workgroup)
    }

    /// The kernel's constants, for its operation `op`.
    pub(super) fn constants(&self, op: u32) -> [u32; 5] {
        [self.workgroup, op, self.lanes, self.kept, self.streamed.into()]
    }

    /// The workgroups; kernels stride over the rest of the rows.
    pub(super) fn groups(&self) -> [u32; 3] {
        [self.rows.div_ceil(self.workgroup / self.lanes).min(MOST_GROUPS), 1, 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_place() {
        for workgroup in WORKGROUPS {
            assert!(workgroup.is_power_of_two() && workgroup >= WORKGROUP);
            for cols in (0..5000).chain([1 << 20, i32::MAX as usize]) {
                let rows = Rows::new(7, cols, workgroup).unwrap();
                assert!(rows.lanes.is_power_of_two() && (1..=workgroup).contains(&rows.lanes), "{rows:?}");
                assert!(rows.streamed || rows.lanes * rows.kept >= rows.cols, "{rows:?}");
                assert!((1..=MOST_KEPT).contains(&rows.kept), "{rows:?}");
            }
        }
    }

    #[test]
    fn what_indices_cannot_count_is_refused() {
        let told = Rows::of("the length of x", 1 << 31, 1, WORKGROUP).unwrap_err().to_string();
        assert_eq!(told, "the length of x may be 2147483647 at most but are 2147483648");
        let most = Rows::of("x", i32::MAX as usize, 1, WORKGROUP).unwrap();
        assert_eq!(most.groups(), [MOST_GROUPS, 1, 1]);
    }
}
