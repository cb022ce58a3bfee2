//! One buffer of the device with its memory: what handles share.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use ash::vk;
use gpu_allocator::vulkan::Allocation;

use super::lock;
use crate::choice::Kind;
use crate::device::{Device, Inner};
use crate::error::VulkanError;
use crate::submit::{AtomicUses, Role, Uses};

/// Who reads and writes a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The device, and the host where they share memory.
    Device,
    /// The host writes, the device reads.
    Upload,
    /// The device writes, the host reads.
    Readback,
}

/// A buffer and its memory, without the device that they belong to: staging blocks are owned by that device.
pub(crate) struct RawBlock {
    pub(crate) raw: vk::Buffer,
    allocation: Option<Allocation>,
    /// Where the device finds it.
    pub(crate) address: vk::DeviceAddress,
    /// A multiple of 16.
    pub(crate) bytes: u64,
    /// Unlike addresses never used again: hazards are told apart by it.
    pub(crate) id: u64,
    /// The submissions that used it last. Raised with `turn` held where the host has access.
    last_uses: AtomicUses,
    /// Held by who touches its bytes from the host, and by who submits work on it.
    turn: Mutex<()>,
    /// Where the host may read and write it, if it may.
    host: Option<NonNull<u8>>,
}

// SAFETY: `host` points to memory that lives as long as the block and is touched only by `write` and `read`, whose callers exclude others
// (`at_rest`).
unsafe impl Send for RawBlock {}
// SAFETY: as above.
unsafe impl Sync for RawBlock {}

static IDS: AtomicU64 = AtomicU64::new(0);

impl RawBlock {
    pub(crate) fn new(device: &Inner, bytes: u64, place: Place) -> Result<Self, VulkanError> {
        let bytes = bytes.max(16).next_multiple_of(16);
        let (raw, allocation) = device.memory.take(device, bytes, place)?;
        // SAFETY: the buffer is alive, has memory and was made to be addressed.
        let address = unsafe {
            device.raw.get_buffer_device_address(&vk::BufferDeviceAddressInfo::default().buffer(raw))
        };
        // Reading a discrete card's memory from the host, or memory that the host does not cache, is slower than copying it; what is not
        // coherent needs flushes.
        let properties = allocation.memory_properties();
        let shared = device.info.kind != Kind::Discrete
            && properties.contains(vk::MemoryPropertyFlags::HOST_CACHED)
            && !device.options.always_stage;
        let coherent = properties.contains(vk::MemoryPropertyFlags::HOST_COHERENT);
        let host = allocation
            .mapped_ptr()
            .filter(|_| coherent && (shared || place != Place::Device))
            .map(NonNull::cast);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let (last_uses, turn) = (AtomicUses::default(), Mutex::new(()));
        Ok(Self { raw, allocation: Some(allocation), address, bytes, id, last_uses, turn, host })
    }

    pub(crate) fn has_host_access(&self) -> bool {
        self.host.is_some()
    }

    /// Until the guard goes, nobody touches its bytes from the host, and who holds it may submit work on it. To be had by who holds none, or
    /// only ones of smaller [`id`](Self::id)s.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        lock(&self.turn)
    }

    /// Lets `touch` have the bytes, if the device is done with them, which it is with everything up to `done`. Meanwhile no other thread
    /// gets at them, and no work on them is submitted.
    pub(crate) fn at_rest<R>(&self, done: &Uses, touch: impl FnOnce() -> R) -> Option<R> {
        let _turn = self.turn();
        self.last_uses().are_over(done).then(touch)
    }

    /// Copies `bytes` to `at`. Only where [`has_host_access`](Self::has_host_access).
    ///
    /// # Safety
    /// Neither the device nor another thread uses those bytes meanwhile.
    pub(crate) unsafe fn write(&self, at: u64, bytes: &[u8]) {
        assert!(at + bytes.len() as u64 <= self.bytes, "within the block");
        let host = self.host.expect("a block that the host may write");
        // SAFETY: the place is inside the block's mapped memory.
        let to = unsafe { host.as_ptr().add(at as usize) };
        // SAFETY: both are valid for that many bytes, and nobody else uses the block's, as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Copies the bytes at `at` to `out`. Only where [`has_host_access`](Self::has_host_access).
    ///
    /// # Safety
    /// Neither the device nor another thread writes those bytes meanwhile.
    pub(crate) unsafe fn read(&self, at: u64, out: &mut [u8]) {
        assert!(at + out.len() as u64 <= self.bytes, "within the block");
        let host = self.host.expect("a block that the host may read");
        // SAFETY: the place is inside the block's mapped memory.
        let from = unsafe { host.as_ptr().add(at as usize) };
        // SAFETY: both are valid for that many bytes, and nobody writes the block's, as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len()) };
    }

    /// The submission `value` to the queue of `role` uses it.
    pub(crate) fn used_by(&self, role: Role, value: u64) {
        self.last_uses.add(role, value);
    }

    pub(crate) fn last_uses(&self) -> Uses {
        self.last_uses.get()
    }

    /// Gives its parts back, once.
    pub(crate) fn take_apart(&mut self) -> Option<(vk::Buffer, Allocation)> {
        self.allocation.take().map(|allocation| (self.raw, allocation))
    }
}

/// A block that keeps its device alive.
pub(crate) struct Block {
    pub(crate) device: Device,
    pub(crate) raw: RawBlock,
}

impl Block {
    pub(crate) fn new(device: &Device, bytes: u64, place: Place) -> Result<Self, VulkanError> {
        Ok(Self { raw: RawBlock::new(&device.inner, bytes, place)?, device: device.clone() })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let device = &self.device.inner;
        let (bytes, last_uses) = (self.raw.bytes, self.raw.last_uses());
        if let Some((raw, allocation)) = self.raw.take_apart() {
            device.memory.retire(device, raw, allocation, bytes, last_uses);
        }
    }
}
