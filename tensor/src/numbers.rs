//! Where a tensor's numbers lie: in the kernels' pool, or in a block of a device.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use upbeat_kernels::Buffer;
use upbeat_vulkan::{Buffer as Block, VulkanError};

use crate::opened::Opened;
use crate::spare::rounded;
use crate::stream::{Batch, Stream};
use crate::{Device, Number, TensorError};

/// A block that goes back to its stream when the last tensor drops it.
struct Held<T: Number> {
    /// Taken by `drop` alone.
    block: Option<Block<T>>,
    stream: Arc<Stream>,
}

impl<T: Number> Drop for Held<T> {
    fn drop(&mut self) {
        self.stream.given_back(self.block.take().and_then(T::spare));
    }
}

/// Numbers on a device.
#[derive(Clone)]
pub(crate) struct OnDevice<T: Number> {
    /// The part that is meant.
    block: Block<T>,
    held: Arc<Held<T>>,
    /// What computes them; `None` where they were uploaded.
    batch: Option<Arc<Batch>>,
}

/// Numbers somewhere. They are never changed once a tensor has them.
#[derive(Clone)]
pub(crate) enum Numbers<T: Number> {
    Host { buffer: Arc<Buffer<T>>, range: Range<usize> },
    Device(OnDevice<T>),
}

/// Where operands are.
pub(crate) enum Where {
    Cpu,
    Vulkan(Arc<Stream>),
}

impl Where {
    pub(crate) fn of(device: Device) -> Result<Self, TensorError> {
        Ok(Opened::of(device)?.into_stream().map_or(Self::Cpu, Self::Vulkan))
    }
}

impl<T: Number> OnDevice<T> {
    /// A block of unspecified numbers, which whoever asks has written before it is a tensor's.
    pub(crate) fn unspecified(stream: &Arc<Stream>, len: usize) -> Result<Self, VulkanError> {
        let whole = rounded(len);
        let spare = if T::HALF { None } else { T::from_spare(stream.spare().take(whole)) };
        let whole = match spare {
            Some(block) => block,
            None => stream.make(|| stream.device().unspecified(whole))?,
        };
        stream.taken();
        let block = whole.slice(0..len);
        Ok(Self { block, held: Arc::new(Held { block: Some(whole), stream: stream.clone() }), batch: None })
    }

    pub(crate) fn upload(stream: &Arc<Stream>, numbers: &[T]) -> Result<Self, VulkanError> {
        // Not a spare one: the host would have to wait for those who read it.
        let whole = stream.make(|| stream.device().unspecified(rounded(numbers.len())))?;
        stream.taken();
        let block = whole.slice(0..numbers.len());
        let held = Arc::new(Held { block: Some(whole), stream: stream.clone() });
        stream.note(block.write(numbers))?;
        Ok(Self { block, held, batch: None })
    }

    pub(crate) fn block(&self) -> &Block<T> {
        &self.block
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.held.stream
    }

    pub(crate) fn batch(&self) -> Option<&Arc<Batch>> {
        self.batch.as_ref()
    }

    pub(crate) fn computed_by(mut self, batch: Arc<Batch>) -> Self {
        self.batch = Some(batch);
        self
    }

    /// The numbers, later. The work that computes them is handed over now.
    fn read(&self) -> impl Future<Output = Result<Vec<T>, VulkanError>> + Send + 'static {
        let flushed = self.batch.as_ref().map_or(Ok(()), |batch| self.stream().flush_if(batch));
        let this = self.clone();
        async move {
            flushed?;
            this.stream().note(this.block.to_vec_async().await)
        }
    }
}

impl<T: Number> Numbers<T> {
    pub(crate) fn from_slice(place: &Where, numbers: &[T]) -> Result<Self, TensorError> {
        match place {
            Where::Cpu => {
                let mut buffer = Buffer::try_unspecified(numbers.len())
                    .map_err(|error| TensorError::Memory { operation: "from_slice", error })?;
                buffer.copy_from_slice(numbers);
                Ok(buffer.into())
            }
            Where::Vulkan(stream) => OnDevice::upload(stream, numbers)
                .map(Self::Device)
                .map_err(|error| TensorError::of("from_slice", stream.place(), error)),
        }
    }

    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Host { .. } => Device::Cpu,
            Self::Device(numbers) => numbers.stream().place(),
        }
    }

    /// The numbers, on the CPU.
    pub(crate) fn host(&self) -> &[T] {
        match self {
            Self::Host { buffer, range } => &buffer[range.clone()],
            Self::Device(_) => unreachable!("operands of an operation on the CPU are on the CPU"),
        }
    }

    /// The block, on a device.
    pub(crate) fn block(&self) -> &Block<T> {
        match self {
            Self::Device(numbers) => numbers.block(),
            Self::Host { .. } => unreachable!("operands of an operation on a device are on that device"),
        }
    }

    /// A part, without a copy.
    pub(crate) fn part(&self, part: Range<usize>) -> Self {
        match self {
            Self::Host { buffer, range } => {
                Self::Host { buffer: buffer.clone(), range: range.start + part.start..range.start + part.end }
            }
            Self::Device(numbers) => {
                Self::Device(OnDevice { block: numbers.block.slice(part), ..numbers.clone() })
            }
        }
    }

    pub(crate) fn read(&self) -> impl Future<Output = Result<Vec<T>, TensorError>> + Send + 'static {
        let device = self.device();
        let read = match self {
            Self::Host { .. } => Err(self.clone()),
            Self::Device(numbers) => Ok(numbers.read()),
        };
        async move {
            match read {
                Err(numbers) => Ok(numbers.host().to_vec()),
                Ok(read) => read.await.map_err(|error| TensorError::of("read", device, error)),
            }
        }
    }
}

impl<T: Number> From<Buffer<T>> for Numbers<T> {
    fn from(buffer: Buffer<T>) -> Self {
        let range = 0..buffer.len();
        Self::Host { buffer: Arc::new(buffer), range }
    }
}
