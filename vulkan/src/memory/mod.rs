//! A device's memory: suballocated blocks, freed when the device is done with them, and the way between host and device. How blocks move is in
//! `README.md`.

mod block;
mod budget;
mod buffer;
mod heaps;
mod import;
mod moving;
mod plan;
mod staging;

pub(crate) use block::{Block, Place, Placement, RawBlock};
pub(crate) use budget::tells_budget;
pub use budget::MemoryBudget;
pub use buffer::{Buffer, Float, Scalar};
pub use import::HostMemory;
pub(crate) use import::{import_alignment, Importer};
pub use moving::Defragmented;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ash::vk;
use gpu_allocator::vulkan::{Allocator, AllocatorCreateDesc};
use gpu_allocator::{AllocationError, AllocationSizes};

use crate::calls::{Call, Calls};
use crate::choice::Kind;
use crate::device::Inner;
use crate::error::{Reason, VulkanError, VulkanUnavailable};
use crate::instance::Instance;
use crate::options::Options;
use crate::submit::Uses;
use block::Lies;
use budget::Budget;
use heaps::{Heaps, Mapped, Refused, Taken, LARGEST};
use import::Imported;
use staging::Staging;

/// The memory that a device's buffers take. What other threads allocate or free while it is asked for may be in one figure and not yet in
/// another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryMetrics {
    /// Bytes of live buffers, and of those that the device may still use.
    pub used: u64,
    /// Bytes taken from the device, a multiple of whole blocks.
    pub reserved: u64,
    /// Live buffers, and those that the device may still use.
    pub buffers: u64,
    /// The most bytes that were ever in use.
    pub peak: u64,
    /// Bytes of buffers in the host's memory ([`Device::import`](crate::Device::import)), which are not in the others.
    pub imported: u64,
    /// Bytes of what is reserved that no buffer lies in.
    pub free: u64,
    /// The most of them that lie together: a buffer of more bytes needs more of the device.
    pub largest_free: u64,
    /// The part of what is reserved and not used that lies between buffers of blocks in use: 0 is none.
    /// [`Device::defragment`](crate::Device::defragment) makes it less.
    pub fragmentation: f64,
}

/// What a buffer was made of, kept until the device is done with it.
struct Retired {
    raw: vk::Buffer,
    lies: Lies,
    /// Bytes of the block that ended with it; `None` where that has moved on.
    bytes: Option<u64>,
    last_uses: Uses,
}

/// What a device has beside what every one has.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    /// Whether it says what its heaps' budgets are.
    pub(crate) budget: bool,
    /// Whether it takes host memory as its own.
    pub(crate) imports: bool,
}

/// Where buffers come from and go to.
pub(crate) struct Memory {
    heaps: Mutex<Heaps>,
    retired: Mutex<Vec<Retired>>,
    used: AtomicU64,
    /// As `used`, with the bytes that are being asked for: never more than `limit`. Counted only where there is one.
    promised: AtomicU64,
    peak: AtomicU64,
    buffers: AtomicU64,
    imported: AtomicU64,
    limit: Option<u64>,
    staging: Staging,
    /// `None` where the device takes no host memory.
    importer: Option<Importer>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    pub(crate) fn new(
        instance: &Instance,
        device: &ash::Device,
        physical_device: vk::PhysicalDevice,
        calls: &Calls,
        Told { budget: tells_budget, imports }: Told,
        options: &Options,
    ) -> Result<Self, VulkanUnavailable> {
        // Small programs should not take a quarter of a gibibyte; large ones should not allocate often.
        let sizes = AllocationSizes::new(32 << 20, 8 << 20)
            .with_max_device_memblock_size(LARGEST)
            .with_max_host_memblock_size(64 << 20);
        let create = AllocatorCreateDesc {
            instance: instance.raw().clone(),
            device: device.clone(),
            physical_device,
            debug_settings: Default::default(),
            buffer_device_address: true,
            allocation_sizes: sizes,
        };
        let refused = |error: AllocationError| VulkanUnavailable {
            reason: Reason::Call { call: Call::CreateAllocator, result: error.to_string() },
        };
        calls
            .make(Call::CreateAllocator, || Ok(()))
            .map_err(|result| VulkanUnavailable::of(Call::CreateAllocator, result))?;
        let allocator = Allocator::new(&create).map_err(refused)?;
        let physical = (instance.raw(), physical_device);
        let told = tells_budget || options.budget_of_test.is_some();
        let budget = if told { Budget::of(device, physical, options.budget_of_test) } else { None };
        Ok(Self {
            heaps: Mutex::new(Heaps::new(allocator, budget, !options.over_budget)),
            retired: Mutex::default(),
            used: AtomicU64::new(0),
            promised: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            buffers: AtomicU64::new(0),
            imported: AtomicU64::new(0),
            limit: options.memory_limit,
            staging: Staging::new(options.staging),
            importer: imports.then(|| Importer::new(instance.raw(), physical_device, device)),
        })
    }

    /// A buffer of `bytes` with its memory. What is in it is unspecified.
    fn take(&self, device: &Inner, bytes: u64, place: Place) -> Result<Placement, VulkanError> {
        self.collect(device);
        check_size(BUFFER, bytes, device.limits.buffer_bytes)?;
        check_size("an allocation (maxMemoryAllocationSize)", bytes, device.limits.allocation_bytes)?;
        let mut outcome = self.allocate(device, bytes, place);
        // What was dropped may still be in use; once that has run there may be room.
        if matches!(outcome, Err(VulkanError::OutOfMemory { .. })) && !lock(&self.retired).is_empty() {
            device.finish()?;
            self.collect(device);
            outcome = self.allocate(device, bytes, place);
        }
        match outcome {
            // Buffers that lie closer together take as much of the limit; blocks that nothing travels through do not have to.
            Err(VulkanError::OutOfMemory { limit: Some(_), .. }) if self.staging.trim(self, device, 1) => {
                self.collect(device);
                self.allocate(device, bytes, place)
            }
            Err(VulkanError::OutOfMemory { limit: None, .. }) => {
                // What is there can be read then, though there is no memory for another block to travel through.
                device.block_on(self.defragment(device, 1))?;
                self.allocate(device, bytes, place)
            }
            outcome => outcome,
        }
    }

    fn allocate(&self, device: &Inner, bytes: u64, place: Place) -> Result<Placement, VulkanError> {
        self.promise(bytes)?;
        let outcome = self.allocate_within(device, bytes, place);
        match outcome {
            Ok(_) => {
                let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
                self.peak.fetch_max(used, Ordering::Relaxed);
                self.buffers.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => self.unpromise(bytes),
        }
        outcome
    }

    /// Counts `bytes` against the limit. What is refused was never counted: it takes nobody else's room.
    fn promise(&self, bytes: u64) -> Result<(), VulkanError> {
        let Some(limit) = self.limit else { return Ok(()) };
        let more = |promised: u64| promised.checked_add(bytes).filter(|sum| *sum <= limit);
        let promised = self.promised.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let full = |used| VulkanError::OutOfMemory { asked: bytes, used, limit: self.limit, budget: None };
        promised.map(drop).map_err(full)
    }

    fn unpromise(&self, bytes: u64) {
        if self.limit.is_some() {
            self.promised.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn allocate_within(&self, device: &Inner, bytes: u64, place: Place) -> Result<Placement, VulkanError> {
        let used = || self.used.load(Ordering::Relaxed);
        let full = |budget| VulkanError::OutOfMemory { asked: bytes, used: used(), limit: None, budget };
        let (raw, needs) = make_buffer(device, bytes).map_err(|result| {
            if is_full(result) {
                full(None)
            } else {
                VulkanError::of(Call::CreateBuffer, result)
            }
        })?;
        let made = device.calls.make(Call::AllocateMemory, || Ok(())).map_err(Refused::of);
        let taken = made.and_then(|()| lock(&self.heaps).take(needs, place, Some(raw)));
        let outcome = match taken {
            Ok(taken) => {
                bind(device, raw, &taken, place).inspect_err(|_| lock(&self.heaps).give(taken.piece))
            }
            Err(Refused::Full(budget)) => Err(full(budget)),
            Err(Refused::Failed(error)) => Err(error),
        };
        if outcome.is_err() {
            // SAFETY: the buffer was just made, nothing uses it, and it is destroyed once, where it is not handed over.
            unsafe { device.raw.destroy_buffer(raw, None) };
        }
        outcome
    }

    /// What is in `block` may be moved.
    pub(crate) fn register(&self, block: &Arc<Block>) {
        if let Some(piece) = block.raw.piece() {
            lock(&self.heaps).belongs_to(piece, Arc::downgrade(block));
        }
    }

    /// Takes what a buffer was made of, to free it when the device has done everything up to its last uses.
    fn retire(&self, device: &Inner, retired: Retired) {
        // Without asking the device: that wakes tasks, and who drops a buffer may hold a lock that they take.
        if retired.last_uses.are_over(&device.known()) {
            self.release(&device.raw, retired);
        } else {
            lock(&self.retired).push(retired);
        }
    }

    fn release(&self, raw: &ash::Device, retired: Retired) {
        // SAFETY: the device has done all that used the buffer, and no block has it any more.
        unsafe { raw.destroy_buffer(retired.raw, None) };
        if let Some(bytes) = retired.bytes {
            let counted = match retired.lies {
                Lies::Lent(_) => {
                    self.unpromise(bytes);
                    &self.used
                }
                Lies::Imported(_) => &self.imported,
            };
            counted.fetch_sub(bytes, Ordering::Relaxed);
            self.buffers.fetch_sub(1, Ordering::Relaxed);
        }
        match retired.lies {
            Lies::Lent(piece) => lock(&self.heaps).give(piece),
            Lies::Imported(imported) => imported.free(raw),
        }
    }

    /// A buffer of `bytes` of the host's memory, with its address and where the host finds it.
    fn import<T: Scalar>(
        &self,
        device: &Inner,
        bytes: u64,
        host: HostMemory<T>,
    ) -> Result<(vk::Buffer, Imported, u64, Mapped), VulkanError> {
        self.collect(device);
        check_size(BUFFER, bytes, device.limits.buffer_bytes)?;
        let importer = self.importer.as_ref().ok_or(VulkanError::NoImport)?;
        let made = importer.import(device, bytes, host)?;
        self.imported.fetch_add(bytes, Ordering::Relaxed);
        self.buffers.fetch_add(1, Ordering::Relaxed);
        Ok(made)
    }

    /// Frees what the device is done with by now.
    pub(crate) fn collect(&self, device: &Inner) {
        let completed = device.completed();
        let done: Vec<_> =
            lock(&self.retired).extract_if(.., |retired| retired.last_uses.are_over(&completed)).collect();
        for retired in done {
            self.release(&device.raw, retired);
        }
    }

    pub(crate) fn metrics(&self, device: &Inner) -> MemoryMetrics {
        self.collect(device);
        let all = lock(&self.heaps).usage();
        MemoryMetrics {
            used: self.used.load(Ordering::Relaxed),
            reserved: all.reserved,
            buffers: self.buffers.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            imported: self.imported.load(Ordering::Relaxed),
            free: all.free,
            largest_free: all.largest_free,
            fragmentation: if all.room == 0 { 0.0 } else { all.between as f64 / all.room as f64 },
        }
    }

    pub(crate) fn budget(&self) -> Option<MemoryBudget> {
        lock(&self.heaps).budget()
    }

    pub(crate) fn staging(&self) -> &Staging {
        &self.staging
    }

    /// Frees everything. The device must have done all its work.
    pub(crate) fn close(&self, raw: &ash::Device) {
        self.staging.close(self);
        for retired in std::mem::take(&mut *lock(&self.retired)) {
            self.release(raw, retired);
        }
        lock(&self.heaps).close();
    }

    /// Forgets everything: the device may still write to it.
    pub(crate) fn abandon(&self) {
        lock(&self.heaps).abandon();
    }
}

/// Whether it says that there is no memory left.
fn is_full(result: vk::Result) -> bool {
    matches!(result, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY | vk::Result::ERROR_OUT_OF_HOST_MEMORY)
}

const BUFFER: &str = "a buffer's size in bytes (maxBufferSize)";

fn check_size(what: &'static str, size: u64, most: u64) -> Result<(), VulkanError> {
    if size > most {
        Err(VulkanError::TooLarge { what, size, most })
    } else {
        Ok(())
    }
}

fn describe(bytes: u64) -> vk::BufferCreateInfo<'static> {
    let usage = vk::BufferUsageFlags::STORAGE_BUFFER
        | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS
        | vk::BufferUsageFlags::TRANSFER_SRC
        | vk::BufferUsageFlags::TRANSFER_DST;
    vk::BufferCreateInfo::default().size(bytes).usage(usage)
}

/// The same for queues of two families, where there are.
fn describe_for(families: Option<&[u32; 2]>, bytes: u64) -> vk::BufferCreateInfo<'_> {
    let create = describe(bytes);
    match families {
        Some(families) => create.sharing_mode(vk::SharingMode::CONCURRENT).queue_family_indices(families),
        None => create,
    }
}

/// A buffer without memory, and what memory it needs.
fn make_buffer(device: &Inner, bytes: u64) -> Result<(vk::Buffer, vk::MemoryRequirements), vk::Result> {
    let families = device.two_families();
    let create = describe_for(families.as_ref(), bytes);
    // SAFETY: the device is alive and the structure valid.
    let raw = device.calls.make(Call::CreateBuffer, || unsafe { device.raw.create_buffer(&create, None) })?;
    // SAFETY: the buffer is alive.
    Ok((raw, unsafe { device.raw.get_buffer_memory_requirements(raw) }))
}

/// Puts a buffer into memory that was taken for it.
fn bind(device: &Inner, raw: vk::Buffer, taken: &Taken, place: Place) -> Result<Placement, VulkanError> {
    // SAFETY: the memory is not freed before the buffer; it fits, as it was taken for the buffer's requirements.
    let bound = device.calls.make(Call::BindMemory, || unsafe {
        device.raw.bind_buffer_memory(raw, taken.memory, taken.piece.at)
    });
    bound.map_err(|result| VulkanError::of(Call::BindMemory, result))?;
    let address = address_of(device, raw);
    // Reading a discrete card's memory from the host, or memory that the host does not cache, is slower than copying it; what is not
    // coherent needs flushes.
    let shared = device.info.kind != Kind::Discrete
        && taken.properties.contains(vk::MemoryPropertyFlags::HOST_CACHED)
        && !device.options.always_stage;
    let coherent = taken.properties.contains(vk::MemoryPropertyFlags::HOST_COHERENT);
    let host = taken.mapped.filter(|_| coherent && (shared || place != Place::Device));
    Ok(Placement { raw, address, host, piece: taken.piece })
}

/// Where the device finds a buffer that is bound to memory.
fn address_of(device: &Inner, raw: vk::Buffer) -> vk::DeviceAddress {
    let info = vk::BufferDeviceAddressInfo::default().buffer(raw);
    // SAFETY: the buffer is alive, has memory and was made to be addressed.
    unsafe { device.raw.get_buffer_device_address(&info) }
}
