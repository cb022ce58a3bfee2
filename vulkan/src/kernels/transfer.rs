//! Copies on the device, and conversions between what numbers are stored in.

use half::f16;

use super::{count, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::{Buffer, Scalar};
use crate::pipeline::Kernel;

impl Commands {
    /// `to[i] = from[i]`, by the device's own copy.
    ///
    /// # Errors
    /// Lengths that differ; buffers of another device, or that overlap.
    pub fn copy<T: Scalar>(&mut self, from: &Buffer<T>, to: &Buffer<T>) -> Result<&mut Self, VulkanError> {
        Self::check("the length of to", from.len(), to.len())?;
        if !from.device().is(self.device()) || !to.device().is(self.device()) {
            return Err(VulkanError::OtherDevice);
        }
        let (from, to) = (from.operand(Access::Read), to.operand(Access::Write));
        if from.overlaps(&to) {
            return Err(VulkanError::Aliased { kernel: "copy" });
        }
        self.copy_bytes(from, to);
        Ok(self)
    }

    /// `out[i] = x[i]` rounded to nearest, ties to even; too large numbers become infinite, NaN stays.
    ///
    /// # Errors
    /// Lengths that differ; buffers of another device, or that overlap.
    pub fn narrow(&mut self, x: &Buffer<f32>, out: &Buffer<f16>) -> Result<&mut Self, VulkanError> {
        self.convert(Kernel::Narrow, x, out)
    }

    /// `out[i] = x[i]`, exactly.
    ///
    /// # Errors
    /// As [`narrow`](Self::narrow).
    pub fn widen(&mut self, x: &Buffer<f16>, out: &Buffer<f32>) -> Result<&mut Self, VulkanError> {
        self.convert(Kernel::Widen, x, out)
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
            &[WORKGROUP],
            groups,
            &[x.operand(Access::Read), out.operand(Access::Write)],
            bytemuck::bytes_of(&count("the length of x", x.len())?),
        )
    }
}
