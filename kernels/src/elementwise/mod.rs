//! Sums and products of whole tensors: one pass over memory, in fixed blocks that run in parallel.

mod compile;
pub mod functions;
mod op;
mod pair;
mod pass;
mod program;
mod step;
mod sums;
mod sweep;

pub use compile::Definition;
pub use functions::Operand;
pub use op::Op;
pub use program::{Builder, Program, ProgramError, Value, MOST_OUTPUTS};
pub use sums::{sum_of_squares, sum_rows};

use crate::blocks;
use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::isa::dispatch;
use crate::lanes::{lanewise, Lanewise};
use crate::simd::{Kernel, Simd};

/// One block of a [`map`].
struct Block<'a, const N: usize, O> {
    x: [&'a [f32]; N],
    out: &'a mut [f32],
    write: Write,
    op: O,
}

impl<const N: usize, O: Lanewise<N>> Kernel for Block<'_, N, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        lanewise(simd, self.x, self.out, self.write, self.op);
    }
}

/// `out[i] = op(x[0][i], …)`, or that added, in parallel blocks of `elements`. All slices have one length.
pub(crate) fn map<const N: usize>(
    x: [&[f32]; N],
    out: &mut [f32],
    write: Write,
    elements: usize,
    op: impl Lanewise<N>,
) -> Result<(), ShapeError> {
    contract::same(out.len(), &x.map(<[f32]>::len))?;
    upbeat::par::chunks_mut(out, elements, |i, out| {
        let x = x.map(|x| &x[i * elements..][..out.len()]);
        dispatch(Block { x, out, write, op });
    });
    Ok(())
}

/// `a + b`
#[derive(Clone, Copy)]
struct Plus;

impl Lanewise<2> for Plus {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [a, b]: [S::F; 2]) -> S::F {
        simd.add(a, b)
    }
}

/// `factor · a`
#[derive(Clone, Copy)]
struct Scaled(f32);

impl Lanewise<1> for Scaled {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [a]: [S::F; 1]) -> S::F {
        simd.mul(a, simd.splat(self.0))
    }
}

/// See [`Element::add`](crate::Element::add).
pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    functions::add(a, b, out, Write::Overwrite)
}

/// See [`Element::mul`](crate::Element::mul).
pub fn mul(a: &[f32], b: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    functions::mul(a, b, out, Write::Overwrite)
}

/// See [`Element::add_scaled`](crate::Element::add_scaled). The product is rounded, then the sum.
pub fn add_scaled(a: &[f32], factor: f64, out: &mut [f32]) -> Result<(), ShapeError> {
    map([a], out, Write::Add, blocks::ELEMENTS, Scaled(factor as f32))
}

/// A block of rows to which a bias is added.
struct BiasRows<'a> {
    x: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for BiasRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let cols = self.bias.len();
        for (x, out) in self.x.chunks_exact(cols).zip(self.out.chunks_exact_mut(cols)) {
            lanewise(simd, [x, self.bias], out, Write::Overwrite, Plus);
        }
    }
}

/// See [`Element::add_bias`](crate::Element::add_bias).
pub fn add_bias(x: &[f32], bias: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    contract::rows(x.len(), bias.len(), out.len())?;
    let block = blocks::rows(bias.len(), blocks::ELEMENTS) * bias.len();
    upbeat::par::chunks_mut(out, block.max(1), |i, out| {
        dispatch(BiasRows { x: &x[i * block..][..out.len()], bias, out });
    });
    Ok(())
}
