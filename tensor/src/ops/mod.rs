//! Operations: each checks its shapes, then runs the kernel of the device that its operands are on. Both kernels stand side by side.

mod adaptive;
mod apply;
mod attention;
mod convert;
mod embedding;
mod map;
mod product;
mod reduce;
mod rope;
mod rows;

pub use adaptive::Adaptive;
pub use attention::Mask;
pub use rope::Rope;

use std::sync::Arc;

use upbeat_kernels::{Buffer, ShapeError};
use upbeat_vulkan::{Buffer as Block, Commands, VulkanError};

use crate::numbers::{Numbers, OnDevice, Where};
use crate::stream::{Batch, Stream};
use crate::tensor::len_of;
use crate::{Device, Number, Tensor, TensorError};

/// Where an operand is, and what computes it.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a> {
    Cpu,
    Vulkan(&'a Arc<Stream>, Option<&'a Arc<Batch>>),
}

impl Operand<'_> {
    pub(crate) fn place(&self) -> Where {
        match self {
            Self::Cpu => Where::Cpu,
            Self::Vulkan(stream, _) => Where::Vulkan(Arc::clone(stream)),
        }
    }

    fn device(&self) -> Device {
        match self {
            Self::Cpu => Device::Cpu,
            Self::Vulkan(stream, _) => stream.place(),
        }
    }

    /// That it is at `place`.
    fn check(&self, operation: &'static str, place: &Where) -> Result<(), TensorError> {
        let first = match (place, self) {
            (Where::Cpu, Self::Cpu) => return Ok(()),
            (Where::Vulkan(wanted), Self::Vulkan(stream, _)) if Arc::ptr_eq(wanted, stream) => return Ok(()),
            (Where::Cpu, _) => Device::Cpu,
            (Where::Vulkan(wanted), _) => wanted.place(),
        };
        let other = self.device();
        Err(if first == other {
            TensorError::Stale { operation, device: first }
        } else {
            TensorError::TwoDevices { operation, first, other }
        })
    }
}

impl<T: Number> Tensor<T> {
    pub(crate) fn operand(&self) -> Operand<'_> {
        match &self.numbers {
            Numbers::Host { .. } => Operand::Cpu,
            Numbers::Device(numbers) => Operand::Vulkan(numbers.stream(), numbers.batch()),
        }
    }

    /// The numbers of an operand on the CPU.
    fn host(&self) -> &[T] {
        self.numbers.host()
    }

    /// The block of an operand on a device.
    fn block(&self) -> &Block<T> {
        self.numbers.block()
    }

    /// The width of the last dimension, where there is one.
    fn width(&self, operation: &'static str) -> Result<usize, TensorError> {
        self.shape()
            .last()
            .copied()
            .ok_or_else(|| shapes(operation, "[.., width]", &[self.shape()], ONE_NUMBER))
    }
}

/// What helps who has a single number, `[]`, where rows are taken.
pub(crate) const ONE_NUMBER: &str = "reshape a single number to [1]";

/// That `operation` was given other shapes than it takes, and what helps.
pub(crate) fn shapes(
    operation: &'static str,
    takes: &'static str,
    given: &[&[usize]],
    advice: &'static str,
) -> TensorError {
    TensorError::Shape { operation, takes, given: given.iter().map(|shape| shape.to_vec()).collect(), advice }
}

/// A tensor of `shape` at `place`, of numbers that one of the kernels writes all of. Operands must be there, too.
pub(crate) fn run<'a, O: Number>(
    operation: &'static str,
    place: &Where,
    operands: impl IntoIterator<Item = Operand<'a>>,
    shape: Vec<usize>,
    cpu: impl FnOnce(&mut [O]) -> Result<(), ShapeError>,
    vulkan: impl Fn(&mut Commands, &Block<O>) -> Result<(), VulkanError>,
) -> Result<Tensor<O>, TensorError> {
    let [tensor] = run_all(
        operation,
        place,
        operands,
        [shape],
        |[out]: [&mut [O]; 1]| cpu(out),
        |commands, [out]| vulkan(commands, out),
    )?;
    Ok(tensor)
}

/// [`run`] of kernels that write several tensors.
pub(crate) fn run_all<'a, O: Number, const N: usize>(
    operation: &'static str,
    place: &Where,
    operands: impl IntoIterator<Item = Operand<'a>>,
    shapes: [Vec<usize>; N],
    cpu: impl FnOnce([&mut [O]; N]) -> Result<(), ShapeError>,
    vulkan: impl Fn(&mut Commands, [&Block<O>; N]) -> Result<(), VulkanError>,
) -> Result<[Tensor<O>; N], TensorError> {
    let mut lens = [0; N];
    for (len, shape) in lens.iter_mut().zip(&shapes) {
        *len = len_of(operation, shape)?;
    }
    let mut batches = Vec::new();
    for operand in operands {
        operand.check(operation, place)?;
        if let Operand::Vulkan(_, Some(batch)) = operand {
            batches.push(batch);
        }
    }
    let any = lens.iter().any(|&len| len > 0);
    let mut numbers = match place {
        Where::Cpu => {
            let memory = |error| TensorError::Memory { operation, error };
            let outs: Result<Vec<_>, _> = lens.iter().map(|&len| Buffer::try_unspecified(len)).collect();
            let mut outs = outs.map_err(memory)?;
            if any {
                let mut each = outs.iter_mut();
                let slices = std::array::from_fn(|_| &mut each.next().expect("a buffer for each shape")[..]);
                let size = |error| TensorError::Size { operation, device: Device::Cpu, error };
                cpu(slices).map_err(size)?;
            }
            outs.into_iter().map(Numbers::from).collect::<Vec<_>>()
        }
        Where::Vulkan(stream) => {
            let failed = |error| TensorError::of(operation, stream.place(), error);
            let outs: Result<Vec<_>, _> =
                lens.iter().map(|&len| OnDevice::unspecified(stream, len)).collect();
            let mut outs = outs.map_err(failed)?;
            if any {
                let blocks = std::array::from_fn(|i| outs[i].block());
                let add = |commands: &mut Commands| vulkan(commands, blocks);
                let bytes = lens.iter().sum::<usize>() * size_of::<O>();
                let batch = stream.record(batches.into_iter(), bytes, add).map_err(failed)?;
                outs = outs.into_iter().map(|out| out.computed_by(batch.clone())).collect();
            }
            outs.into_iter().map(Numbers::Device).collect()
        }
    }
    .into_iter();
    Ok(shapes.map(|shape| Tensor::new(numbers.next().expect("numbers for each shape"), shape)))
}
