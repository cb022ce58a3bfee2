//! Copies on the device.

use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::{Buffer, Scalar};

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
}
