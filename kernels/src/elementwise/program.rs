//! Chains of element-wise steps, compiled once and run in one pass over memory: steps hand their values on by the tile, and
//! inputs and outputs are touched once. What it costs beside a loop written by hand is in `docs/benchmarks`.
//!
//! The bits are those of the same steps run one by one with [`functions`](super::functions): nothing is contracted or
//! reordered. `compile` in this file decides which values stay in the accumulator; [`Pass`] runs the result.

use std::fmt;

use super::functions::{block, is_streamed};
use super::op::Op;
use super::pass::{Code, Instruction, Pass, Source, Splat, MOST_TILE};
use crate::element::Write;
use crate::error::{check, ShapeError};
use crate::grid::Tiles;
use crate::isa::dispatch;
use crate::pool::Buffer;

/// The most outputs that a program has.
pub const MOST_OUTPUTS: usize = 8;

/// An input, a constant or a step's result in a [`Builder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(usize);

/// What a value is.
#[derive(Clone, Copy, Debug)]
enum Definition {
    Input(usize),
    Constant(usize),
    Step { op: Op, operands: [usize; 3] },
}

/// A program that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramError {
    /// A step has more or fewer operands than its operation takes.
    Operands {
        /// The operation.
        op: Op,
        /// How many were given.
        found: usize,
    },
    /// A value of another builder, which this one does not have.
    UnknownValue,
    /// Nothing is written.
    NoOutput,
    /// More than [`MOST_OUTPUTS`].
    TooManyOutputs,
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operands { op, found } => {
                write!(f, "{op:?} takes {} operands but was given {found}", op.arity())
            }
            Self::UnknownValue => write!(f, "a value is not one of this builder's"),
            Self::NoOutput => write!(f, "a program without outputs computes nothing"),
            Self::TooManyOutputs => write!(f, "a program has at most {MOST_OUTPUTS} outputs"),
        }
    }
}

impl std::error::Error for ProgramError {}

/// Collects inputs, constants, steps and outputs; [`Builder::build`] compiles them.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    values: Vec<Definition>,
    inputs: usize,
    constants: Vec<f32>,
    outputs: Vec<usize>,
}

impl Builder {
    /// The next input: the first call names the first slice that [`Program::run`] is given.
    pub fn input(&mut self) -> Value {
        self.inputs += 1;
        self.define(Definition::Input(self.inputs - 1))
    }

    /// The same number for every element.
    pub fn constant(&mut self, x: f32) -> Value {
        self.constants.push(x);
        self.define(Definition::Constant(self.constants.len() - 1))
    }

    /// `op` of `operands`.
    ///
    /// # Errors
    /// [`ProgramError::Operands`] and [`ProgramError::UnknownValue`].
    pub fn step(&mut self, op: Op, operands: &[Value]) -> Result<Value, ProgramError> {
        if operands.len() != op.arity() {
            return Err(ProgramError::Operands { op, found: operands.len() });
        }
        let mut indices = [usize::MAX; 3];
        for (index, value) in indices.iter_mut().zip(operands) {
            *index = self.known(*value)?;
        }
        Ok(self.define(Definition::Step { op, operands: indices }))
    }

    /// The next output: the first call names the first slice that [`Program::run`] writes.
    ///
    /// # Errors
    /// [`ProgramError::UnknownValue`] and [`ProgramError::TooManyOutputs`].
    pub fn output(&mut self, value: Value) -> Result<(), ProgramError> {
        if self.outputs.len() == MOST_OUTPUTS {
            return Err(ProgramError::TooManyOutputs);
        }
        let index = self.known(value)?;
        self.outputs.push(index);
        Ok(())
    }

    /// Compiles the program. Steps that no output needs are left out.
    ///
    /// # Errors
    /// [`ProgramError::NoOutput`].
    pub fn build(&self) -> Result<Program, ProgramError> {
        if self.outputs.is_empty() {
            return Err(ProgramError::NoOutput);
        }
        let (code, places, costly) = compile(&self.values, &self.outputs);
        let constants = self.constants.iter().map(|&x| [x; MOST_TILE]).collect();
        Ok(Program { code, constants, inputs: self.inputs, outputs: self.outputs.len(), places, costly })
    }

    fn define(&mut self, definition: Definition) -> Value {
        self.values.push(definition);
        Value(self.values.len() - 1)
    }

    fn known(&self, value: Value) -> Result<usize, ProgramError> {
        if value.0 < self.values.len() {
            Ok(value.0)
        } else {
            Err(ProgramError::UnknownValue)
        }
    }
}

/// How a step takes the accumulator's value, which is its operand `position`: the code and its other operands.
fn around(op: Op, position: usize, operands: [usize; 3]) -> Option<(Code, [usize; 2])> {
    let [a, b, c] = operands;
    Some(match (op, position) {
        (_, 0) => (Code::Op(op), [b, c]),
        (Op::Add | Op::Mul | Op::Equal | Op::NotEqual, 1) => (Code::Op(op), [a, c]),
        (Op::Sub, 1) => (Code::SubFrom, [a, c]),
        (Op::Div, 1) => (Code::DivInto, [a, c]),
        (Op::Less, 1) => (Code::Op(Op::Greater), [a, c]),
        (Op::Greater, 1) => (Code::Op(Op::Less), [a, c]),
        (Op::LessEqual, 1) => (Code::Op(Op::GreaterEqual), [a, c]),
        (Op::GreaterEqual, 1) => (Code::Op(Op::LessEqual), [a, c]),
        (Op::Fma, 1) => (Code::Op(Op::Fma), [a, c]),
        (Op::Fma, 2) => (Code::FmaInto, [a, b]),
        _ => return None,
    })
}

/// Instructions for the steps that `outputs` need, the number of places for kept values, and whether a step is costly.
fn compile(values: &[Definition], outputs: &[usize]) -> (Vec<Instruction>, usize, bool) {
    let mut needed = vec![false; values.len()];
    outputs.iter().for_each(|&value| needed[value] = true);
    for (i, value) in values.iter().enumerate().rev() {
        if let (true, Definition::Step { op, operands }) = (needed[i], value) {
            operands[..op.arity()].iter().for_each(|&operand| needed[operand] = true);
        }
    }
    let is_step = |i: usize| needed[i] && matches!(values[i], Definition::Step { .. });
    let steps: Vec<usize> = (0..values.len()).filter(|&i| is_step(i)).collect();
    // How each step takes the value before it out of the accumulator, if it does, and what it reads from elsewhere.
    let mut taken = Vec::with_capacity(steps.len());
    let mut last_read = vec![0; values.len()];
    for (n, &step) in steps.iter().enumerate() {
        let Definition::Step { op, operands } = values[step] else { unreachable!("steps are steps") };
        let before = n.checked_sub(1).map(|n| steps[n]);
        let position = operands[..op.arity()].iter().position(|&operand| Some(operand) == before);
        let chained = position.and_then(|position| around(op, position, operands));
        let (code, others) = chained.unwrap_or((Code::Op(op), [operands[1], operands[2]]));
        let first = if chained.is_some() { None } else { Some(operands[0]) };
        for read in first.into_iter().chain(others).filter(|&read| read != usize::MAX) {
            last_read[read] = n + 1;
        }
        taken.push((code, first, others));
    }
    let mut code = Vec::new();
    let mut place_of = vec![usize::MAX; values.len()];
    let (mut free, mut places, mut costly) = (Vec::new(), 0, false);
    let source = |value: usize, place_of: &[usize]| match values.get(value) {
        None => Source::None,
        Some(Definition::Input(number)) => Source::Input(*number),
        Some(Definition::Constant(number)) => Source::Constant(*number),
        Some(Definition::Step { .. }) => Source::Kept(place_of[value]),
    };
    for (n, (operation, first, others)) in taken.into_iter().enumerate() {
        if let Some(first) = first {
            code.push(Instruction::Load(source(first, &place_of)));
        }
        let [y, z] = others.map(|other| source(other, &place_of));
        code.push(Instruction::Apply(operation, y, z));
        let step = steps[n];
        if let Definition::Step { op, .. } = values[step] {
            costly |= op.is_costly();
        }
        for &value in &steps[..n] {
            if last_read[value] == n + 1 {
                free.push(place_of[value]);
            }
        }
        let at = |code: &mut Vec<Instruction>| {
            let numbers = outputs.iter().enumerate().filter(|(_, value)| **value == step);
            code.extend(numbers.map(|(number, _)| Instruction::Output(number)));
        };
        if last_read[step] > n + 1 {
            place_of[step] = free.pop().unwrap_or_else(|| {
                places += 1;
                places - 1
            });
            code.push(Instruction::Keep(place_of[step]));
        }
        at(&mut code);
    }
    // Outputs that no step computes.
    for (number, &value) in outputs.iter().enumerate() {
        if !is_step(value) {
            code.extend([Instruction::Load(source(value, &place_of)), Instruction::Output(number)]);
        }
    }
    (code, places, costly)
}

/// A compiled chain of element-wise steps.
///
/// ```
/// use upbeat_kernels::elementwise::{Builder, Op};
/// use upbeat_kernels::Write;
///
/// // y = GELU(a·b + c)
/// let mut builder = Builder::default();
/// let (a, b, c) = (builder.input(), builder.input(), builder.constant(0.5));
/// let product = builder.step(Op::Mul, &[a, b])?;
/// let sum = builder.step(Op::Add, &[product, c])?;
/// let y = builder.step(Op::Gelu, &[sum])?;
/// builder.output(y)?;
/// let program = builder.build()?;
///
/// let mut out = [0.0; 3];
/// program.run(&[&[1.0, 2.0, 3.0], &[-0.5, 0.0, 1.0]], &mut [&mut out], Write::Overwrite)?;
/// assert_eq!(out[0], 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    code: Vec<Instruction>,
    constants: Vec<Splat>,
    inputs: usize,
    outputs: usize,
    places: usize,
    costly: bool,
}

impl Program {
    /// Runs the program on slices of one length, in parallel blocks. With [`Write::Add`] every output's value is added
    /// to what it holds. Outputs larger than the last-level cache are written past the caches.
    ///
    /// # Errors
    /// [`ShapeError::Mismatch`] when the numbers of inputs or outputs are not the program's, or a length differs from the
    /// first output's; nothing is written then.
    pub fn run(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]], write: Write) -> Result<(), ShapeError> {
        check("the number of inputs", self.inputs, inputs.len())?;
        check("the number of outputs", self.outputs, outputs.len())?;
        let len = outputs[0].len();
        inputs.iter().try_for_each(|input| check("the length of an input", len, input.len()))?;
        outputs.iter().try_for_each(|output| check("the length of an output", len, output.len()))?;
        let (block, stream) = (block(self.costly), is_streamed(len, write));
        let run = |i: usize, outputs: &mut [&mut [f32]]| {
            let mut kept = Buffer::<f32>::unspecified(self.places * MOST_TILE);
            let (code, constants, kept, from) = (&self.code, &self.constants, &mut *kept, i * block);
            dispatch(Pass { code, inputs, from, constants, kept, outputs, write, stream });
        };
        if let [output] = outputs {
            upbeat::par::chunks_mut(output, block, |i, output| run(i, &mut [output]));
            return Ok(());
        }
        let count = outputs.len();
        let mut rest = outputs.iter_mut();
        let pieces: [Option<Tiles<'_, f32>>; MOST_OUTPUTS] =
            std::array::from_fn(|_| rest.next().map(|output| Tiles::of_slice(output, block)));
        upbeat::par::for_each(0..len.div_ceil(block), |i| {
            let mut blocks: [&mut [f32]; MOST_OUTPUTS] =
                std::array::from_fn(|number| match &pieces[number] {
                    Some(pieces) => pieces.take(0, i).into_slice(),
                    None => &mut [],
                });
            run(i, &mut blocks[..count]);
        });
        Ok(())
    }
}
