//! Rotary positions (Su et al., 2021), forward and backward, with angles in f64.
//!
//! Sines and cosines are computed at every 32nd position and turned from each position to the next by one complex product in
//! f64. So a row's bits depend on its position alone, wherever its block or its call begins: a position that is decoded is
//! turned as it was in a batch.

use crate::blocks::{rows, ELEMENTS};
use crate::contract;
use crate::element::{RopeShape, Write};
use crate::error::ShapeError;
use crate::isa::dispatch;
use crate::lanes::{lanewise, Identity, Lanewise};
use crate::pool::Buffer;
use crate::simd::{Kernel, Simd};

/// Positions from one whose angles are computed to the next: so many products are hardly more than the sine they save where one position is
/// asked for.
const STRIDE: usize = 32;

/// `a·cos + b·sin`
#[derive(Clone, Copy)]
struct Turn;

impl Lanewise<4> for Turn {
    const UNROLL: usize = 2;
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [a, cos, b, sin]: [S::F; 4]) -> S::F {
        simd.fma(a, cos, simd.mul(b, sin))
    }
}

/// `a·cos - b·sin`
#[derive(Clone, Copy)]
struct TurnBack;

impl Lanewise<4> for TurnBack {
    const UNROLL: usize = 2;
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [a, cos, b, sin]: [S::F; 4]) -> S::F {
        simd.sub(simd.mul(a, cos), simd.mul(b, sin))
    }
}

/// Cosines and sines of one position, `[half]` each.
struct Angles {
    /// `[frequency | cos of a step | sin of a step | cos | sin]`, f64.
    exact: Buffer<f64>,
    /// `[cos | sin]`, what the kernel multiplies by.
    rounded: Buffer<f32>,
    half: usize,
    /// 1, or -1 to turn back.
    sign: f64,
}

impl Angles {
    /// Room for the angles, with the frequencies and their steps.
    fn new(shape: &RopeShape, sign: f64) -> Self {
        let half = shape.dim / 2;
        let mut exact = Buffer::<f64>::unspecified(5 * half);
        for i in 0..half {
            let frequency = shape.base.powf(-2.0 * i as f64 / shape.dim as f64);
            exact[i] = frequency;
            (exact[2 * half + i], exact[half + i]) = (sign * frequency).sin_cos();
        }
        Self { exact, rounded: Buffer::unspecified(2 * half), half, sign }
    }

    /// The same frequencies with angles of its own.
    fn fork(&self) -> Self {
        Self { exact: self.exact.clone(), rounded: Buffer::unspecified(2 * self.half), ..*self }
    }

    /// Goes to a position, from wherever it was.
    fn set(&mut self, position: usize) {
        self.compute(position / STRIDE * STRIDE);
        (0..position % STRIDE).for_each(|_| self.turn());
        self.round();
    }

    /// Goes to the next position, which is `position`.
    fn step(&mut self, position: usize) {
        if position.is_multiple_of(STRIDE) {
            self.compute(position);
        } else {
            self.turn();
        }
        self.round();
    }

    fn compute(&mut self, position: usize) {
        let (frequency, angles) = self.exact.split_at_mut(3 * self.half);
        let (cos, sin) = angles.split_at_mut(self.half);
        for (i, (cos, sin)) in cos.iter_mut().zip(sin).enumerate() {
            (*sin, *cos) = (self.sign * position as f64 * frequency[i]).sin_cos();
        }
    }

    fn turn(&mut self) {
        let (steps, angles) = self.exact.split_at_mut(3 * self.half);
        let (step_cos, step_sin) = steps[self.half..].split_at(self.half);
        let (cos, sin) = angles.split_at_mut(self.half);
        for (i, (cos, sin)) in cos.iter_mut().zip(sin).enumerate() {
            (*cos, *sin) = (*cos * step_cos[i] - *sin * step_sin[i], *cos * step_sin[i] + *sin * step_cos[i]);
        }
    }

    fn round(&mut self) {
        for (rounded, exact) in self.rounded.iter_mut().zip(&self.exact[3 * self.half..]) {
            *rounded = *exact as f32;
        }
    }
}

/// One row of heads.
struct Row<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
    write: Write,
    turned: usize,
    angles: &'a Angles,
}

impl Kernel for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let half = self.angles.half;
        let (cos, sin) = self.angles.rounded.split_at(half);
        let (x, kept) = self.x.split_at(self.turned);
        let (out, kept_out) = self.out.split_at_mut(self.turned);
        for (x, out) in x.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)) {
            let ((low, high), (out_low, out_high)) = (x.split_at(half), out.split_at_mut(half));
            lanewise(simd, [low, cos, high, sin], out_low, self.write, TurnBack);
            lanewise(simd, [high, cos, low, sin], out_high, self.write, Turn);
        }
        lanewise(simd, [kept], kept_out, self.write, Identity);
    }
}

fn turn(x: &[f32], shape: &RopeShape, sign: f64, out: &mut [f32], write: Write) -> Result<(), ShapeError> {
    contract::rope(x.len(), shape, out.len())?;
    if x.is_empty() {
        return Ok(());
    }
    let width = shape.heads * shape.dim;
    let block = rows(width, ELEMENTS);
    let angles = Angles::new(shape, sign);
    upbeat::par::chunks_mut(out, block * width, |b, out| {
        let mut angles = angles.fork();
        for (r, out) in out.chunks_exact_mut(width).enumerate() {
            let row = b * block + r;
            let position = shape.first + row % shape.seq;
            if r == 0 || position == shape.first {
                angles.set(position);
            } else {
                angles.step(position);
            }
            let x = &x[row * width..][..width];
            dispatch(Row { x, out, write, turned: shape.rotate * shape.dim, angles: &angles });
        }
    });
    Ok(())
}

/// See [`DecodeElement::rope_at`](crate::DecodeElement::rope_at).
pub fn rope_at(x: &[f32], positions: &[usize], shape: RopeShape, out: &mut [f32]) -> Result<(), ShapeError> {
    contract::rope_at(x.len(), positions.len(), &shape, out.len())?;
    if x.is_empty() {
        return Ok(());
    }
    let width = shape.heads * shape.dim;
    let angles = Angles::new(&shape, 1.0);
    // A row at a time: each one's angles are computed anew, which takes longer than turning it.
    upbeat::par::chunks_mut(out, width, |row, out| {
        let mut angles = angles.fork();
        angles.set(positions[row]);
        let x = &x[row * width..][..width];
        dispatch(Row { x, out, write: Write::Overwrite, turned: shape.rotate * shape.dim, angles: &angles });
    });
    Ok(())
}

/// See [`Element::rope_forward`](crate::Element::rope_forward).
pub fn rope_forward(x: &[f32], shape: RopeShape, out: &mut [f32]) -> Result<(), ShapeError> {
    turn(x, &shape, 1.0, out, Write::Overwrite)
}

/// See [`Element::rope_backward`](crate::Element::rope_backward).
pub fn rope_backward(dy: &[f32], shape: RopeShape, dx: &mut [f32], write: Write) -> Result<(), ShapeError> {
    turn(dy, &shape, -1.0, dx, write)
}
