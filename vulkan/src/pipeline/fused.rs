//! Programs of element-wise steps as SPIR-V: the committed shader `program` with a call for each step in place of the body of its function
//! `element`. Drivers inline the calls, so values stay in registers and the rest of the shader is left out.
//!
//! The shader has a function for each [`Op`], found by its name. Unlike what is committed, the result is checked by nobody before a driver
//! takes it: all it adds are constants of numbers and calls whose arguments are defined before, of the types that the functions take.

use std::collections::HashMap;
use std::ops::Range;

use upbeat_kernels::elementwise::{Definition, Op, Program};
use upbeat_kernels::ShapeError;

use super::Kernel;
use crate::error::VulkanError;

/// Words before the first instruction, and which of them is above all ids.
const HEADER: usize = 5;
const BOUND: usize = 3;
/// The most ids that SPIR-V guarantees a module (its universal limits).
const MOST_IDS: usize = 4_194_303;

/// Numbers of the instructions that matter here, in SPIR-V's words.
mod code {
    pub(super) const NAME: u32 = 5;
    pub(super) const MEMBER_NAME: u32 = 6;
    pub(super) const EXECUTION_MODE: u32 = 16;
    pub(super) const CAPABILITY: u32 = 17;
    pub(super) const TYPE_VOID: u32 = 19;
    pub(super) const TYPE_INT: u32 = 21;
    pub(super) const TYPE_FLOAT: u32 = 22;
    pub(super) const CONSTANT: u32 = 43;
    pub(super) const FUNCTION: u32 = 54;
    pub(super) const FUNCTION_PARAMETER: u32 = 55;
    pub(super) const FUNCTION_END: u32 = 56;
    pub(super) const FUNCTION_CALL: u32 = 57;
    pub(super) const LABEL: u32 = 248;
    pub(super) const RETURN: u32 = 253;
}

/// `SignedZeroInfNanPreserve`, as a capability and as a mode.
const KEEPS_SIGNS: [u32; 2] = [4466, 4461];

/// Whether an instruction asks for the signs of zeros to be kept.
fn keeps_signs(code: u32, operands: &[u32]) -> bool {
    match (code, operands) {
        (code::CAPABILITY, [capability]) => *capability == KEEPS_SIGNS[0],
        (code::EXECUTION_MODE, [_, mode, ..]) => *mode == KEEPS_SIGNS[1],
        _ => false,
    }
}

/// An instruction: its number, and its words without the one that has the number.
fn instructions(words: &[u32]) -> impl Iterator<Item = (Range<usize>, u32, &[u32])> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let first = *words.get(at)?;
        let range = at..at + (first >> 16) as usize;
        at = range.end;
        Some((range.clone(), first & 0xffff, &words[range.start + 1..range.end]))
    })
}

fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).take_while(|&byte| byte != 0);
    bytes.map(char::from).collect()
}

/// What is needed of the committed shader.
struct Shader {
    words: Vec<u32>,
    /// Functions by name.
    functions: HashMap<String, u32>,
    void: u32,
    uint: u32,
    float: u32,
    /// Where constants can be added: before the first function.
    constants: usize,
    /// The body of `element`, between its label and its end.
    body: Range<usize>,
    /// The parameter of `element`.
    index: u32,
}

impl Shader {
    fn committed() -> Self {
        let words = Kernel::Program.spirv();
        let (mut functions, mut constants, mut inside) = (HashMap::new(), None, None);
        let (mut void, mut uint, mut float, mut index) = (0, 0, 0, 0);
        let mut body = 0..0;
        for (range, code, operands) in instructions(&words) {
            match (code, operands) {
                (code::NAME, [id, name @ ..]) => {
                    // Functions alone have their parameters' types in their name.
                    if let Some((name, _)) = text(name).split_once('(') {
                        functions.insert(name.to_owned(), *id);
                    }
                }
                (code::TYPE_VOID, [id]) => void = *id,
                (code::TYPE_INT, [id, 32, 0]) => uint = *id,
                (code::TYPE_FLOAT, [id, 32]) => float = *id,
                (code::FUNCTION, [_, id, ..]) => {
                    constants.get_or_insert(range.start);
                    inside = Some(*id);
                }
                _ if inside.is_none() || inside != functions.get("element").copied() => {}
                (code::FUNCTION_PARAMETER, [_, id]) => index = *id,
                (code::LABEL, _) => body.start = range.end,
                (code::FUNCTION_END, _) => body.end = range.start,
                _ => {}
            }
        }
        let constants = constants.unwrap_or(words.len());
        Self { words, functions, void, uint, float, constants, body, index }
    }

    fn function(&self, name: &str) -> u32 {
        *self.functions.get(name).expect("a function that a test of this file found in the shader")
    }
}

/// What is added to the shader.
struct Added {
    bound: u32,
    constants: Vec<u32>,
    body: Vec<u32>,
}

impl Added {
    fn id(&mut self) -> u32 {
        self.bound += 1;
        self.bound - 1
    }

    fn constant(&mut self, of: u32, bits: u32) -> u32 {
        let id = self.id();
        self.constants.extend([4 << 16 | code::CONSTANT, of, id, bits]);
        id
    }

    fn call(&mut self, result: u32, function: u32, arguments: &[u32]) -> u32 {
        let id = self.id();
        let words = 4 + arguments.len() as u32;
        self.body.extend([words << 16 | code::FUNCTION_CALL, result, id, function]);
        self.body.extend(arguments);
        id
    }
}

/// The shader of `program`: its operands are the program's inputs, then its outputs. Signs of zeros are asked for where the device has
/// `signed_zeros`.
///
/// # Errors
/// More steps than a module of SPIR-V may have.
pub(crate) fn fused(program: &Program, signed_zeros: bool) -> Result<Vec<u32>, VulkanError> {
    let shader = Shader::committed();
    // A call has one id, what it is given besides values another one.
    let most = (MOST_IDS - shader.words[BOUND] as usize) / 2 - program.outputs().len();
    if program.values().len() > most {
        let found = program.values().len();
        return Err(ShapeError::Limit { what: "the values of a program on a GPU", most, found }.into());
    }
    let mut added = Added { bound: shader.words[BOUND], constants: Vec::new(), body: Vec::new() };
    let mut values = Vec::with_capacity(program.values().len());
    for value in program.values() {
        let id = match *value {
            Definition::Input(number) => {
                let operand = added.constant(shader.uint, number as u32);
                added.call(shader.float, shader.function("load"), &[operand, shader.index])
            }
            Definition::Constant(number) => {
                let bits = added.constant(shader.uint, program.constant(number).to_bits());
                added.call(shader.float, shader.function("constant"), &[bits])
            }
            Definition::Step { op, operands } => {
                let arguments = operands.map(|operand| values.get(operand).copied().unwrap_or(0));
                added.call(shader.float, shader.function(&name(op)), &arguments[..op.arity()])
            }
        };
        values.push(id);
    }
    // After everything that is read: an output may be an input.
    for (number, &value) in program.outputs().iter().enumerate() {
        let operand = added.constant(shader.uint, (program.inputs() + number) as u32);
        added.call(shader.void, shader.function("store"), &[operand, shader.index, values[value]]);
    }
    added.body.push(1 << 16 | code::RETURN);

    let mut words = shader.words[..HEADER].to_vec();
    words[BOUND] = added.bound;
    for (range, code, operands) in instructions(&shader.words) {
        if !signed_zeros && keeps_signs(code, operands) {
            continue;
        }
        if range.start == shader.constants {
            words.append(&mut added.constants);
        }
        if range.start == shader.body.start {
            words.append(&mut added.body);
        }
        // The body that is left out has names.
        if !shader.body.contains(&range.start) && !matches!(code, code::NAME | code::MEMBER_NAME) {
            words.extend(&shader.words[range]);
        }
    }
    Ok(words)
}

/// An operation's function.
fn name(op: Op) -> String {
    format!("{op:?}")
}

#[cfg(test)]
mod tests {
    use upbeat_kernels::elementwise::Builder;

    use super::*;

    #[test]
    fn the_shader_has_a_function_for_every_operation_and_a_body_to_replace() {
        let shader = Shader::committed();
        for op in Op::ALL {
            assert!(shader.functions.contains_key(&name(*op)), "{op:?}");
        }
        for function in ["constant", "load", "store", "element"] {
            assert!(shader.functions.contains_key(function), "{function}");
        }
        assert!(shader.void * shader.uint * shader.float * shader.index > 0);
        assert!(shader.constants < shader.body.start && shader.body.len() > 52 * 6);
        // What is decorated would still be named where it is left out.
        let body: Vec<u32> = shader.words[shader.body.clone()].to_vec();
        let padded = [vec![0; HEADER], body].concat();
        let results: Vec<u32> =
            instructions(&padded).filter_map(|(_, _, words)| words.get(1).copied()).collect();
        let decorated = instructions(&shader.words).filter(|(_, code, _)| *code == 71);
        for (_, _, words) in decorated {
            assert!(!results.contains(&words[0]), "%{} is decorated", words[0]);
        }
    }

    #[test]
    fn steps_take_the_place_of_the_body() {
        let mut builder = Builder::default();
        let (x, two) = (builder.input(), builder.constant(2.0));
        let y = builder.step(Op::Mul, &[x, two]).unwrap();
        builder.output(y).unwrap();
        let shader = Shader::committed();
        let program = builder.build().unwrap();
        let words = fused(&program, true).unwrap();
        let asks =
            |words: &[u32]| instructions(words).filter(|(_, code, words)| keeps_signs(*code, words)).count();
        assert_eq!([asks(&words), asks(&fused(&program, false).unwrap())], [2, 0]);
        let calls: Vec<_> = instructions(&words)
            .filter(|(range, code, _)| *code == code::FUNCTION_CALL && range.start > shader.constants)
            .map(|(_, _, words)| words[2])
            .collect();
        let expected = ["load", "constant", "Mul", "store"].map(|name| shader.function(name));
        assert!(calls.windows(4).any(|four| four == expected));
        let end = instructions(&words).last().map(|(range, _, _)| range.end);
        assert_eq!(end, Some(words.len()));
        assert!(instructions(&words).all(|(range, _, _)| !range.is_empty()));
    }
}
