//! One buffer of the device with its memory: what handles share. Where it lies may change; `README.md` says when.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use ash::vk::{self, Handle};

use super::heaps::Mapped;
use super::import::{HostMemory, Imported};
use super::plan::Piece;
use super::{lock, Retired, Scalar};
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

/// Where a block lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    pub(crate) raw: vk::Buffer,
    /// Where the device finds it.
    pub(crate) address: vk::DeviceAddress,
    /// Where the host may read and write it, if it may.
    pub(super) host: Option<Mapped>,
    pub(super) piece: Piece,
}

/// What a block's bytes are.
pub(super) enum Lies {
    /// Lent by the heaps.
    Lent(Piece),
    /// The host's.
    Imported(Imported),
}

/// A buffer and its memory, without the device that they belong to: staging blocks are owned by that device.
///
/// Where it lies (`raw`, `address`, `host`) is written by who holds the queue's lock and, where the host has access, the block's turn; whoever holds one of
/// them may read it.
pub(crate) struct RawBlock {
    /// The bits of a `vk::Buffer`.
    raw: AtomicU64,
    address: AtomicU64,
    /// Null where the host has no access.
    host: AtomicPtr<u8>,
    /// `None` once it was taken apart.
    lies: Mutex<Option<Lies>>,
    /// What addresses are always multiples of, 16 at most.
    alignment: u64,
    /// A multiple of 16.
    pub(crate) bytes: u64,
    /// Unlike addresses never used again: hazards are told apart by it.
    pub(crate) id: u64,
    /// The submissions that used it last. Raised with `turn` held where the host has access.
    last_uses: AtomicUses,
    /// Held by who touches its bytes from the host, and by who submits work on it.
    turn: Mutex<()>,
}

static IDS: AtomicU64 = AtomicU64::new(0);

/// Vectors of four numbers are what kernels read at once.
const ALIGNED: u64 = 16;

impl RawBlock {
    pub(crate) fn new(device: &Inner, bytes: u64, place: Place) -> Result<Self, VulkanError> {
        let bytes = bytes.max(16).next_multiple_of(16);
        let at = device.memory.take(device, bytes, place)?;
        Ok(Self::of((at.raw, at.address, at.host), Lies::Lent(at.piece), bytes))
    }

    /// Of `bytes` of the host's memory.
    fn import<T: Scalar>(device: &Inner, bytes: u64, host: HostMemory<T>) -> Result<Self, VulkanError> {
        let bytes = bytes.max(16).next_multiple_of(16);
        let (raw, imported, address, host) = device.memory.import(device, bytes, host)?;
        Ok(Self::of((raw, address, Some(host)), Lies::Imported(imported), bytes))
    }

    fn of((raw, address, host): (vk::Buffer, u64, Option<Mapped>), lies: Lies, bytes: u64) -> Self {
        Self {
            raw: AtomicU64::new(raw.as_raw()),
            address: AtomicU64::new(address),
            host: AtomicPtr::new(pointer(host)),
            lies: Mutex::new(Some(lies)),
            alignment: alignment(address),
            bytes,
            id: IDS.fetch_add(1, Ordering::Relaxed),
            last_uses: AtomicUses::default(),
            turn: Mutex::new(()),
        }
    }

    /// Of the moment, as are [`address`](Self::address) and [`piece`](Self::piece): to be used with the queue's lock.
    pub(crate) fn raw(&self) -> vk::Buffer {
        vk::Buffer::from_raw(self.raw.load(Ordering::Relaxed))
    }

    pub(crate) fn address(&self) -> u64 {
        self.address.load(Ordering::Relaxed)
    }

    /// `None` where it is nobody's but the host's.
    pub(super) fn piece(&self) -> Option<Piece> {
        match *lock(&self.lies) {
            Some(Lies::Lent(piece)) => Some(piece),
            _ => None,
        }
    }

    /// What its address is a multiple of, wherever it lies; 16 at most.
    pub(crate) fn alignment(&self) -> u64 {
        self.alignment
    }

    /// Whether it may lie there.
    pub(super) fn may_move(&self, to: &Placement) -> bool {
        alignment(to.address) >= self.alignment && to.host.is_some() == self.has_host_access()
    }

    /// It lies there from now on: what is submitted next finds there what is in it. By who holds the queue's lock and the block's turn.
    pub(crate) fn place(&self, to: &Placement) {
        self.raw.store(to.raw.as_raw(), Ordering::Relaxed);
        self.address.store(to.address, Ordering::Relaxed);
        self.host.store(pointer(to.host), Ordering::Relaxed);
        *lock(&self.lies) = Some(Lies::Lent(to.piece));
    }

    pub(crate) fn has_host_access(&self) -> bool {
        !self.host.load(Ordering::Relaxed).is_null()
    }

    /// The host's address of the byte at `at`, of `len` that are there.
    fn host(&self, at: u64, len: usize) -> NonNull<u8> {
        assert!(at + len as u64 <= self.bytes, "within the block");
        let host = NonNull::new(self.host.load(Ordering::Relaxed)).expect("a block that the host may touch");
        // SAFETY: the place is inside the block's mapped memory.
        unsafe { host.add(at as usize) }
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
    /// Neither the device nor another thread uses those bytes meanwhile, and the block does not move.
    pub(crate) unsafe fn write(&self, at: u64, bytes: &[u8]) {
        let to = self.host(at, bytes.len()).as_ptr();
        // SAFETY: both are valid for that many bytes, and nobody else uses the block's, as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Copies the bytes at `at` to `out`. Only where [`has_host_access`](Self::has_host_access).
    ///
    /// # Safety
    /// Neither the device nor another thread writes those bytes meanwhile, and the block does not move.
    pub(crate) unsafe fn read(&self, at: u64, out: &mut [u8]) {
        let from = self.host(at, out.len()).as_ptr();
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

    /// Gives its parts back, once, to be freed after its last use.
    pub(super) fn take_apart(&mut self) -> Option<Retired> {
        let lies = lock(&self.lies).take()?;
        Some(Retired { raw: self.raw(), lies, bytes: Some(self.bytes), last_uses: self.last_uses() })
    }
}

fn pointer(host: Option<Mapped>) -> *mut u8 {
    host.map_or(std::ptr::null_mut(), |Mapped(host)| host.as_ptr())
}

fn alignment(address: u64) -> u64 {
    // An address that is not 0 has a lowest bit.
    (address | ALIGNED) & (address | ALIGNED).wrapping_neg()
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

    pub(super) fn import<T: Scalar>(
        device: &Device,
        bytes: u64,
        host: HostMemory<T>,
    ) -> Result<Self, VulkanError> {
        Ok(Self { raw: RawBlock::import(&device.inner, bytes, host)?, device: device.clone() })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(retired) = self.raw.take_apart() {
            let device = &self.device.inner;
            device.memory.retire(device, retired);
        }
    }
}
