//! From the steps of a [`Builder`](super::Builder) to the instructions of a [`Pass`](super::pass::Pass): which steps share a loop,
//! and where values lie until they are last read.
//!
//! Steps that no output needs are left out. A step whose value one other step alone takes shares that one's loop where
//! there is one for the two ([`pair`]).

use super::op::Op;
use super::pair::pair;
use super::pass::{Instruction, Source, Target};
use super::step::run_of;
use super::sweep::Run;

/// What a value of a [`Program`](super::Program) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// An input, by its number.
    Input(usize),
    /// A constant, by its number.
    Constant(usize),
    /// An operation's result.
    Step {
        /// The operation.
        op: Op,
        /// The values it takes, by number: the first [`Op::arity`] of these, each below the step's own. The rest mean nothing.
        operands: [usize; 3],
    },
}

/// No operand.
const NOTHING: usize = usize::MAX;

/// A loop, and the values that it reads and gives.
struct Loop {
    run: Run,
    operands: [usize; 3],
    value: usize,
}

/// The values that `outputs` need, in order and numbered anew, and the outputs among them.
pub(crate) fn needed(values: &[Definition], outputs: &[usize]) -> (Vec<Definition>, Vec<usize>) {
    let mut is_needed = vec![false; values.len()];
    outputs.iter().for_each(|&value| is_needed[value] = true);
    for value in (0..values.len()).rev() {
        if let (true, Definition::Step { op, operands }) = (is_needed[value], values[value]) {
            operands[..op.arity()].iter().for_each(|&operand| is_needed[operand] = true);
        }
    }
    let mut number = vec![NOTHING; values.len()];
    let mut kept = Vec::new();
    for value in (0..values.len()).filter(|&value| is_needed[value]) {
        number[value] = kept.len();
        kept.push(match values[value] {
            Definition::Step { op, operands } => {
                let operands = operands.map(|operand| number.get(operand).copied().unwrap_or(NOTHING));
                Definition::Step { op, operands }
            }
            other => other,
        });
    }
    (kept, outputs.iter().map(|&value| number[value]).collect())
}

/// Instructions for the steps that `outputs` need, the number of places for kept values, and whether a step is costly.
pub(crate) fn compile(values: &[Definition], outputs: &[usize]) -> (Vec<Instruction>, usize, bool) {
    let (loops, costly) = loops(values, outputs);
    // The number of the last loop that reads a value, from 1 on.
    let mut last_read = vec![0; values.len()];
    for (n, step) in loops.iter().enumerate() {
        for &read in step.operands.iter().filter(|&&read| read != NOTHING) {
            last_read[read] = n + 1;
        }
    }
    let mut place_of = vec![NOTHING; values.len()];
    let (mut free, mut places) = (Vec::new(), 0);
    let source = |value: usize, place_of: &[usize]| match values.get(value) {
        None => Source::None,
        Some(Definition::Input(number)) => Source::Input(*number),
        Some(Definition::Constant(number)) => Source::Constant(*number),
        Some(Definition::Step { .. }) => Source::Kept(place_of[value]),
    };
    let outputs_of = |value: usize| (0..outputs.len()).filter(move |&number| outputs[number] == value);
    let mut code = Vec::new();
    for (n, &Loop { run, operands, value }) in loops.iter().enumerate() {
        let sources = operands.map(|operand| source(operand, &place_of));
        let mut written = outputs_of(value);
        let to = match (written.next(), written.next(), last_read[value] > n + 1) {
            (Some(number), None, false) => Target::Output(number),
            _ => {
                // Taken before the operands' places are free: a loop does not write where it reads.
                place_of[value] = free.pop().unwrap_or_else(|| {
                    places += 1;
                    places - 1
                });
                Target::Kept(place_of[value])
            }
        };
        code.push(Instruction::Apply { run, operands: sources, to });
        if let Target::Kept(place) = to {
            code.extend(outputs_of(value).map(|number| Instruction::Output(Source::Kept(place), number)));
            if last_read[value] <= n + 1 {
                free.push(place);
            }
        }
        for read in (0..values.len()).filter(|&read| last_read[read] == n + 1) {
            if place_of[read] != NOTHING {
                free.push(place_of[read]);
            }
        }
    }
    for (number, &value) in outputs.iter().enumerate() {
        if !matches!(values[value], Definition::Step { .. }) {
            code.push(Instruction::Output(source(value, &place_of), number));
        }
    }
    (code, places, costly)
}

/// The loops that compute what `outputs` need, in order, and whether an operation is costly.
fn loops(values: &[Definition], outputs: &[usize]) -> (Vec<Loop>, bool) {
    let mut uses = vec![0; values.len()];
    outputs.iter().for_each(|&value| uses[value] += 1);
    let mut costly = false;
    for i in (0..values.len()).rev() {
        if let (true, Definition::Step { op, operands }) = (uses[i] > 0, values[i]) {
            operands[..op.arity()].iter().for_each(|&operand| uses[operand] += 1);
            costly |= op.is_costly();
        }
    }
    let mut loops: Vec<Loop> = Vec::new();
    // Whether a value's loop computes two steps.
    let mut paired = vec![false; values.len()];
    let mut absorbed = vec![false; values.len()];
    for value in (0..values.len()).filter(|&value| uses[value] > 0) {
        let Definition::Step { op, operands } = values[value] else { continue };
        let mut step = Loop { run: run_of(op), operands, value };
        for position in 0..op.arity().min(2) {
            let before = operands[position];
            let Definition::Step { op: first, operands: given } = values[before] else { continue };
            if uses[before] > 1 || paired[before] {
                continue;
            }
            if let Some(run) = pair(first, op, position) {
                let other = if op.arity() == 2 { operands[1 - position] } else { NOTHING };
                step = Loop { run, operands: [given[0], given[1], other], value };
                (paired[value], absorbed[before]) = (true, true);
                break;
            }
        }
        loops.push(step);
    }
    loops.retain(|step| !absorbed[step.value]);
    (loops, costly)
}
