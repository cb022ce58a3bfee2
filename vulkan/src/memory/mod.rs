//! A device's memory: suballocated blocks, freed when the device is done with them, and the way between host and device.

mod block;
mod buffer;
mod staging;

pub(crate) use block::{Block, Place, RawBlock};
pub use buffer::{Buffer, Float, Scalar};

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ash::vk;
use gpu_allocator::vulkan::{
    Allocation, AllocationCreateDesc, AllocationScheme, Allocator, AllocatorCreateDesc,
};
use gpu_allocator::{AllocationError, AllocationSizes, MemoryLocation};

use crate::calls::{Call, Calls};
use crate::device::Inner;
use crate::error::{Reason, VulkanError, VulkanUnavailable};
use crate::instance::Instance;
use crate::options::Options;
use crate::submit::Uses;
use staging::Staging;

/// The memory that a device's buffers take.
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
    /// The part of what is reserved and not used that lies between buffers of blocks in use: 0 is none.
    pub fragmentation: f64,
}

/// What a buffer was made of, kept until the device is done with it.
struct Retired {
    raw: vk::Buffer,
    allocation: Allocation,
    bytes: u64,
    last_uses: Uses,
}

/// Where buffers come from and go to.
pub(crate) struct Memory {
    /// `None` once it is closed.
    allocator: Mutex<Option<Allocator>>,
    retired: Mutex<Vec<Retired>>,
    used: AtomicU64,
    peak: AtomicU64,
    buffers: AtomicU64,
    limit: Option<u64>,
    staging: Staging,
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
        options: &Options,
    ) -> Result<Self, VulkanUnavailable> {
        // Small programs should not take a quarter of a gibibyte; large ones should not allocate often.
        let sizes = AllocationSizes::new(32 << 20, 8 << 20)
            .with_max_device_memblock_size(256 << 20)
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
        Ok(Self {
            allocator: Mutex::new(Some(Allocator::new(&create).map_err(refused)?)),
            retired: Mutex::default(),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            buffers: AtomicU64::new(0),
            limit: options.memory_limit,
            staging: Staging::new(options.staging),
        })
    }

    /// A buffer of `bytes`, its memory and the address that the host may write it at. What is in it is unspecified.
    fn take(
        &self,
        device: &Inner,
        bytes: u64,
        place: Place,
    ) -> Result<(vk::Buffer, Allocation), VulkanError> {
        self.collect(device);
        let within = |what, size, most| {
            if size > most {
                Err(VulkanError::TooLarge { what, size, most })
            } else {
                Ok(())
            }
        };
        within("a buffer's size in bytes (maxBufferSize)", bytes, device.limits.buffer_bytes)?;
        within("an allocation (maxMemoryAllocationSize)", bytes, device.limits.allocation_bytes)?;
        match self.allocate(device, bytes, place) {
            // What was dropped may still be in use; once that has run there may be room.
            Err(VulkanError::OutOfMemory { .. }) if !lock(&self.retired).is_empty() => {
                device.finish()?;
                self.collect(device);
                self.allocate(device, bytes, place)
            }
            outcome => outcome,
        }
    }

    fn allocate(
        &self,
        device: &Inner,
        bytes: u64,
        place: Place,
    ) -> Result<(vk::Buffer, Allocation), VulkanError> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        let full = |_| VulkanError::OutOfMemory { asked: bytes, used, limit: self.limit };
        let outcome = if self.limit.is_some_and(|limit| used.saturating_add(bytes) > limit) {
            Err(full(()))
        } else {
            self.allocate_within(device, bytes, place, used)
        };
        match outcome {
            Ok(_) => {
                self.peak.fetch_max(used + bytes, Ordering::Relaxed);
                self.buffers.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
        outcome
    }

    fn allocate_within(
        &self,
        device: &Inner,
        bytes: u64,
        place: Place,
        used: u64,
    ) -> Result<(vk::Buffer, Allocation), VulkanError> {
        let full = || VulkanError::OutOfMemory { asked: bytes, used, limit: None };
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER
            | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS
            | vk::BufferUsageFlags::TRANSFER_SRC
            | vk::BufferUsageFlags::TRANSFER_DST;
        let families = device.two_families();
        let mut create = vk::BufferCreateInfo::default().size(bytes).usage(usage);
        if let Some(families) = &families {
            create = create.sharing_mode(vk::SharingMode::CONCURRENT).queue_family_indices(families);
        }
        // SAFETY: the device is alive and the structure valid.
        let raw =
            device.calls.make(Call::CreateBuffer, || unsafe { device.raw.create_buffer(&create, None) });
        let raw = raw.map_err(|result| match result {
            vk::Result::ERROR_OUT_OF_DEVICE_MEMORY | vk::Result::ERROR_OUT_OF_HOST_MEMORY => full(),
            other => VulkanError::of(Call::CreateBuffer, other),
        })?;
        let destroy = |error| {
            // SAFETY: the buffer was just made, nothing uses it, and it is destroyed once, where it is not handed over.
            unsafe { device.raw.destroy_buffer(raw, None) };
            Err(error)
        };
        // SAFETY: the buffer is alive.
        let requirements = unsafe { device.raw.get_buffer_memory_requirements(raw) };
        let description = AllocationCreateDesc {
            name: "upbeat",
            requirements,
            location: match place {
                Place::Device => MemoryLocation::GpuOnly,
                Place::Upload => MemoryLocation::CpuToGpu,
                Place::Readback => MemoryLocation::GpuToCpu,
            },
            linear: true,
            allocation_scheme: AllocationScheme::GpuAllocatorManaged,
        };
        let mut allocation = None;
        let made = device.calls.make(Call::AllocateMemory, || {
            let mut allocator = lock(&self.allocator);
            let allocator = allocator.as_mut().expect("open while its device is");
            allocation = Some(allocator.allocate(&description));
            Ok(())
        });
        let allocation = match (made, allocation) {
            (Ok(()), Some(Ok(allocation))) => allocation,
            (Ok(()), Some(Err(AllocationError::OutOfMemory)))
            | (Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY | vk::Result::ERROR_OUT_OF_HOST_MEMORY), _) => {
                return destroy(full())
            }
            (Ok(()), Some(Err(error))) => {
                return destroy(VulkanError::Call { call: Call::AllocateMemory, result: error.to_string() })
            }
            (Err(result), _) => return destroy(VulkanError::of(Call::AllocateMemory, result)),
            (Ok(()), None) => unreachable!("a call that was made has an outcome"),
        };
        // SAFETY: the memory is not freed before the buffer; it fits, as it was asked for with the buffer's requirements.
        let bound = device.calls.make(Call::BindMemory, || unsafe {
            device.raw.bind_buffer_memory(raw, allocation.memory(), allocation.offset())
        });
        if let Err(result) = bound {
            self.free(allocation);
            return destroy(VulkanError::of(Call::BindMemory, result));
        }
        Ok((raw, allocation))
    }

    fn free(&self, allocation: Allocation) {
        if let Some(allocator) = lock(&self.allocator).as_mut() {
            allocator.free(allocation).expect("the allocation is this allocator's");
        }
    }

    /// Takes what a buffer was made of, to free it when the device has done everything up to `last_uses`.
    fn retire(&self, device: &Inner, raw: vk::Buffer, allocation: Allocation, bytes: u64, last_uses: Uses) {
        let retired = Retired { raw, allocation, bytes, last_uses };
        if last_uses.are_over(&device.completed()) {
            self.release(&device.raw, retired);
        } else {
            lock(&self.retired).push(retired);
        }
    }

    fn release(&self, raw: &ash::Device, retired: Retired) {
        // SAFETY: the device has done all that used the buffer, and its handle is gone.
        unsafe { raw.destroy_buffer(retired.raw, None) };
        self.used.fetch_sub(retired.bytes, Ordering::Relaxed);
        self.buffers.fetch_sub(1, Ordering::Relaxed);
        self.free(retired.allocation);
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
        let report = lock(&self.allocator).as_ref().map(Allocator::generate_report);
        let Some(report) = report else { return MemoryMetrics::default() };
        let in_use = report.blocks.iter().filter(|block| !block.allocations.is_empty());
        let (mut room, mut between) = (0, 0);
        for block in in_use {
            let held = &report.allocations[block.allocations.clone()];
            let end = held.iter().map(|a| a.offset + a.size).max().unwrap_or(0);
            let bytes: u64 = held.iter().map(|a| a.size).sum();
            room += block.size.saturating_sub(bytes);
            between += end.saturating_sub(bytes);
        }
        MemoryMetrics {
            used: self.used.load(Ordering::Relaxed),
            reserved: report.total_capacity_bytes,
            buffers: self.buffers.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            fragmentation: if room == 0 { 0.0 } else { between as f64 / room as f64 },
        }
    }

    pub(crate) fn staging(&self) -> &Staging {
        &self.staging
    }

    /// Frees everything. The device must have done all its work.
    pub(crate) fn close(&self, raw: &ash::Device) {
        self.staging.close(self, raw);
        for retired in std::mem::take(&mut *lock(&self.retired)) {
            self.release(raw, retired);
        }
        *lock(&self.allocator) = None;
    }

    /// Forgets everything: the device may still write to it.
    pub(crate) fn abandon(&self) {
        std::mem::forget(lock(&self.allocator).take());
    }
}
