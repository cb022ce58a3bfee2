//! Typed handles of numbers on the device.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use half::f16;
use upbeat_kernels::ShapeError;

use super::{Block, HostMemory, Place};
use crate::commands::{Access, Operand, Owner};
use crate::device::Device;
use crate::error::VulkanError;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for u32 {}
}

/// A type that kernels read and write: `f32`, [`struct@f16`] and `u32`.
pub trait Scalar: bytemuck::Pod + sealed::Sealed + Send + Sync + fmt::Debug + 'static {
    /// Whether it is the 16-bit float, which not every device stores.
    const HALF: bool;
}

impl Scalar for f32 {
    const HALF: bool = false;
}
impl Scalar for f16 {
    const HALF: bool = true;
}
impl Scalar for u32 {
    const HALF: bool = false;
}

/// A type that numbers are stored in; kernels compute in f32.
pub trait Float: Scalar {}
impl Float for f32 {}
impl Float for f16 {}

/// Numbers on a device. Clones and [`slice`](Self::slice)s share the memory, which is freed with the last of them, once the device is
/// done with it.
///
/// What is read and written follows the order in which work is submitted: [`write`](Self::write) acts after everything that was
/// submitted before it, and so does [`read`](Self::read).
pub struct Buffer<T> {
    block: Arc<Block>,
    /// In numbers.
    start: usize,
    len: usize,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Self { block: self.block.clone(), ..*self }
    }
}

impl<T: Scalar> Buffer<T> {
    /// The bytes of `len` numbers that the device can store and count.
    fn check(device: &Device, len: usize) -> Result<u64, VulkanError> {
        if T::HALF && !device.limits().f16_storage {
            return Err(VulkanError::Feature { feature: "storageBuffer16BitAccess" });
        }
        // Kernels count in 31 bits: SPIR-V takes indices as signed.
        let most = i32::MAX as usize;
        if len > most {
            return Err(VulkanError::TooLarge {
                what: "a buffer's length",
                size: len as u64,
                most: most as u64,
            });
        }
        Ok(len as u64 * size_of::<T>() as u64)
    }

    pub(crate) fn imported(device: &Device, host: HostMemory<T>) -> Result<Self, VulkanError> {
        let len = host.len();
        let block = Block::import(device, Self::check(device, len)?, host)?;
        Ok(Self { block: Arc::new(block), start: 0, len, of: PhantomData })
    }

    pub(crate) fn unspecified(device: &Device, len: usize) -> Result<Self, VulkanError> {
        let block = Arc::new(Block::new(device, Self::check(device, len)?, Place::Device)?);
        device.inner.memory.register(&block);
        Ok(Self { block, start: 0, len, of: PhantomData })
    }

    pub(crate) fn zeroed(device: &Device, len: usize) -> Result<Self, VulkanError> {
        let buffer = Self::unspecified(device, len)?;
        let block = &buffer.block.raw;
        let zero = || {
            for at in (0..block.bytes).step_by(ZEROS.len()) {
                let bytes = (block.bytes - at).min(ZEROS.len() as u64);
                // SAFETY: it is our turn, and the device has done all that was submitted.
                unsafe { block.write(at, &ZEROS[..bytes as usize]) };
            }
        };
        // Nobody else has it, but it may be on the move.
        let is_done = block.has_host_access() && block.at_rest(&device.inner.known(), zero).is_some();
        if !is_done {
            let mut commands = device.commands();
            // Fills come in words of 4 bytes: the block's last ones are written, too.
            commands.fill_bytes(Operand::whole(buffer.block.clone()), 0);
            // What is submitted later waits for it.
            drop(commands.submit()?);
        }
        Ok(buffer)
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device that they are on.
    pub fn device(&self) -> &Device {
        &self.block.device
    }

    /// A part of them, without a copy.
    ///
    /// # Panics
    /// When the range ends after the buffer or before it begins.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} numbers", self.len);
        Self { start: self.start + range.start, len: range.len(), ..self.clone() }
    }

    fn range(&self) -> Range<u64> {
        // Bytes are counted in 64 bits, whatever the host's words have.
        let size = size_of::<T>() as u64;
        self.start as u64 * size..(self.start + self.len) as u64 * size
    }

    /// What a command does to it.
    pub(crate) fn operand(&self, access: Access) -> Operand {
        Operand { owner: Owner::Buffer(self.block.clone()), range: self.range(), access }
    }

    fn check_len(&self, what: &'static str, len: usize) -> Result<(), VulkanError> {
        if len == self.len {
            Ok(())
        } else {
            Err(ShapeError::Mismatch { what, expected: self.len, found: len }.into())
        }
    }

    /// Copies the host's `numbers` here. They may be changed as soon as it returns.
    ///
    /// # Errors
    /// Another length; what a submission can fail with.
    pub fn write(&self, numbers: &[T]) -> Result<(), VulkanError> {
        self.device().inner.block_on(self.write_async(numbers))
    }

    /// [`write`](Self::write) for futures.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_async(&self, numbers: &[T]) -> Result<(), VulkanError> {
        self.check_len("numbers to write", numbers.len())?;
        let (bytes, range) = (bytemuck::cast_slice::<T, u8>(numbers), self.range());
        let (device, block) = (&self.block.device, &self.block.raw);
        if block.has_host_access() {
            device.inner.done(&block.last_uses()).await?;
            let known = device.inner.known();
            // SAFETY: it is our turn, and the device has done all that was submitted.
            let written = block.at_rest(&known, || unsafe { block.write(range.start, bytes) });
            if written.is_some() {
                return Ok(());
            }
            // Others submitted work on it meanwhile, and may go on to: as a part of the device's own work our turn comes, too.
        }
        let (staging, all) = (device.inner.memory.staging(), bytes.len());
        let mut at = range.start;
        for piece in bytes.chunks(staging.block_bytes()) {
            let from = staging.take(device, Place::Upload).await?;
            // SAFETY: the block was taken: nobody else has it, and the device is done with it.
            unsafe { from.write(0, piece) };
            let to = at..at + piece.len() as u64;
            at = to.end;
            let source = Operand {
                owner: Owner::Staging(from.clone()),
                range: 0..piece.len() as u64,
                access: Access::Read,
            };
            let mut commands = device.commands();
            commands.copy_bytes(source, Operand { range: to, ..self.operand(Access::Write) });
            // What is submitted later waits for it.
            drop(commands.submit_copies(all).await?);
        }
        Ok(())
    }

    /// Copies the numbers to the host, after everything that was submitted before. A worker runs other tasks while it waits.
    ///
    /// # Errors
    /// Another length; what the work submitted before failed with.
    pub fn read(&self, out: &mut [T]) -> Result<(), VulkanError> {
        self.device().inner.block_on(self.read_async(out))
    }

    /// [`read`](Self::read) for futures.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_async(&self, out: &mut [T]) -> Result<(), VulkanError> {
        self.check_len("numbers to read", out.len())?;
        let (out, range) = (bytemuck::cast_slice_mut::<T, u8>(out), self.range());
        let (device, block) = (&self.block.device, &self.block.raw);
        if block.has_host_access() {
            device.inner.done(&block.last_uses()).await?;
            let known = device.inner.known();
            // SAFETY: it is our turn, and the device has done all that was submitted.
            let read = block.at_rest(&known, || unsafe { block.read(range.start, out) });
            if read.is_some() {
                return Ok(());
            }
            // As in `write_async`.
        }
        let (staging, all) = (device.inner.memory.staging(), out.len());
        let mut at = range.start;
        for piece in out.chunks_mut(staging.block_bytes()) {
            let to = staging.take(device, Place::Readback).await?;
            let from = at..at + piece.len() as u64;
            at = from.end;
            let target = Operand {
                owner: Owner::Staging(to.clone()),
                range: 0..piece.len() as u64,
                access: Access::Write,
            };
            let mut commands = device.commands();
            commands.copy_bytes(Operand { range: from, ..self.operand(Access::Read) }, target);
            commands.submit_copies(all).await?.await?;
            // SAFETY: the block was taken: nobody else has it, and the device has written it.
            unsafe { to.read(0, piece) };
        }
        Ok(())
    }

    /// The numbers, as [`read`](Self::read) copies them.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn to_vec(&self) -> Result<Vec<T>, VulkanError> {
        let mut out = vec![T::zeroed(); self.len];
        self.read(&mut out)?;
        Ok(out)
    }

    /// [`to_vec`](Self::to_vec) for futures.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn to_vec_async(&self) -> Result<Vec<T>, VulkanError> {
        let mut out = vec![T::zeroed(); self.len];
        self.read_async(&mut out).await?;
        Ok(out)
    }
}

/// What new buffers are filled from.
static ZEROS: [u8; 4096] = [0; 4096];

impl<T> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish_non_exhaustive()
    }
}
