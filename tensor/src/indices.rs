//! Tokens and positions on a device.

use std::fmt;
use std::sync::Arc;

use upbeat_vulkan::Buffer as Block;

use crate::numbers::Where;
use crate::ops::Operand;
use crate::stream::Stream;
use crate::{Device, TensorError};

/// Indices on a device: tokens for [`Tensor::embedding`](crate::Tensor::embedding), positions for
/// [`Tensor::rope_at`](crate::Tensor::rope_at). The largest is known on the host, so that a wrong one is told before anything is looked up.
#[derive(Clone)]
pub struct Indices {
    numbers: Numbers,
    len: usize,
    most: Option<u32>,
}

#[derive(Clone)]
enum Numbers {
    Host(Arc<[u32]>),
    Device(Block<u32>, Arc<Stream>),
}

impl Indices {
    /// Copies `indices` to `device`.
    ///
    /// # Errors
    /// A device that cannot be opened, or that has no memory.
    pub fn from_slice(indices: &[u32], device: &Device) -> Result<Self, TensorError> {
        let numbers = match Where::of(*device)? {
            Where::Cpu => Numbers::Host(indices.into()),
            Where::Vulkan(stream) => {
                let upload = || stream.device().upload(indices);
                let block =
                    stream.make(upload).map_err(|error| TensorError::of("from_slice", *device, error))?;
                Numbers::Device(block, stream)
            }
        };
        Ok(Self { numbers, len: indices.len(), most: indices.iter().max().copied() })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where they are.
    pub fn device(&self) -> Device {
        match &self.numbers {
            Numbers::Host(_) => Device::Cpu,
            Numbers::Device(_, stream) => stream.place(),
        }
    }

    /// The largest one.
    pub(crate) fn most(&self) -> Option<u32> {
        self.most
    }

    pub(crate) fn operand(&self) -> Operand<'_> {
        match &self.numbers {
            Numbers::Host(_) => Operand::Cpu,
            Numbers::Device(_, stream) => Operand::Vulkan(stream, None),
        }
    }

    pub(crate) fn host(&self) -> &[u32] {
        match &self.numbers {
            Numbers::Host(numbers) => numbers,
            Numbers::Device(..) => unreachable!("operands of an operation on the CPU are on the CPU"),
        }
    }

    pub(crate) fn block(&self) -> &Block<u32> {
        match &self.numbers {
            Numbers::Device(block, _) => block,
            Numbers::Host(_) => unreachable!("operands of an operation on a device are on that device"),
        }
    }
}

impl fmt::Debug for Indices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Indices [{}] on {}", self.len, self.device())
    }
}
