//! Between the types that numbers are stored in.

use upbeat_kernels::{convert, f16};

use super::run;
use crate::{Tensor, TensorError};

impl Tensor {
    /// The numbers rounded to 16 bits, to nearest even, where they are: half the memory, for weights and tables.
    ///
    /// # Errors
    /// No memory; a device that stores no 16-bit floats.
    pub fn to_f16(&self) -> Result<Tensor<f16>, TensorError> {
        let cpu = |out: &mut [f16]| convert::narrow(self.host(), out);
        run(
            "to_f16",
            &self.operand().place(),
            [self.operand()],
            self.shape().to_vec(),
            cpu,
            |commands, out| commands.to_f16(self.block(), out).map(drop),
        )
    }
}

impl Tensor<f16> {
    /// The numbers as 32 bits, exactly.
    ///
    /// # Errors
    /// No memory, or a lost device.
    pub fn to_f32(&self) -> Result<Tensor, TensorError> {
        let cpu = |out: &mut [f32]| convert::widen(self.host(), out);
        run(
            "to_f32",
            &self.operand().place(),
            [self.operand()],
            self.shape().to_vec(),
            cpu,
            |commands, out| commands.to_f32(self.block(), out).map(drop),
        )
    }
}
