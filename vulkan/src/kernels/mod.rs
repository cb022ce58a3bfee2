//! The kernels as methods of [`Commands`](crate::Commands): each checks its shapes, then adds its dispatches.

mod activation;
mod adaptive;
mod attention;
mod convert;
pub(crate) mod cooperative;
mod copy;
mod embedding;
mod flash;
pub(crate) mod flash_shapes;
mod flow;
mod gemm;
pub(crate) mod gemv;
mod map;
pub(crate) mod needs;
mod norm;
mod program;
mod reduce;
mod rope;
pub(crate) mod rows;
mod softmax;
pub(crate) mod tiles;

pub(crate) use activation::RELU;
pub use adaptive::{Adapted, TileSummary};
pub use attention::Attention;
pub use flash::AttentionLayout;
pub use gemm::{Epilogue, Gemm};
pub use map::Arithmetic;
pub use program::DeviceProgram;
pub use rope::Rope;

use upbeat_kernels::ShapeError;

use crate::commands::Commands;
use crate::error::VulkanError;

/// Invocations of a workgroup of kernels that go over numbers one by one; every device has that many.
pub(crate) const WORKGROUP: u32 = 128;

/// Those of kernels that a table may give another number; the first is the one above.
pub(crate) const ELEMENTS: [u32; 4] = [WORKGROUP, 64, 256, 512];

/// A dimension as kernels count: below 2³¹, as SPIR-V takes indices as signed, and strides must not wrap.
fn count(what: &'static str, dimension: usize) -> Result<u32, VulkanError> {
    let too_large = |_| ShapeError::Limit { what, most: i32::MAX as usize, found: dimension };
    i32::try_from(dimension).map(i32::cast_unsigned).map_err(|error| too_large(error).into())
}

/// A product of dimensions, which must be the length of a buffer.
fn product(what: &'static str, dimensions: &[usize]) -> Result<usize, VulkanError> {
    let product = dimensions.iter().try_fold(1_usize, |product, &dimension| product.checked_mul(dimension));
    product.ok_or(ShapeError::Overflow { what }.into())
}

/// Has an error name the method that was called, not the shader that was to run: several methods share one.
fn called(operation: &'static str) -> impl FnOnce(VulkanError) -> VulkanError {
    move |error| match error {
        VulkanError::Aliased { .. } => VulkanError::Aliased { kernel: operation },
        error => error,
    }
}

impl Commands {
    /// Invocations of a workgroup of kernels that go over numbers one by one.
    fn elements(&self) -> u32 {
        self.device().tuning().elements()
    }

    /// Workgroups for `count` numbers, one an invocation, or as many as a dimension may have: kernels stride over the rest.
    fn groups_for(&self, count: usize) -> [u32; 3] {
        let most = self.device().limits().groups[0] as usize;
        [count.div_ceil(self.elements() as usize).min(most) as u32, 1, 1]
    }
}
