//! Element-wise arithmetic.

use bytemuck::{Pod, Zeroable};

use super::{count, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// Operations, numbered as in `shaders/map.comp` and `shaders/steps.comp`.
#[derive(Clone, Copy)]
enum Map {
    Scale = 0,
    Add = 1,
    Sub = 2,
    Mul = 3,
    AddScaled = 4,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    count: u32,
    s: f32,
}

impl Commands {
    /// `out[i] = s · x[i]`. In place where `out` is `x`.
    ///
    /// # Errors
    /// Lengths that differ; buffers of another device, or that overlap otherwise.
    pub fn scale(&mut self, x: &Buffer<f32>, s: f32, out: &Buffer<f32>) -> Result<&mut Self, VulkanError> {
        self.map(Map::Scale, x, x, s, out)
    }

    /// `out[i] = a[i] + b[i]`. In place where `out` is one of them.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn add(
        &mut self,
        a: &Buffer<f32>,
        b: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.map(Map::Add, a, b, 0.0, out)
    }

    /// `out[i] = a[i] - b[i]`. In place where `out` is one of them.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn sub(
        &mut self,
        a: &Buffer<f32>,
        b: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.map(Map::Sub, a, b, 0.0, out)
    }

    /// `out[i] = a[i] · b[i]`. In place where `out` is one of them.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn mul(
        &mut self,
        a: &Buffer<f32>,
        b: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.map(Map::Mul, a, b, 0.0, out)
    }

    /// `out[i] = a[i] + s · b[i]`. In place where `out` is one of them.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn add_scaled(
        &mut self,
        a: &Buffer<f32>,
        s: f32,
        b: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.map(Map::AddScaled, a, b, s, out)
    }

    fn map(
        &mut self,
        op: Map,
        a: &Buffer<f32>,
        b: &Buffer<f32>,
        s: f32,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        Self::check("the length of b", a.len(), b.len())?;
        Self::check("the length of out", a.len(), out.len())?;
        let groups = self.groups_for(a.len());
        self.dispatch(
            Kernel::Map,
            &[WORKGROUP, op as u32],
            groups,
            &[a.operand(Access::ReadInPlace), b.operand(Access::ReadInPlace), out.operand(Access::Write)],
            bytemuck::bytes_of(&Parameters { count: count("the length of a", a.len())?, s }),
        )
    }
}
