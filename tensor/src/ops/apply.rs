//! Any of the kernels' element-wise functions, by name: roots, exponentials, comparisons, extremes of pairs.

use upbeat_kernels::elementwise::functions::{apply, Operand};
use upbeat_kernels::elementwise::Op;
use upbeat_kernels::{ShapeError, Write};

use super::{run, shapes};
use crate::numbers::Where;
use crate::{Tensor, TensorError};

impl Tensor {
    /// `op` of each number: [`apply`](Self::apply) of one tensor.
    ///
    /// ```
    /// use upbeat_tensor::{Device, Op, Tensor};
    ///
    /// let x = Tensor::from_slice(&[4.0, 9.0], &[2], &Device::Cpu)?;
    /// assert_eq!(x.map(Op::Sqrt)?.to_vec()?, [2.0, 3.0]);
    /// # Ok::<(), upbeat_tensor::TensorError>(())
    /// ```
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn map(&self, op: Op) -> Result<Self, TensorError> {
        Self::apply(op, &[self])
    }

    /// `op` of the numbers at each place of tensors of one shape, which are as many as [`Op::arity`] says. A Vulkan device compiles each
    /// operation when it meets it first, some milliseconds; how exactly it computes is said at [`upbeat_vulkan::Commands::program`].
    ///
    /// # Errors
    /// Another number of tensors; shapes that differ; operands on two devices; what compiling can fail with.
    pub fn apply(op: Op, operands: &[&Self]) -> Result<Self, TensorError> {
        let given: Vec<_> = operands.iter().map(|operand| operand.shape()).collect();
        if operands.len() != op.arity() {
            let takes = "as many tensors as its operation has operands";
            return Err(shapes("apply", takes, &given, "Op::arity says how many"));
        }
        // No operation takes nothing.
        let shape = given[0];
        if given.iter().any(|other| *other != shape) {
            return Err(shapes("apply", "tensors of one shape", &given, "reshape or repeat what is smaller"));
        }
        let place = operands[0].operand().place();
        let program = match &place {
            Where::Cpu => None,
            Where::Vulkan(stream) => {
                let failed = |error| TensorError::of("apply", stream.place(), error);
                Some(stream.program(op).map_err(failed)?)
            }
        };
        let cpu = |out: &mut [f32]| -> Result<(), ShapeError> {
            let inputs: Vec<_> = operands.iter().map(|operand| Operand::Slice(operand.host())).collect();
            apply(op, &inputs, out, Write::Overwrite)
        };
        let all: Vec<_> = operands.iter().map(|operand| operand.operand()).collect();
        run("apply", &place, all, shape.to_vec(), cpu, |commands, out| {
            let inputs: Vec<_> = operands.iter().map(|operand| operand.block()).collect();
            let program = program.as_ref().expect("it was compiled for the device");
            commands.program(program, &inputs, &[out]).map(drop)
        })
    }
}
