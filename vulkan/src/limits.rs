//! What a device is asked about itself: nothing is assumed.

use ash::vk;

use crate::cooperative::CooperativeMatrices;

/// What a device allows and can do, as asked of it: nothing is assumed.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of one buffer at most.
    pub buffer_bytes: u64,
    /// Bytes of one allocation at most.
    pub allocation_bytes: u64,
    /// Invocations of one workgroup at most.
    pub workgroup: u32,
    /// Bytes of shared memory of one workgroup at most.
    pub shared_bytes: u32,
    /// Workgroups of one dispatch at most, in each dimension.
    pub groups: [u32; 3],
    /// Invocations that run in step.
    pub subgroup: u32,
    /// Whether kernels compute with 16-bit floats; storing them is another matter.
    pub f16_arithmetic: bool,
    /// Whether buffers of 16-bit floats can be read and written.
    pub f16_storage: bool,
    /// Which matrices of 16-bit floats a subgroup multiplies at once; `None` where the device cannot, or was opened
    /// [without](crate::Options::cooperative_matrices).
    pub cooperative: Option<CooperativeMatrices>,
    /// What addresses of the host's memory have to be multiples of for the device to use it where it lies ([`Device::import`](crate::Device::import)); `None` where it
    /// cannot.
    pub import_alignment: Option<u64>,
    /// Whether kernels keep the signs of zeros.
    pub signed_zeros: bool,
    /// Nanoseconds of one tick of its clock; 0 where its queue has none.
    pub tick_ns: f32,
    /// Bits of its clock's counter.
    pub tick_bits: u32,
    /// Whether large copies between host and device have a queue of their own, beside kernels ([`Options::copy_queue`](crate::Options::copy_queue)).
    pub copy_queue: bool,
}

#[cfg(test)]
impl Limits {
    /// What every device has, of Vulkan 1.3.
    pub(crate) fn least() -> Self {
        Self {
            buffer_bytes: 1 << 30,
            allocation_bytes: 1 << 30,
            workgroup: 128,
            shared_bytes: 16_384,
            groups: [65_535; 3],
            subgroup: 4,
            f16_arithmetic: false,
            f16_storage: false,
            cooperative: None,
            import_alignment: None,
            signed_zeros: false,
            tick_ns: 0.0,
            tick_bits: 0,
            copy_queue: false,
        }
    }
}

/// The features that every kernel needs, in Vulkan's words.
pub(crate) fn missing(
    v12: &vk::PhysicalDeviceVulkan12Features<'_>,
    v13: &vk::PhysicalDeviceVulkan13Features<'_>,
) -> Option<&'static str> {
    [
        (v12.buffer_device_address, "bufferDeviceAddress"),
        (v12.timeline_semaphore, "timelineSemaphore"),
        (v13.synchronization2, "synchronization2"),
        (v13.maintenance4, "maintenance4"),
    ]
    .into_iter()
    .find(|(has, _)| *has == vk::FALSE)
    .map(|(_, name)| name)
}

/// Asks for features.
pub(crate) fn features(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    v11: &mut vk::PhysicalDeviceVulkan11Features<'_>,
    v12: &mut vk::PhysicalDeviceVulkan12Features<'_>,
    v13: &mut vk::PhysicalDeviceVulkan13Features<'_>,
) {
    let mut all = vk::PhysicalDeviceFeatures2::default();
    // Chained by hand: each is read by the caller afterwards, for which `push_next` would borrow them too long.
    v12.p_next = std::ptr::from_mut(v13).cast();
    v11.p_next = std::ptr::from_mut(v12).cast();
    all.p_next = std::ptr::from_mut(v11).cast();
    // SAFETY: the device is the instance's, of Vulkan 1.3, and the chain lives through the call.
    unsafe { instance.get_physical_device_features2(physical, &mut all) };
    (v11.p_next, v12.p_next) = (std::ptr::null_mut(), std::ptr::null_mut());
}

/// Asks for limits. What depends on how it is opened is to be added.
pub(crate) fn limits(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    family: &vk::QueueFamilyProperties,
    v11: &vk::PhysicalDeviceVulkan11Features<'_>,
    v12: &vk::PhysicalDeviceVulkan12Features<'_>,
) -> Limits {
    let mut p11 = vk::PhysicalDeviceVulkan11Properties::default();
    let mut p12 = vk::PhysicalDeviceVulkan12Properties::default();
    let mut p13 = vk::PhysicalDeviceVulkan13Properties::default();
    let mut all =
        vk::PhysicalDeviceProperties2::default().push_next(&mut p11).push_next(&mut p12).push_next(&mut p13);
    // SAFETY: the device is the instance's, of Vulkan 1.3.
    unsafe { instance.get_physical_device_properties2(physical, &mut all) };
    let plain = all.properties.limits;
    let ticks = family.timestamp_valid_bits > 0 && v12.host_query_reset == vk::TRUE;
    Limits {
        buffer_bytes: p13.max_buffer_size,
        allocation_bytes: p11.max_memory_allocation_size,
        workgroup: plain.max_compute_work_group_invocations.min(plain.max_compute_work_group_size[0]),
        shared_bytes: plain.max_compute_shared_memory_size,
        groups: plain.max_compute_work_group_count,
        subgroup: p11.subgroup_size,
        f16_arithmetic: v12.shader_float16 == vk::TRUE,
        f16_storage: v11.storage_buffer16_bit_access == vk::TRUE,
        cooperative: None,
        import_alignment: None,
        signed_zeros: p12.shader_signed_zero_inf_nan_preserve_float32 == vk::TRUE,
        tick_ns: if ticks { plain.timestamp_period } else { 0.0 },
        tick_bits: family.timestamp_valid_bits,
        copy_queue: false,
    }
}
