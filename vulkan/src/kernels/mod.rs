//! The kernels as methods of [`Commands`](crate::Commands): each checks its shapes, then adds its dispatches.

mod map;

use upbeat_kernels::ShapeError;

use crate::commands::Commands;
use crate::error::VulkanError;

/// Invocations of a workgroup of kernels that go over numbers one by one; every device has that many.
const WORKGROUP: u32 = 128;

/// A dimension as kernels count: in 32 bits.
fn count(what: &'static str, dimension: usize) -> Result<u32, VulkanError> {
    let too_large = |_| ShapeError::Limit { what, most: u32::MAX as usize, found: dimension };
    u32::try_from(dimension).map_err(|error| too_large(error).into())
}

impl Commands {
    /// Workgroups for `count` numbers, one an invocation, or as many as a dimension may have: kernels stride over the rest.
    fn groups_for(&self, count: usize) -> [u32; 3] {
        let most = self.device().limits().groups[0] as usize;
        [count.div_ceil(WORKGROUP as usize).min(most) as u32, 1, 1]
    }
}
