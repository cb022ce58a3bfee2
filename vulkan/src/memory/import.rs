//! Numbers in the host's memory that a device uses where they lie (`VK_EXT_external_memory_host`): nothing is copied. A block owns them until
//! the device has done all that uses them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use ash::{ext, vk};

use super::{address_of, describe, describe_for, Mapped, Scalar};
use crate::calls::Call;
use crate::device::Inner;
use crate::error::VulkanError;

/// What imported memory is made of: the most that Vulkan lets a device ask for as alignment.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(65536))]
struct Page([[u8; 4096]; 16]);

const HANDLE: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;

/// Numbers in the host's memory, at its pages' bounds, so that [`Device::import`](crate::Device::import) takes them without a copy. They take
/// whole 64 KiB.
///
/// ```no_run
/// # use upbeat_vulkan::{Device, HostMemory, Options};
/// let device = Device::open(&Options::from_env())?;
/// let mut numbers = HostMemory::<f32>::zeroed(1 << 20);
/// numbers.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
/// let x = match device.limits().import_alignment {
///     Some(_) => device.import(numbers)?,
///     None => device.upload(&numbers)?,
/// };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct HostMemory<T> {
    pages: Vec<Page>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Scalar> HostMemory<T> {
    /// `len` numbers, all 0.
    ///
    /// # Panics
    /// More bytes than there are addresses.
    pub fn zeroed(len: usize) -> Self {
        let bytes = len.checked_mul(size_of::<T>()).expect("no more bytes than there are addresses");
        let pages = bytes.div_ceil(size_of::<Page>()).max(1);
        Self { pages: bytemuck::zeroed_vec(pages), len, of: PhantomData }
    }
}

impl<T: Scalar> From<&[T]> for HostMemory<T> {
    fn from(numbers: &[T]) -> Self {
        let mut memory = Self::zeroed(numbers.len());
        memory.copy_from_slice(numbers);
        memory
    }
}

impl<T: Scalar> Deref for HostMemory<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.pages)[..self.len]
    }
}

impl<T: Scalar> DerefMut for HostMemory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.pages)[..self.len]
    }
}

impl<T> fmt::Debug for HostMemory<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostMemory").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Pages that a device has as memory. Given back by [`free`](Self::free); dropped otherwise they would be freed while the device may use them, so
/// they are kept for good.
pub(super) struct Imported {
    memory: vk::DeviceMemory,
    pages: std::mem::ManuallyDrop<Vec<Page>>,
}

impl Imported {
    /// Frees it. The device has done all that used it, and the buffer in it is destroyed.
    pub(super) fn free(mut self, raw: &ash::Device) {
        // SAFETY: nothing uses the memory, and this is the only place that frees it.
        unsafe { raw.free_memory(self.memory, None) };
        // SAFETY: it is dropped once, here, and not used after.
        unsafe { std::mem::ManuallyDrop::drop(&mut self.pages) };
    }
}

/// How a device takes host memory as its own, where it can.
pub(crate) struct Importer {
    calls: ext::external_memory_host::Device,
    properties: vk::PhysicalDeviceMemoryProperties,
}

/// What the addresses of host memory have to be multiples of for a device that has the extension and takes buffers in such memory.
pub(crate) fn import_alignment(
    instance: &ash::Instance,
    device: vk::PhysicalDevice,
    extensions: &[vk::ExtensionProperties],
) -> Option<u64> {
    let has = |name| extensions.iter().any(|of| of.extension_name_as_c_str() == Ok(name));
    if !has(ext::external_memory_host::NAME) {
        return None;
    }
    let asked = vk::PhysicalDeviceExternalBufferInfo::default().usage(describe(16).usage).handle_type(HANDLE);
    let mut told = vk::ExternalBufferProperties::default();
    // SAFETY: the device is the instance's, of Vulkan 1.3.
    unsafe { instance.get_physical_device_external_buffer_properties(device, &asked, &mut told) };
    let features = told.external_memory_properties.external_memory_features;
    let alone = features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY);
    if alone || !features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE) {
        return None;
    }
    let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
    let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut host);
    // SAFETY: as above, and it has the extension whose structure is in the chain.
    unsafe { instance.get_physical_device_properties2(device, &mut all) };
    Some(host.min_imported_host_pointer_alignment).filter(|align| *align <= align_of::<Page>() as u64)
}

impl Importer {
    pub(crate) fn new(instance: &ash::Instance, physical: vk::PhysicalDevice, device: &ash::Device) -> Self {
        // SAFETY: the device is the instance's.
        let properties = unsafe { instance.get_physical_device_memory_properties(physical) };
        Self { calls: ext::external_memory_host::Device::new(instance, device), properties }
    }

    /// The types of memory that the pages can be, as bits.
    fn kinds(&self, device: &Inner, pages: NonNull<u8>) -> Result<u32, vk::Result> {
        let mut told = vk::MemoryHostPointerPropertiesEXT::default();
        device.calls.make(Call::HostPointerProperties, || {
            let ask = self.calls.fp().get_memory_host_pointer_properties_ext;
            // SAFETY: the device has the extension enabled; the pointer is to live memory at a multiple of what it asks for.
            unsafe { ask(self.calls.device(), HANDLE, pages.as_ptr().cast(), &mut told) }.result()
        })?;
        Ok(told.memory_type_bits)
    }

    /// A buffer of `bytes` in these pages, with its address and where the host finds it.
    pub(super) fn import<T>(
        &self,
        device: &Inner,
        bytes: u64,
        host: HostMemory<T>,
    ) -> Result<(vk::Buffer, Imported, u64, Mapped), VulkanError> {
        let mut pages = host.pages;
        let size = size_of_val(&pages[..]) as u64;
        let at = NonNull::new(pages.as_mut_ptr().cast::<u8>()).expect("a vector's address");
        let kinds = self.kinds(device, at);
        let kinds = kinds.map_err(|result| VulkanError::of(Call::HostPointerProperties, result))?;
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(HANDLE);
        let families = device.two_families();
        let create = describe_for(families.as_ref(), bytes).push_next(&mut external);
        // SAFETY: the device is alive and the structures valid.
        let raw =
            device.calls.make(Call::CreateBuffer, || unsafe { device.raw.create_buffer(&create, None) });
        let raw = raw.map_err(|result| VulkanError::of(Call::CreateBuffer, result))?;
        match self.allocate(device, raw, kinds, (at, size)) {
            Ok(memory) => {
                let imported = Imported { memory, pages: std::mem::ManuallyDrop::new(pages) };
                Ok((raw, imported, address_of(device, raw), Mapped(at)))
            }
            Err(error) => {
                // SAFETY: the buffer was just made, nothing uses it, and it is destroyed once.
                unsafe { device.raw.destroy_buffer(raw, None) };
                Err(error)
            }
        }
    }

    /// The pages as memory of the device, with the buffer bound to it.
    fn allocate(
        &self,
        device: &Inner,
        raw: vk::Buffer,
        kinds: u32,
        (at, size): (NonNull<u8>, u64),
    ) -> Result<vk::DeviceMemory, VulkanError> {
        // SAFETY: the buffer is alive.
        let needs = unsafe { device.raw.get_buffer_memory_requirements(raw) };
        // What the host writes is seen without a flush.
        let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let fits = |(place, kind): &(usize, &vk::MemoryType)| {
            kinds & needs.memory_type_bits & (1 << place) != 0 && kind.property_flags.contains(wanted)
        };
        let kind = self.properties.memory_types_as_slice().iter().enumerate().find(fits);
        let Some((kind, _)) = kind.filter(|_| needs.size <= size) else {
            return Err(VulkanError::NoImport);
        };
        let mut pointer = vk::ImportMemoryHostPointerInfoEXT::default()
            .handle_type(HANDLE)
            .host_pointer(at.as_ptr().cast());
        let mut flags = vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let allocate = vk::MemoryAllocateInfo::default()
            .allocation_size(size)
            .memory_type_index(kind as u32)
            .push_next(&mut pointer)
            .push_next(&mut flags);
        // SAFETY: the pages are alive, at a multiple of the alignment, as is their size, and outlive the memory.
        let memory = device
            .calls
            .make(Call::AllocateMemory, || unsafe { device.raw.allocate_memory(&allocate, None) });
        let memory = memory.map_err(|result| VulkanError::of(Call::AllocateMemory, result))?;
        // SAFETY: the memory is not freed before the buffer; it is as large and of a type that the buffer takes.
        let bound =
            device.calls.make(Call::BindMemory, || unsafe { device.raw.bind_buffer_memory(raw, memory, 0) });
        bound.map(|()| memory).map_err(|result| {
            // SAFETY: nothing uses the memory.
            unsafe { device.raw.free_memory(memory, None) };
            VulkanError::of(Call::BindMemory, result)
        })
    }
}
