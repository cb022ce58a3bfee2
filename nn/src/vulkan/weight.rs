//! Weights on a device, stored as f32 or as f16, and what they are multiplied with.

use upbeat_kernels::{Activation, Write};
use upbeat_vulkan::{f16, Buffer, Commands, Device, Epilogue, Gemm, Matrix, VulkanError};

/// How a device stores a model's weights. Arithmetic is in f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// As they are.
    #[default]
    F32,
    /// In half the memory, rounded to 11 bits: what generates token by token reads every weight each time, and is up to twice as fast. A
    /// matrix with a number beyond f16's range (65504) stays f32, and so do norms and learned positions.
    F16,
}

/// A matrix `[out, in]`, or a table.
pub(super) enum Weight {
    F32(Buffer<f32>),
    F16(Buffer<f16>),
}

impl Weight {
    pub(super) fn upload(device: &Device, numbers: &[f32], storage: Storage) -> Result<Self, VulkanError> {
        if storage == Storage::F16 {
            let rounded: Vec<f16> = numbers.iter().map(|&x| f16::from_f32(x)).collect();
            let fits = rounded.iter().zip(numbers).all(|(to, from)| to.is_finite() || !from.is_finite());
            if fits {
                return Ok(Self::F16(device.upload(&rounded)?));
            }
        }
        Ok(Self::F32(device.upload(numbers)?))
    }

    /// `out[r] = self[tokens[r]]`, rows of `width`.
    pub(super) fn look_up(
        &self,
        commands: &mut Commands,
        width: usize,
        tokens: &Buffer<u32>,
        out: &Buffer<f32>,
    ) -> Result<(), VulkanError> {
        match self {
            Self::F32(table) => commands.embedding(table, width, tokens, out)?,
            Self::F16(table) => commands.embedding_f16(table, width, tokens, out)?,
        };
        Ok(())
    }

    /// `out = act(x·selfᵀ)`, or `out += x·selfᵀ` where `adds`: `x: [rows, inputs]`.
    pub(super) fn apply(
        &self,
        commands: &mut Commands,
        (x, inputs): (&Buffer<f32>, usize),
        out: &Buffer<f32>,
        activation: Activation,
        adds: bool,
    ) -> Result<(), VulkanError> {
        let rows = x.len() / inputs;
        let outputs = out.len() / rows;
        let (x, out) = (Matrix::new(x, rows, inputs)?, Matrix::new(out, rows, outputs)?);
        let write = if adds { Write::Add } else { Write::Overwrite };
        let epilogue = Epilogue { activation, ..Epilogue::default() };
        match self {
            Self::F32(weight) => {
                let product = Gemm::new(x, Matrix::new(weight, outputs, inputs)?, out);
                commands.gemm(&Gemm { transpose_b: true, write, epilogue, ..product })?
            }
            Self::F16(weight) => {
                let product = Gemm::new(x, Matrix::new(weight, outputs, inputs)?, out);
                commands.gemm(&Gemm { transpose_b: true, write, epilogue, ..product })?
            }
        };
        Ok(())
    }
}
