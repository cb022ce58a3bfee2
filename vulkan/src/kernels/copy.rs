//! Copies and fills of whole buffers and of their parts.

use bytemuck::{Pod, Zeroable};

use super::count;
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::{Buffer, Scalar};
use crate::pipeline::Kernel;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct HalfParameters {
    count: u32,
    bits: u32,
}

impl Commands {
    /// `to[i] = from[i]`, bit for bit.
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

    /// `x[i] = value`, bit for bit.
    ///
    /// # Errors
    /// A buffer of another device.
    pub fn fill<T: Scalar>(&mut self, x: &Buffer<T>, value: T) -> Result<&mut Self, VulkanError> {
        if !x.device().is(self.device()) {
            return Err(VulkanError::OtherDevice);
        }
        let operand = x.operand(Access::Write);
        match *bytemuck::bytes_of(&value) {
            [a, b, c, d] => self.fill_bytes(operand, u32::from_ne_bytes([a, b, c, d])),
            // Vulkan fills words of 4 bytes.
            [a, b] if operand.range.start.is_multiple_of(4) && operand.range.end.is_multiple_of(4) => {
                self.fill_bytes(operand, u32::from_ne_bytes([a, b, a, b]));
            }
            [a, b] => {
                let bits = u16::from_ne_bytes([a, b]).into();
                let parameters = HalfParameters { count: count("the length of x", x.len())?, bits };
                let groups = self.groups_for(x.len());
                let parameters = bytemuck::bytes_of(&parameters);
                return self.dispatch(Kernel::FillF16, &[self.elements()], groups, &[operand], parameters);
            }
            _ => unreachable!("scalars have 2 or 4 bytes"),
        }
        Ok(self)
    }
}
