//! One pass over memory that runs a list of instructions on a block of elements at a time: what every element-wise
//! function and every [`Program`](super::Program) is computed by.
//!
//! A block fits the first-level cache with the values kept beside it, and an instruction is one loop over it
//! ([`sweep`]), so a chain reads each input once from memory and writes each output once. The last instruction of a
//! chain writes to the output itself, unless that is added to or written past the caches. Every lane is computed on its own,
//! so the bits of an element do not depend on where it lies or what runs beside it.

use super::sweep::{sweep, Run};
use crate::blocks::add_to;
use crate::element::Write;
use crate::pool::Buffer;
use crate::simd::each::{Elements, Unit, UNIT};
use crate::simd::stream;

/// Elements that an instruction computes at once: long enough to forget what starting a loop costs, short enough for
/// seven blocks in 32 KiB.
const BLOCK: usize = 1024;

/// An operand that is not there.
static NOTHING: Unit = Unit([0.0; UNIT]);

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

/// Where a result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A place that no operand of the same instruction is at.
    Kept(usize),
    /// An output, by its number.
    Output(usize),
}

/// What happens to a block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Instruction {
    /// An operation's loop.
    Apply {
        /// The loop.
        run: Run,
        /// Its operands.
        operands: [Source; 3],
        /// Its result.
        to: Target,
    },
    /// A value is written to an output, by its number.
    Output(Source, usize),
}

/// What instructions read that they have not computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    /// Whole inputs; the piece begins at element `from`.
    pub(crate) inputs: &'a [&'a [f32]],
    /// The piece's place in the inputs.
    pub(crate) from: usize,
    /// The constants.
    pub(crate) constants: &'a [Unit],
}

impl<'a> Given<'a> {
    /// An operand's `len` elements from `at` on; `kept` are those at a place.
    #[inline]
    fn elements<'t>(
        self,
        source: Source,
        at: usize,
        len: usize,
        kept: impl Fn(usize) -> &'t [f32],
    ) -> Elements<'t>
    where
        'a: 't,
    {
        match source {
            Source::None => Elements::Repeated(&NOTHING),
            Source::Input(number) => Elements::Each(&self.inputs[number][self.from + at..][..len]),
            Source::Constant(number) => Elements::Repeated(&self.constants[number]),
            Source::Kept(place) => Elements::Each(kept(place)),
        }
    }
}

/// Instructions over one piece of the elements.
pub(crate) struct Pass<'a, 'o> {
    /// What to do.
    pub(crate) code: &'a [Instruction],
    /// What it reads.
    pub(crate) given: Given<'a>,
    /// Places for kept values.
    pub(crate) places: usize,
    /// The outputs' pieces, of one length.
    pub(crate) outputs: &'a mut [&'o mut [f32]],
    /// Whether outputs are overwritten or added to.
    pub(crate) write: Write,
    /// Whether outputs are written past the caches.
    pub(crate) stream: bool,
}

impl Pass<'_, '_> {
    /// Runs the instructions.
    pub(crate) fn run(mut self) {
        let n = self.outputs[0].len();
        // A single operation needs no blocks, unless it is added to what is there: a block lies between the two.
        let single = self.write == Write::Overwrite
            && matches!(self.code, [Instruction::Apply { to: Target::Output(_), .. }]);
        let block = if single { n } else { BLOCK };
        let mut kept = Buffer::<f32>::scratch(if single { 0 } else { (self.places + 1) * BLOCK });
        // Streamed blocks begin at a cache line, or lines would be written in two parts.
        let first = if self.stream { stream::to_line(self.outputs[0]).min(n) } else { 0 };
        let mut at = 0;
        while at < n {
            let len = if at < first { first - at } else { block.min(n - at) };
            for i in 0..self.code.len() {
                self.step(self.code[i], at, len, &mut kept);
            }
            at += len;
        }
        if self.stream {
            stream::finish();
        }
    }

    /// Runs an instruction on `len` elements from `at` on.
    fn step(&mut self, instruction: Instruction, at: usize, len: usize, kept: &mut [f32]) {
        let given = self.given;
        match instruction {
            Instruction::Apply { run, operands, to: Target::Output(number) }
                if self.write == Write::Overwrite =>
            {
                let x = operands
                    .map(|operand| given.elements(operand, at, len, |place| &kept[place * BLOCK..][..len]));
                sweep(run, &x, &mut self.outputs[number][at..at + len], self.stream);
            }
            Instruction::Apply { run, operands, to } => {
                let place = match to {
                    Target::Kept(place) => place,
                    Target::Output(_) => self.places,
                };
                let (below, rest) = kept.split_at_mut(place * BLOCK);
                let (result, above) = rest.split_at_mut(BLOCK);
                let x = operands.map(|operand| {
                    given.elements(operand, at, len, |other| match other < place {
                        true => &below[other * BLOCK..][..len],
                        false => &above[(other - place - 1) * BLOCK..][..len],
                    })
                });
                sweep(run, &x, &mut result[..len], false);
                if let Target::Output(number) = to {
                    self.write(&result[..len], number, at);
                }
            }
            Instruction::Output(source, number) => {
                let (kept, spare) = kept.split_at_mut(self.places * BLOCK);
                let values = match source {
                    Source::Input(input) => &given.inputs[input][given.from + at..][..len],
                    Source::Kept(place) => &kept[place * BLOCK..][..len],
                    Source::Constant(constant) => {
                        spare[..len].fill(given.constants[constant].0[0]);
                        &spare[..len]
                    }
                    Source::None => unreachable!("an output has a source"),
                };
                self.write(values, number, at);
            }
        }
    }

    /// Writes values to an output, from `at` on.
    fn write(&mut self, values: &[f32], number: usize, at: usize) {
        let to = &mut self.outputs[number][at..at + values.len()];
        if self.write == Write::Add {
            add_to(values, to);
        } else if self.stream {
            stream::copy(values, to);
        } else {
            to.copy_from_slice(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::Op;
    use super::super::step::run_of;
    use super::*;

    #[test]
    fn streamed_outputs_are_the_stored_ones_wherever_they_begin() {
        let x: Vec<f32> = (0..4000).map(|i| i as f32).collect();
        let apply = |op: Op, first: Source, second: Source, to: Target| Instruction::Apply {
            run: run_of(op),
            operands: [first, second, Source::None],
            to,
        };
        let code = [
            apply(Op::Mul, Source::Input(0), Source::Constant(0), Target::Kept(0)),
            Instruction::Output(Source::Kept(0), 0),
            apply(Op::Neg, Source::Kept(0), Source::None, Target::Output(1)),
        ];
        for offset in 0..17 {
            for len in [0, 1, 5, 16, 64, 100, 333, 900, 3000] {
                let (mut first, mut second) = (vec![-1.0; 3100], vec![-1.0; 3100]);
                let pass = Pass {
                    code: &code,
                    given: Given { inputs: &[&x], from: 3, constants: &[Unit::splat(2.0)] },
                    places: 1,
                    outputs: &mut [&mut first[offset..offset + len], &mut second[1..1 + len]],
                    write: Write::Overwrite,
                    stream: true,
                };
                pass.run();
                for i in 0..3100 {
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
