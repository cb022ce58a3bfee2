//! The types that numbers are stored in, and which kernels of each device take them.

use upbeat_kernels::gemm::Stored;
use upbeat_kernels::pool::Plain;
use upbeat_kernels::{convert, embedding, f16, Buffer, Mat, ShapeError};
use upbeat_vulkan::{Buffer as Block, Commands, VulkanError};

pub(crate) mod sealed {
    use super::*;

    pub trait Sealed: Sized {
        /// The block as one that other tensors may take, or none: only f32's go around.
        fn spare(block: Block<Self>) -> Option<Block<f32>>;
        /// A spare block as one of this type.
        fn from_spare(block: Option<Block<f32>>) -> Option<Block<Self>>;
        /// The right factor of a product on the CPU.
        fn factor(matrix: Mat<'_, Self>) -> Stored<'_>;
        /// Rows of a table on the CPU, as f32.
        fn embed_host(table: &[Self], width: usize, ids: &[u32], out: &mut [f32]) -> Result<(), ShapeError>;
        /// Rows of a table on a device, as f32.
        fn embed(
            commands: &mut Commands,
            table: &Block<Self>,
            width: usize,
            ids: &Block<u32>,
            out: &Block<f32>,
        ) -> Result<(), VulkanError>;
    }
}

/// A type that a tensor's numbers are stored in: `f32`, or [`struct@f16`] for weights. What is computed is computed in f32.
pub trait Number: upbeat_vulkan::Float + Plain + Default + sealed::Sealed {}

impl Number for f32 {}
impl Number for f16 {}

impl sealed::Sealed for f32 {
    fn spare(block: Block<Self>) -> Option<Block<f32>> {
        Some(block)
    }

    fn from_spare(block: Option<Block<f32>>) -> Option<Block<Self>> {
        block
    }

    fn factor(matrix: Mat<'_, Self>) -> Stored<'_> {
        matrix.into()
    }

    fn embed_host(table: &[Self], width: usize, ids: &[u32], out: &mut [f32]) -> Result<(), ShapeError> {
        embedding::embedding_forward(table, width, ids, out)
    }

    fn embed(
        commands: &mut Commands,
        table: &Block<Self>,
        width: usize,
        ids: &Block<u32>,
        out: &Block<f32>,
    ) -> Result<(), VulkanError> {
        commands.embedding(table, width, ids, out).map(drop)
    }
}

impl sealed::Sealed for f16 {
    fn spare(_: Block<Self>) -> Option<Block<f32>> {
        None
    }

    fn from_spare(_: Option<Block<f32>>) -> Option<Block<Self>> {
        None
    }

    fn factor(matrix: Mat<'_, Self>) -> Stored<'_> {
        matrix.into()
    }

    fn embed_host(table: &[Self], width: usize, ids: &[u32], out: &mut [f32]) -> Result<(), ShapeError> {
        let mut narrow = Buffer::scratch(out.len());
        embedding::embedding_forward(table, width, ids, &mut narrow)?;
        convert::widen(&narrow, out)
    }

    fn embed(
        commands: &mut Commands,
        table: &Block<Self>,
        width: usize,
        ids: &Block<u32>,
        out: &Block<f32>,
    ) -> Result<(), VulkanError> {
        commands.embedding_f16(table, width, ids, out).map(drop)
    }
}
