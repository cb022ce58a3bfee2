//! Chains of element-wise steps, compiled once and run in one pass over memory: steps hand their values on in the first-level
//! cache, and inputs and outputs are touched once. What it costs beside a loop written by hand is in `docs/benchmarks`.
//!
//! The bits are those of the same steps run one by one with [`functions`](super::functions): nothing is contracted or
//! reordered. [`compile`] decides which steps share a loop and where values are kept; [`Pass`] runs the result.

use std::fmt;

use super::compile::{compile, needed, Definition};
use super::functions::{block, is_streamed};
use super::op::Op;
use super::pass::{Given, Instruction, Pass};
use crate::element::Write;
use crate::error::{check, ShapeError};
use crate::grid::Tiles;
use crate::simd::each::Unit;

/// The most outputs that a program has.
pub const MOST_OUTPUTS: usize = 8;

/// An input, a constant or a step's result in a [`Builder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(usize);

/// A program that cannot be built.
#[derive(Clone, PartialEq, Eq)]
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

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProgramError({self})")
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
        let (values, outputs) = needed(&self.values, &self.outputs);
        let (code, places, costly) = compile(&values, &outputs);
        let constants = self.constants.iter().map(|&x| Unit::splat(x)).collect();
        Ok(Program { values, code, constants, inputs: self.inputs, outputs, places, costly })
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
    values: Vec<Definition>,
    code: Vec<Instruction>,
    constants: Vec<Unit>,
    inputs: usize,
    outputs: Vec<usize>,
    places: usize,
    costly: bool,
}

impl Program {
    /// How many inputs it takes, those that no output needs included.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// What it computes, value by value, for who runs it elsewhere: what a step takes comes before the step, and what no
    /// output needs is not there.
    pub fn values(&self) -> &[Definition] {
        &self.values
    }

    /// The constant of a [`Definition::Constant`].
    ///
    /// # Panics
    /// When no value has that number.
    pub fn constant(&self, number: usize) -> f32 {
        self.constants[number].0[0]
    }

    /// The place in [`values`](Self::values) of what each output is written with.
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// Runs the program on slices of one length, in parallel blocks. With [`Write::Add`] every output's value is added
    /// to what it holds. Outputs larger than the last-level cache are written past the caches.
    ///
    /// # Errors
    /// [`ShapeError::Mismatch`] when the numbers of inputs or outputs are not the program's, or a length differs from the
    /// first output's; nothing is written then.
    pub fn run(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]], write: Write) -> Result<(), ShapeError> {
        check("the number of inputs", self.inputs, inputs.len())?;
        check("the number of outputs", self.outputs.len(), outputs.len())?;
        let len = outputs[0].len();
        inputs.iter().try_for_each(|input| check("the length of an input", len, input.len()))?;
        outputs.iter().try_for_each(|output| check("the length of an output", len, output.len()))?;
        let (block, stream) = (block(self.costly), is_streamed(len, write));
        let run = |i: usize, outputs: &mut [&mut [f32]]| {
            let given = Given { inputs, from: i * block, constants: &self.constants };
            Pass { code: &self.code, given, places: self.places, outputs, write, stream }.run();
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
