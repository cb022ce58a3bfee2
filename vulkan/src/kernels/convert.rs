//! Between 32-bit and 16-bit floats.

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::count;
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::{Buffer, Scalar};
use crate::pipeline::Kernel;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    count: u32,
}

impl Commands {
    /// `out[i] = x[i]` rounded to 16 bits, to nearest even; subnormals included. What is too large becomes infinite, NaN stays NaN.
    ///
    /// # Errors
    /// Lengths that differ; buffers of another device.
    pub fn to_f16(&mut self, x: &Buffer<f32>, out: &Buffer<f16>) -> Result<&mut Self, VulkanError> {
        self.convert(Kernel::ToF16, x, out)
    }

    /// `out[i] = x[i]`, exactly.
    ///
    /// # Errors
    /// As [`to_f16`](Self::to_f16).
    pub fn to_f32(&mut self, x: &Buffer<f16>, out: &Buffer<f32>) -> Result<&mut Self, VulkanError> {
        self.convert(Kernel::ToF32, x, out)
    }

    fn convert<A: Scalar, B: Scalar>(
        &mut self,
        kernel: Kernel,
        x: &Buffer<A>,
        out: &Buffer<B>,
    ) -> Result<&mut Self, VulkanError> {
        Self::check("the length of out", x.len(), out.len())?;
        let groups = self.groups_for(x.len());
        self.dispatch(
            kernel,
            &[self.elements()],
            groups,
            &[x.operand(Access::Read), out.operand(Access::Write)],
            bytemuck::bytes_of(&Parameters { count: count("the length of x", x.len())? }),
        )
    }
}
