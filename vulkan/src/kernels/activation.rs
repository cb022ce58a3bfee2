//! GELU, SiLU, ReLU and SwiGLU over tensors.

use bytemuck::{Pod, Zeroable};
use upbeat_kernels::{Activation, ShapeError};

use super::count;
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// ReLU's number, which small steps know too.
pub(crate) const RELU: u32 = 4;

/// An activation's number in `shaders/activation.glsl`.
pub(super) fn number(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::Silu => 3,
        Activation::Relu => RELU,
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    count: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct GateParameters {
    count: u32,
    width: u32,
}

impl Commands {
    /// `out[i] = activation(x[i])`: `-∞` gives 0 and `∞` gives `∞` in all but [`Activation::Identity`]; NaN stays NaN. In place where
    /// `out` is `x`.
    ///
    /// # Errors
    /// Lengths that differ; buffers of another device, or that overlap otherwise.
    pub fn activation(
        &mut self,
        x: &Buffer<f32>,
        activation: Activation,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        Self::check("the length of out", x.len(), out.len())?;
        let groups = self.groups_for(x.len());
        self.dispatch(
            Kernel::Activation,
            &[self.elements(), number(activation)],
            groups,
            &[x.operand(Access::ReadInPlace), out.operand(Access::Write)],
            bytemuck::bytes_of(&Parameters { count: count("the length of x", x.len())? }),
        )
    }

    /// SwiGLU (Shazeer, 2020): `out[r, c] = SiLU(gate_up[r, c]) · gate_up[r, width + c]`.
    ///
    /// `gate_up`: `[rows, 2 · width]`, each row `[gate | up]`; `out`: `[rows, width]`.
    ///
    /// # Errors
    /// A length of `gate_up` that is no multiple of `2 · width`, or one of `out` that is not half of it; buffers of another device, or
    /// that overlap.
    pub fn swiglu(
        &mut self,
        gate_up: &Buffer<f32>,
        width: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let row = width.checked_mul(2).ok_or(ShapeError::Overflow { what: "a row of gate and up" })?;
        let found = gate_up.len();
        if found != 0 && (row == 0 || !found.is_multiple_of(row)) {
            return Err(ShapeError::Multiple { what: "the length of gate and up", unit: row, found }.into());
        }
        Self::check("the length of SwiGLU's output", found / 2, out.len())?;
        count("the length of gate and up", found)?;
        let width = if found == 0 { 0 } else { count("the width", width)? };
        let groups = self.groups_for(out.len());
        self.dispatch(
            Kernel::Swiglu,
            &[self.elements()],
            groups,
            &[gate_up.operand(Access::Read), out.operand(Access::Write)],
            bytemuck::bytes_of(&GateParameters { count: count("the length of out", out.len())?, width }),
        )
    }
}
