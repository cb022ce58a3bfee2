//! Element-wise arithmetic.

use bytemuck::{Pod, Zeroable};

use upbeat_kernels::Activation;

use super::{activation_number, count, product, rows, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// Operations, numbered as in `shaders/map.comp`.
#[derive(Clone, Copy)]
enum Map {
    Scale,
    Add,
    Sub,
    Mul,
    AddScaled,
    Activation(Activation),
}

impl Map {
    fn number(self) -> u32 {
        match self {
            Self::Scale => 0,
            Self::Add => 1,
            Self::Sub => 2,
            Self::Mul => 3,
            Self::AddScaled => 4,
            Self::Activation(activation) => 5 + activation_number(activation),
        }
    }
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

    /// `out[i] = activation(x[i])`, within `2e-6·max(1, |x|)` of exact arithmetic. In place where `out` is `x`.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn activate(
        &mut self,
        x: &Buffer<f32>,
        activation: Activation,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.map(Map::Activation(activation), x, x, 0.0, out)
    }

    /// `out[r, c] = silu(gate[r, c]) · up[r, c]` of rows `[gate | up]`: `gate_up` is `[rows, 2·width]`, `out` `[rows, width]`.
    ///
    /// # Errors
    /// Lengths that do not fit; buffers of another device, or that overlap.
    pub fn swiglu(
        &mut self,
        gate_up: &Buffer<f32>,
        width: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let rows = rows("the length of out", out.len(), width)?;
        Self::check("the length of gate_up", product("gate_up", &[rows, 2, width])?, gate_up.len())?;
        let parameters = [count("the length of out", out.len())?, count("the width", width)?];
        let groups = self.groups_for(out.len());
        self.dispatch(
            Kernel::SwiGlu,
            &[WORKGROUP],
            groups,
            &[gate_up.operand(Access::Read), out.operand(Access::Write)],
            bytemuck::bytes_of(&parameters),
        )
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
            &[WORKGROUP, op.number()],
            groups,
            &[a.operand(Access::ReadInPlace), b.operand(Access::ReadInPlace), out.operand(Access::Write)],
            bytemuck::bytes_of(&Parameters { count: count("the length of a", a.len())?, s }),
        )
    }
}
