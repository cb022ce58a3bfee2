//! Arithmetic and activations, number by number, and rows of `[gate | up]`.

use upbeat_kernels::elementwise::functions;
use upbeat_kernels::view::{self, View, ViewMut};
use upbeat_kernels::{activation, Activation, ShapeError, Write};

use super::{run, shapes};
use crate::{Tensor, TensorError};

/// `op` of a matrix and of `by: [rows, cols]`, one of which is 1. There are numbers.
fn spread_on_host(
    op: &Arithmetic,
    x: &[f32],
    by: &[f32],
    [rows, cols]: [usize; 2],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let shape = if rows == 1 { [x.len() / cols, cols] } else { [rows, x.len() / rows] };
    let inputs = [View::row_major(x, &shape), View::row_major(by, &[rows, cols])];
    let inputs = inputs.map(|view| view.expect("lengths that were checked"));
    let mut out = ViewMut::row_major(out, &shape).expect("the length of x");
    let kernel = |[a, b]: [&[f32]; 2], out: &mut [f32]| (op.cpu)(a, b, out).expect("slices of one length");
    view::zip(&inputs, &mut out, kernel).expect("a row or a column of that matrix");
    Ok(())
}

/// A kernel that takes two slices to one, all of one length.
type Pairwise = fn(&[f32], &[f32], &mut [f32]) -> Result<(), ShapeError>;

/// An operation on two numbers, with both devices' kernels.
struct Arithmetic {
    name: &'static str,
    cpu: Pairwise,
    vulkan: upbeat_vulkan::Arithmetic,
}

const ADD: Arithmetic = Arithmetic {
    name: "add",
    cpu: |a, b, out| functions::add(a, b, out, Write::Overwrite),
    vulkan: upbeat_vulkan::Arithmetic::Add,
};
const SUB: Arithmetic = Arithmetic {
    name: "sub",
    cpu: |a, b, out| functions::sub(a, b, out, Write::Overwrite),
    vulkan: upbeat_vulkan::Arithmetic::Sub,
};
const MUL: Arithmetic = Arithmetic {
    name: "mul",
    cpu: |a, b, out| functions::mul(a, b, out, Write::Overwrite),
    vulkan: upbeat_vulkan::Arithmetic::Mul,
};
const DIV: Arithmetic = Arithmetic {
    name: "div",
    cpu: |a, b, out| functions::div(a, b, out, Write::Overwrite),
    vulkan: upbeat_vulkan::Arithmetic::Div,
};

/// What the second tensor is beside the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// Of one shape.
    Each,
    /// The first is `[.., cols]`, the second `[cols]`.
    Row,
    /// The first is `[.., cols]`, the second `[.., 1]`; or it is a single number, `[]`.
    Column,
}

impl Spread {
    fn of(first: &[usize], second: &[usize]) -> Option<Self> {
        if first == second {
            return Some(Self::Each);
        }
        match (first.split_last(), second) {
            (_, []) => Some(Self::Column),
            (Some((cols, _)), [width]) if cols == width => Some(Self::Row),
            (Some((_, lead)), [rows @ .., 1]) if lead == rows => Some(Self::Column),
            _ => None,
        }
    }
}

impl Tensor {
    /// `self + other`. `other` has the same shape; or it is a row `[cols]` for each row of `[.., cols]`, a column `[.., 1]` with a number for
    /// each row, or a single number `[]`.
    ///
    /// # Errors
    /// Other shapes; operands on two devices.
    pub fn add(&self, other: &Self) -> Result<Self, TensorError> {
        self.arithmetic(&ADD, other)
    }

    /// `self - other`. `other` is as for [`add`](Self::add).
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn sub(&self, other: &Self) -> Result<Self, TensorError> {
        self.arithmetic(&SUB, other)
    }

    /// `self · other`, number by number. `other` is as for [`add`](Self::add).
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn mul(&self, other: &Self) -> Result<Self, TensorError> {
        self.arithmetic(&MUL, other)
    }

    /// `self / other`, number by number; of 0 the quotients are infinite or NaN. `other` is as for [`add`](Self::add). Rounded once on the
    /// CPU; on a Vulkan device off by 2.5 ulp at most where the divisor and the quotient are neither subnormal nor above 2¹²⁶.
    ///
    /// ```
    /// use upbeat_tensor::{Device, Tensor};
    ///
    /// let x = Tensor::from_slice(&[1.0, 3.0, 2.0, 6.0], &[2, 2], &Device::Cpu)?;
    /// let shares = x.div(&x.sum_rows()?.reshape(&[2, 1])?)?;
    /// assert_eq!(shares.to_vec()?, [0.25, 0.75, 0.25, 0.75]);
    /// # Ok::<(), upbeat_tensor::TensorError>(())
    /// ```
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn div(&self, other: &Self) -> Result<Self, TensorError> {
        self.arithmetic(&DIV, other)
    }

    fn arithmetic(&self, op: &Arithmetic, other: &Self) -> Result<Self, TensorError> {
        let Some(spread) = Spread::of(self.shape(), other.shape()) else {
            let takes = "two tensors of one shape, or [.., cols] and then a row [cols], a column [.., 1] or a number []";
            let advice = "reshape the second to one of these";
            return Err(shapes(op.name, takes, &[self.shape(), other.shape()], advice));
        };
        let cpu = |out: &mut [f32]| match spread {
            Spread::Each => (op.cpu)(self.host(), other.host(), out),
            Spread::Row => spread_on_host(op, self.host(), other.host(), [1, other.len()], out),
            Spread::Column => spread_on_host(op, self.host(), other.host(), [other.len(), 1], out),
        };
        let operands = [self.operand(), other.operand()];
        run(op.name, &operands[0].place(), operands, self.shape().to_vec(), cpu, |commands, out| {
            let (x, by) = (self.block(), other.block());
            match spread {
                Spread::Each => match op.vulkan {
                    upbeat_vulkan::Arithmetic::Add => commands.add(x, by, out),
                    upbeat_vulkan::Arithmetic::Sub => commands.sub(x, by, out),
                    upbeat_vulkan::Arithmetic::Mul => commands.mul(x, by, out),
                    upbeat_vulkan::Arithmetic::Div => commands.div(x, by, out),
                },
                Spread::Row => commands.with_row(op.vulkan, x, by, out),
                Spread::Column => commands.with_column(op.vulkan, x, by, out),
            }
            .map(drop)
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
        const ADVICE: &str = "a row is all of its gates and then as many others";
        let takes = "[.., 2 · width]";
        let (&row, lead) =
            self.shape().split_last().ok_or_else(|| shapes("swiglu", takes, &[self.shape()], ADVICE))?;
        if !row.is_multiple_of(2) {
            return Err(shapes("swiglu", takes, &[self.shape()], ADVICE));
        }
        let width = row / 2;
        let shape = lead.iter().copied().chain([width]).collect();
        let cpu = |out: &mut [f32]| activation::swiglu_forward(self.host(), width, out);
        run("swiglu", &self.operand().place(), [self.operand()], shape, cpu, |commands, out| {
            commands.swiglu(self.block(), width, out).map(drop)
        })
    }
}
