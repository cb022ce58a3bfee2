//! One pass over memory that runs a list of instructions on a tile of elements at a time: what every element-wise
//! function and every [`Program`](super::Program) is computed by.
//!
//! A tile is eight vectors, the accumulator, handed from one instruction to the next; other operands come from inputs,
//! constants, or places kept for values that are used again. So a chain of steps reads each input once, writes each output
//! once, and keeps a tile of each value that is used twice; an instruction is decoded once a tile. Every lane is computed on
//! its own, so the bits of an element do not depend on where it lies or what runs beside it.

use super::op::Op;
use super::step::{apply, refill, spill, Accumulator, VECTORS};
use crate::element::Write;
use crate::simd::{stream, Kernel, Simd};

/// The most elements that a tile has: eight vectors of 16 lanes.
pub(crate) const MOST_TILE: usize = VECTORS * 16;

/// A tile whose every element is one constant.
pub(crate) type Splat = [f32; MOST_TILE];

/// Where an operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// No operand.
    None,
    /// An input, by its number.
    Input(usize),
    /// A constant, by its number.
    Constant(usize),
    /// A value kept before, by its place.
    Kept(usize),
}

/// An operation with the accumulator as its first operand, or another one that has to come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// `op(accumulator, y, z)`
    Op(Op),
    /// `y - accumulator`
    SubFrom,
    /// `y / accumulator`
    DivInto,
    /// `y·z + accumulator`, rounded as [`Op::Fma`].
    FmaInto,
}

/// What happens to a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// The accumulator becomes the operand.
    Load(Source),
    /// The accumulator becomes the result.
    Apply(Code, Source, Source),
    /// The accumulator is kept at a place.
    Keep(usize),
    /// The accumulator is written to an output, by its number.
    Output(usize),
}

/// Instructions over one block of elements. Kernel code: everything in it is inlined into the level's instructions.
pub(crate) struct Pass<'a, 'o> {
    /// What to do.
    pub(crate) code: &'a [Instruction],
    /// Whole inputs; the block begins at element `from`.
    pub(crate) inputs: &'a [&'a [f32]],
    /// The block's place in the inputs.
    pub(crate) from: usize,
    /// The constants, a tile of each.
    pub(crate) constants: &'a [Splat],
    /// Places for kept values, [`MOST_TILE`] elements each.
    pub(crate) kept: &'a mut [f32],
    /// The outputs' blocks, of one length.
    pub(crate) outputs: &'a mut [&'o mut [f32]],
    /// Whether outputs are overwritten or added to.
    pub(crate) write: Write,
    /// Whether outputs are written past the caches.
    pub(crate) stream: bool,
}

impl Kernel for Pass<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let tile = VECTORS * S::LANES;
        let n = self.outputs[0].len();
        // Streamed tiles begin at a cache line, or lines would be written in two parts.
        let first = if self.stream { stream::to_line(self.outputs[0]).min(n) } else { 0 };
        let mut scratch = [[0.0f32; MOST_TILE]; 3];
        let mut at = 0;
        while at < n {
            let len = if at < first { first - at } else { tile.min(n - at) };
            let len = len.min(tile);
            self.tile(simd, at, len, &mut scratch);
            at += len;
        }
        if self.stream {
            stream::finish();
        }
    }
}

impl Pass<'_, '_> {
    /// Runs the instructions on `len` elements from `at` on.
    #[inline(always)]
    fn tile<S: Simd>(&mut self, simd: S, at: usize, len: usize, scratch: &mut [[f32; MOST_TILE]; 3]) {
        let tile = VECTORS * S::LANES;
        let [first, second, out] = scratch;
        let mut acc: Accumulator<S> = [simd.splat(0.0); VECTORS];
        for &instruction in self.code {
            match instruction {
                Instruction::Load(source) => {
                    acc = refill(simd, self.operand(source, at, len, tile, first));
                }
                Instruction::Apply(code, y, z) => {
                    let y = self.operand(y, at, len, tile, first);
                    let z = self.operand(z, at, len, tile, second);
                    acc = apply(simd, code, acc, y, z);
                }
                Instruction::Keep(place) => {
                    spill(simd, acc, &mut self.kept[place * MOST_TILE..][..tile]);
                }
                Instruction::Output(number) => {
                    let mut result = acc; // The accumulator stays the value for what follows.
                    let to = &mut self.outputs[number][at..at + len];
                    if self.write == Write::Add {
                        let old = if len == tile {
                            &*to
                        } else {
                            first[..len].copy_from_slice(to);
                            &first[..tile]
                        };
                        result = add(simd, refill(simd, old), acc);
                    }
                    if len == tile && !self.stream {
                        spill(simd, result, to);
                    } else {
                        spill(simd, result, &mut out[..tile]);
                        if self.stream {
                            stream::copy(&out[..len], to);
                        } else {
                            to.copy_from_slice(&out[..len]);
                        }
                    }
                }
            }
        }
    }

    /// A whole tile of an operand; through `scratch` where fewer elements are left.
    #[inline(always)]
    fn operand<'t>(
        &'t self,
        source: Source,
        at: usize,
        len: usize,
        tile: usize,
        scratch: &'t mut [f32; MOST_TILE],
    ) -> &'t [f32] {
        match source {
            Source::None => &scratch[..tile],
            Source::Input(number) => {
                let from = &self.inputs[number][self.from + at..][..len];
                if len == tile {
                    from
                } else {
                    scratch[..len].copy_from_slice(from);
                    &scratch[..tile]
                }
            }
            Source::Constant(number) => &self.constants[number][..tile],
            Source::Kept(place) => &self.kept[place * MOST_TILE..][..tile],
        }
    }
}

#[inline(always)]
fn add<S: Simd>(simd: S, a: Accumulator<S>, b: Accumulator<S>) -> Accumulator<S> {
    [
        simd.add(a[0], b[0]),
        simd.add(a[1], b[1]),
        simd.add(a[2], b[2]),
        simd.add(a[3], b[3]),
        simd.add(a[4], b[4]),
        simd.add(a[5], b[5]),
        simd.add(a[6], b[6]),
        simd.add(a[7], b[7]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::dispatch;

    #[test]
    fn streamed_outputs_are_the_stored_ones_wherever_they_begin() {
        let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        let code = [
            Instruction::Load(Source::Input(0)),
            Instruction::Apply(Code::Op(Op::Mul), Source::Constant(0), Source::None),
            Instruction::Output(0),
            Instruction::Apply(Code::Op(Op::Neg), Source::None, Source::None),
            Instruction::Output(1),
        ];
        for offset in 0..17 {
            for len in [0, 1, 5, 16, 64, 100, 333, 900] {
                let (mut first, mut second) = (vec![-1.0; 1000], vec![-1.0; 1000]);
                dispatch(Pass {
                    code: &code,
                    inputs: &[&x],
                    from: 3,
                    constants: &[[2.0; MOST_TILE]],
                    kept: &mut [],
                    outputs: &mut [&mut first[offset..offset + len], &mut second[1..1 + len]],
                    write: Write::Overwrite,
                    stream: true,
                });
                for i in 0..1000 {
                    let of = |at: usize| {
                        if (at..at + len).contains(&i) {
                            2.0 * (i - at + 3) as f32
                        } else {
                            -1.0
                        }
                    };
                    let negated = if of(1) == -1.0 { -1.0 } else { -of(1) };
                    assert_eq!((first[i], second[i]), (of(offset), negated), "{i}, {len} from {offset}");
                }
            }
        }
    }
}
