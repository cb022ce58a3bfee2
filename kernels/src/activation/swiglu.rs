//! SwiGLU (Shazeer, 2020): `SiLU(gate)·up` over rows `[gate | up]`.

use crate::blocks::{rows, COSTLY_ELEMENTS};
use crate::contract;
use crate::element::Write;
use crate::error::ShapeError;
use crate::isa::dispatch;
use crate::lanes::{lanewise, Lanewise};
use crate::math;
use crate::simd::{Kernel, Simd};

#[derive(Clone, Copy)]
struct Gated;

impl Lanewise<2> for Gated {
    const UNROLL: usize = 2;
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [gate, up]: [S::F; 2]) -> S::F {
        simd.mul(math::silu(simd, gate), up)
    }
}

struct Forward<'a> {
    gate_up: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.width;
        for (row, out) in self.gate_up.chunks_exact(2 * width).zip(self.out.chunks_exact_mut(width)) {
            let (gate, up) = row.split_at(width);
            lanewise(simd, [gate, up], out, Write::Overwrite, Gated);
        }
    }
}

/// See [`Element::swiglu_forward`](crate::Element::swiglu_forward).
pub fn swiglu_forward(gate_up: &[f32], width: usize, out: &mut [f32]) -> Result<(), ShapeError> {
    contract::swiglu(gate_up.len(), width, out.len())?;
    let block = rows(width, COSTLY_ELEMENTS) * width;
    upbeat::par::chunks_mut(out, block.max(1), |i, out| {
        let gate_up = &gate_up[2 * i * block..][..2 * out.len()];
        dispatch(Forward { gate_up, width, out });
    });
    Ok(())
}

#[derive(Clone, Copy)]
struct GateGradient;

impl Lanewise<3> for GateGradient {
    const UNROLL: usize = 2;
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [dy, gate, up]: [S::F; 3]) -> S::F {
        simd.mul(simd.mul(dy, up), math::silu_derivative(simd, gate))
    }
}

struct Backward<'a> {
    dy: &'a [f32],
    gate_up: &'a [f32],
    width: usize,
    dx: &'a mut [f32],
    write: Write,
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.width;
        let rows = self.gate_up.chunks_exact(2 * width).zip(self.dx.chunks_exact_mut(2 * width));
        for (dy, (row, dx)) in self.dy.chunks_exact(width).zip(rows) {
            let ((gate, up), (d_gate, d_up)) = (row.split_at(width), dx.split_at_mut(width));
            lanewise(simd, [dy, gate, up], d_gate, self.write, GateGradient);
            lanewise(simd, [gate, dy], d_up, self.write, Gated);
        }
    }
}

/// See [`Element::swiglu_backward`](crate::Element::swiglu_backward).
pub fn swiglu_backward(
    dy: &[f32],
    gate_up: &[f32],
    width: usize,
    dx: &mut [f32],
    write: Write,
) -> Result<(), ShapeError> {
    contract::swiglu(gate_up.len(), width, dy.len())?;
    contract::same(gate_up.len(), &[dx.len()])?;
    let block = rows(width, COSTLY_ELEMENTS / 2) * width;
    upbeat::par::chunks_mut(dx, (2 * block).max(1), |i, dx| {
        let (dy, gate_up) = (&dy[i * block..][..dx.len() / 2], &gate_up[2 * i * block..][..dx.len()]);
        dispatch(Backward { dy, gate_up, width, dx, write });
    });
    Ok(())
}
