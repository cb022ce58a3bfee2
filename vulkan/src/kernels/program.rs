//! Programs of element-wise steps: a pass over memory for a whole chain.

use std::fmt;
use std::sync::Arc;

use upbeat_kernels::elementwise::Program;
use upbeat_kernels::ShapeError;

use super::count;
use crate::commands::{Access, Commands, PUSH_BYTES};
use crate::device::Device;
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::{fused, Compiled, Kernel};

/// The most inputs and outputs together: their addresses, and the number of elements, are push constants.
const MOST_OPERANDS: usize = PUSH_BYTES / 8 - 1;

/// A [`Program`] compiled for a device, by [`Device::program`]; run with [`Commands::program`]. Clones are handles of the same one, which ends
/// with the last of them, once the device is done with it.
#[derive(Clone)]
pub struct DeviceProgram {
    compiled: Arc<Compiled>,
    inputs: usize,
    outputs: usize,
}

impl DeviceProgram {
    /// How many inputs it takes.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// How many outputs it writes.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The device that it is for.
    pub fn device(&self) -> &Device {
        self.compiled.device()
    }
}

impl fmt::Debug for DeviceProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, outputs, .. } = self;
        f.debug_struct("DeviceProgram")
            .field("inputs", inputs)
            .field("outputs", outputs)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// Compiles a program of element-wise steps: one kernel for the whole chain, which keeps what steps hand on in registers. The driver
    /// takes some milliseconds for it, so compile once and run often, on buffers of any length. What it computes, and how exactly, is said at
    /// [`Commands::program`].
    ///
    /// # Errors
    /// More than 15 inputs and outputs together; more than two million steps; what making a pipeline can fail with.
    ///
    /// ```no_run
    /// use upbeat_kernels::elementwise::{Builder, Op};
    /// use upbeat_vulkan::{Device, Options};
    ///
    /// // y = GELU(x·w + 0.5)
    /// let mut builder = Builder::default();
    /// let (x, w, half) = (builder.input(), builder.input(), builder.constant(0.5));
    /// let sum = builder.step(Op::Fma, &[x, w, half])?;
    /// let y = builder.step(Op::Gelu, &[sum])?;
    /// builder.output(y)?;
    ///
    /// let device = Device::open(&Options::from_env())?;
    /// let program = device.program(&builder.build()?)?;
    /// let (x, w) = (device.upload(&[1.0_f32, 2.0])?, device.upload(&[3.0_f32, -0.25])?);
    /// let mut commands = device.commands();
    /// commands.program(&program, &[&x, &w], &[&x])?; // in place of x
    /// commands.submit()?.wait()?;
    /// assert_eq!(x.to_vec()?[1], 0.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn program(&self, program: &Program) -> Result<DeviceProgram, VulkanError> {
        let (inputs, outputs) = (program.inputs(), program.outputs().len());
        if inputs + outputs > MOST_OPERANDS {
            let what = "the inputs and outputs of a program on a GPU";
            return Err(ShapeError::Limit { what, most: MOST_OPERANDS, found: inputs + outputs }.into());
        }
        let constants = [self.tuning().elements(), (inputs + outputs) as u32];
        let compiled =
            Arc::new(Compiled::new(self, &fused(program, self.limits().signed_zeros)?, &constants)?);
        Ok(DeviceProgram { compiled, inputs, outputs })
    }
}

impl Commands {
    /// Runs a program on buffers of one length: each input that an output needs is read once, each output written once. In place where an
    /// output is an input: the very same numbers. To add to what an output holds, let it be an input too and end with a sum.
    ///
    /// Sums, products, comparisons, choices and what is made of them ([`Op::TanhGradient`] and its like) are rounded as on the CPU, step by
    /// step; [`Op::Fma`] once or twice. What is subnormal may be taken for 0, as an operand or a result, but for comparisons, choices,
    /// signs, the operand of [`Op::Log`] and the base of [`Op::Pow`]; the sign of a zero may be lost where the device does not keep it
    /// ([`Limits::signed_zeros`](crate::Limits::signed_zeros)). NaN and infinities are as [`Op`] says. Of the rest, with the 2.5 ulp
    /// that Vulkan allows a division, each result is off by at most
    ///
    /// | | ulp of the result | or |
    /// |---|---|---|
    /// | `Exp` | 2 | |
    /// | `Log`, `Pow` | 3 | |
    /// | `Erf`, `Tanh` | 5 | |
    /// | `Sigmoid`, `Softplus` and its gradient, `ErfGradient` | 7 | |
    /// | `Div`, `Reciprocal`, `Sqrt`, `Rsqrt`, `DivGradient`, `SqrtGradient` | 9 | |
    /// | `Gelu`, `Silu`, `Mish`, `GeluGradient`, `PowGradient`, `PowExponentGradient` | 12 | |
    /// | `GeluTanh`, `GeluTanhGradient`, `SiluGradient`, `MishGradient` | 12 | 4·10⁻⁷, times the gradient |
    ///
    /// where no result on the way overflows or is subnormal, and no divisor is above 2¹²⁶.
    ///
    /// [`Op`]: upbeat_kernels::elementwise::Op
    /// [`Op::TanhGradient`]: upbeat_kernels::elementwise::Op::TanhGradient
    /// [`Op::Fma`]: upbeat_kernels::elementwise::Op::Fma
    /// [`Op::Log`]: upbeat_kernels::elementwise::Op::Log
    /// [`Op::Pow`]: upbeat_kernels::elementwise::Op::Pow
    ///
    /// # Errors
    /// Other numbers of inputs or outputs than the program's; lengths that differ; a program or buffers of another device, or outputs that
    /// overlap each other, or an input otherwise.
    pub fn program(
        &mut self,
        program: &DeviceProgram,
        inputs: &[&Buffer<f32>],
        outputs: &[&Buffer<f32>],
    ) -> Result<&mut Self, VulkanError> {
        Self::check("the number of inputs", program.inputs, inputs.len())?;
        Self::check("the number of outputs", program.outputs, outputs.len())?;
        let len = outputs[0].len();
        inputs.iter().try_for_each(|input| Self::check("the length of an input", len, input.len()))?;
        outputs.iter().try_for_each(|output| Self::check("the length of an output", len, output.len()))?;
        let operands: Vec<_> = inputs
            .iter()
            .map(|input| input.operand(Access::ReadInPlace))
            .chain(outputs.iter().map(|output| output.operand(Access::Write)))
            .collect();
        // The shader declares all the words there are, so all are set, and needs a 0.
        let mut parameters = [0; PUSH_BYTES];
        parameters[..4].copy_from_slice(&count("the length of an output", len)?.to_ne_bytes());
        let parameters = &parameters[..PUSH_BYTES - 8 * operands.len()];
        let groups = self.groups_for(len);
        self.dispatch_program(Kernel::Program, &program.compiled, groups, &operands, parameters)
    }
}
