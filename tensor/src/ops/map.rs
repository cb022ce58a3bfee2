//! Arithmetic and activations, number by number, and rows of `[gate | up]`.

use upbeat_kernels::elementwise::{self, functions};
use upbeat_kernels::{activation, Activation, ShapeError, Write};
use upbeat_vulkan::{Buffer as Block, Commands, Epilogue, Matrix, VulkanError};

use super::product::{gemm, Factors};
use super::{run, shapes};
use crate::{Tensor, TensorError};

/// How a sum of two tensors of one shape is recorded.
type Record = fn(&mut Commands, [&Block<f32>; 3]) -> Result<(), VulkanError>;

impl Tensor {
    /// `self + other`, of one shape; or, where `other` is `[cols]`, added to each row of `[.., cols]`.
    ///
    /// # Errors
    /// Other shapes; operands on two devices.
    pub fn add(&self, other: &Self) -> Result<Self, TensorError> {
        if self.shape() == other.shape() {
            let cpu = |out: &mut [f32]| elementwise::add(self.host(), other.host(), out);
            return self.pair("add", other, cpu, |commands, [a, b, out]| commands.add(a, b, out).map(drop));
        }
        match (self.shape().split_last(), other.shape()) {
            (Some((cols, _)), [width]) if cols == width => self.add_row(other),
            _ => {
                let takes = "two tensors of one shape, or [.., cols] and [cols]";
                Err(shapes("add", takes, &[self.shape(), other.shape()]))
            }
        }
    }

    /// `[.., cols]` and `[cols]`, which is a product of no depth with a bias and a residual where no kernel does that alone.
    fn add_row(&self, row: &Self) -> Result<Self, TensorError> {
        let cols = row.len();
        let rows = self.len().checked_div(cols).unwrap_or(0);
        let cpu = |out: &mut [f32]| elementwise::add_bias(self.host(), row.host(), out);
        let operands = [self.operand(), row.operand()];
        run("add", &operands[0].place(), operands, self.shape().to_vec(), cpu, |commands, out| {
            let nothing = self.block().slice(0..0);
            let factors =
                Factors { a: &nothing, b: &nothing, m: rows, k: 0, n: cols, turn_a: false, turn_b: false };
            let residual = Some(Matrix::new(self.block(), rows, cols)?);
            gemm(
                commands,
                factors,
                out,
                Epilogue { bias: Some(row.block()), residual, ..Epilogue::default() },
            )
        })
    }

    /// `self - other`, of one shape.
    ///
    /// # Errors
    /// Shapes that differ; operands on two devices.
    pub fn sub(&self, other: &Self) -> Result<Self, TensorError> {
        let cpu = |out: &mut [f32]| functions::sub(self.host(), other.host(), out, Write::Overwrite);
        self.pair("sub", other, cpu, |commands, [a, b, out]| commands.sub(a, b, out).map(drop))
    }

    /// `self · other`, number by number, of one shape.
    ///
    /// # Errors
    /// Shapes that differ; operands on two devices.
    pub fn mul(&self, other: &Self) -> Result<Self, TensorError> {
        let cpu = |out: &mut [f32]| elementwise::mul(self.host(), other.host(), out);
        self.pair("mul", other, cpu, |commands, [a, b, out]| commands.mul(a, b, out).map(drop))
    }

    fn pair(
        &self,
        operation: &'static str,
        other: &Self,
        cpu: impl FnOnce(&mut [f32]) -> Result<(), ShapeError>,
        vulkan: Record,
    ) -> Result<Self, TensorError> {
        if self.shape() != other.shape() {
            return Err(shapes(operation, "two tensors of one shape", &[self.shape(), other.shape()]));
        }
        let operands = [self.operand(), other.operand()];
        run(operation, &operands[0].place(), operands, self.shape().to_vec(), cpu, |commands, out| {
            vulkan(commands, [self.block(), other.block(), out])
        })
    }

    /// `factor · self`.
    ///
    /// # Errors
    /// No memory, or a lost device.
    pub fn scale(&self, factor: f32) -> Result<Self, TensorError> {
        let cpu = |out: &mut [f32]| functions::mul(self.host(), factor, out, Write::Overwrite);
        run(
            "scale",
            &self.operand().place(),
            [self.operand()],
            self.shape().to_vec(),
            cpu,
            |commands, out| commands.scale(self.block(), factor, out).map(drop),
        )
    }

    /// The activation of each number.
    ///
    /// # Errors
    /// No memory, or a lost device.
    pub fn activation(&self, activation: Activation) -> Result<Self, TensorError> {
        let cpu = |out: &mut [f32]| {
            let (x, write) = (self.host(), Write::Overwrite);
            match activation {
                Activation::Identity => {
                    out.copy_from_slice(x);
                    Ok(())
                }
                Activation::Gelu => functions::gelu(x, out, write),
                Activation::GeluTanh => functions::gelu_tanh(x, out, write),
                Activation::Silu => functions::silu(x, out, write),
                Activation::Relu => functions::relu(x, out, write),
            }
        };
        let shape = self.shape().to_vec();
        run("activation", &self.operand().place(), [self.operand()], shape, cpu, |commands, out| {
            commands.activation(self.block(), activation, out).map(drop)
        })
    }

    /// SwiGLU (Shazeer, 2020): rows `[gate | up]`, `[.., 2 · width]`, become `SiLU(gate) · up`, `[.., width]`.
    ///
    /// # Errors
    /// Rows of an odd width.
    pub fn swiglu(&self) -> Result<Self, TensorError> {
        let takes = "[.., 2 · width]";
        let (&row, lead) =
            self.shape().split_last().ok_or_else(|| shapes("swiglu", takes, &[self.shape()]))?;
        if !row.is_multiple_of(2) {
            return Err(shapes("swiglu", takes, &[self.shape()]));
        }
        let width = row / 2;
        let shape = lead.iter().copied().chain([width]).collect();
        let cpu = |out: &mut [f32]| activation::swiglu_forward(self.host(), width, out);
        run("swiglu", &self.operand().place(), [self.operand()], shape, cpu, |commands, out| {
            commands.swiglu(self.block(), width, out).map(drop)
        })
    }
}
