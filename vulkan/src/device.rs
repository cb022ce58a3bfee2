//! An opened device: its handle, what it can do, and the order in which its parts end.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use ash::{khr, vk};

use crate::calls::{Call, Calls};
use crate::choice::Candidate;
use crate::commands::Commands;
use crate::cooperative::{self, CooperativeMatrices};
use crate::error::{Reason, VulkanError, VulkanUnavailable};
use crate::instance::{DeviceInfo, Instance};
use crate::memory::{Buffer, Memory, MemoryMetrics, Scalar};
use crate::options::Options;
use crate::pipeline::{PipelineCache, Pipelines};
use crate::submit::{Done, Metrics, Queue};
use crate::tuning::{Source, Tuning};

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
    /// [without](Options::cooperative_matrices).
    pub cooperative: Option<CooperativeMatrices>,
    /// Whether kernels keep the signs of zeros.
    pub signed_zeros: bool,
    /// Nanoseconds of one tick of its clock; 0 where its queue has none.
    pub tick_ns: f32,
    /// Bits of its clock's counter.
    pub tick_bits: u32,
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
            signed_zeros: false,
            tick_ns: 0.0,
            tick_bits: 0,
        }
    }
}

/// A GPU that computes. Clones are handles of the same device; buffers and commands keep it alive.
///
/// ```no_run
/// let device = upbeat_vulkan::Device::open(&upbeat_vulkan::Options::from_env())?;
/// let x = device.upload(&[1.0_f32, 2.0, 3.0])?;
/// let y = device.buffer::<f32>(3)?;
/// let mut commands = device.commands();
/// commands.scale(&x, 2.0, &y)?;
/// commands.submit()?.wait()?;
/// assert_eq!(y.to_vec()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Device {
    pub(crate) inner: Arc<Inner>,
    /// Of the handle: others may have others.
    pub(crate) tuning: Tuning,
}

/// Everything a device owns. Ends with the last buffer, command or handle of it.
pub(crate) struct Inner {
    pub(crate) calls: Calls,
    pub(crate) info: DeviceInfo,
    pub(crate) limits: Limits,
    pub(crate) options: Options,
    pub(crate) tuned: Source,
    pub(crate) pipelines: Pipelines,
    pub(crate) queue: Queue,
    pub(crate) memory: Memory,
    pub(crate) raw: ash::Device,
    /// Outlives the device; dropped by hand, as it must stay where the device was given up.
    pub(crate) instance: ManuallyDrop<Instance>,
}

/// The features that every kernel needs, in Vulkan's words.
fn missing(
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

/// A device that has all that kernels need.
pub(crate) struct Chosen {
    /// In the loader's order.
    pub(crate) place: usize,
    physical: vk::PhysicalDevice,
    info: DeviceInfo,
    families: Vec<vk::QueueFamilyProperties>,
    /// The family of the queue that is used.
    family: usize,
}

/// The device that `options` choose.
///
/// # Errors
/// None fits, or the one that does lacks something.
pub(crate) fn choose(
    instance: &Instance,
    options: &Options,
    calls: &Calls,
) -> Result<Chosen, VulkanUnavailable> {
    let devices = instance.devices(calls)?.into_iter().enumerate();
    let mut looked_at: Vec<_> =
        devices.map(|(place, (physical, info))| look_at(instance, place, physical, info)).collect();
    let candidates: Vec<_> = looked_at
        .iter()
        .map(|(info, found)| Candidate { kind: info.kind, name: info.name.clone(), usable: found.is_ok() })
        .collect();
    let place = options.choice.pick(&candidates)?;
    looked_at.swap_remove(place).1.map_err(|reason| VulkanUnavailable { reason })
}

/// What a device is, and what it lacks or how it is used.
fn look_at(
    instance: &Instance,
    place: usize,
    physical: vk::PhysicalDevice,
    info: DeviceInfo,
) -> (DeviceInfo, Result<Chosen, Reason>) {
    let device = info.name.clone();
    if info.version < (1, 3, 0) {
        let found = format!("{}.{}.{}", info.version.0, info.version.1, info.version.2);
        return (info, Err(Reason::Version { what: device, found }));
    }
    // SAFETY: the device is the instance's.
    let families = unsafe { instance.raw().get_physical_device_queue_family_properties(physical) };
    // One that does nothing but compute stays out of the way of who draws.
    let computes = |family: &&vk::QueueFamilyProperties| family.queue_flags.contains(vk::QueueFlags::COMPUTE);
    let draws = |family: &vk::QueueFamilyProperties| family.queue_flags.contains(vk::QueueFlags::GRAPHICS);
    let family = families
        .iter()
        .enumerate()
        .filter(|(_, family)| computes(family))
        .min_by_key(|(_, family)| draws(family))
        .map(|(place, _)| place);
    let (mut v11, mut v12, mut v13) = Default::default();
    features(instance.raw(), physical, &mut v11, &mut v12, &mut v13);
    let chosen = match (family, missing(&v12, &v13)) {
        (None, _) => Err(Reason::NoComputeQueue { device }),
        (_, Some(feature)) => Err(Reason::Feature { device, feature }),
        (Some(family), None) => Ok(Chosen { place, physical, info: info.clone(), families, family }),
    };
    (info, chosen)
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    /// [`VulkanUnavailable`] says why there is none that fits `options`.
    pub fn open(options: &Options) -> Result<Self, VulkanUnavailable> {
        let calls = Calls::failing(options.fault.clone());
        let instance = Instance::new(options, &calls)?;
        let Chosen { physical, info, families, family, .. } = choose(&instance, options, &calls)?;
        let (mut v11, mut v12, mut v13) = Default::default();
        features(instance.raw(), physical, &mut v11, &mut v12, &mut v13);
        // SAFETY: the device is the instance's.
        let known = calls.make(Call::EnumerateExtensions, || unsafe {
            instance.raw().enumerate_device_extension_properties(physical)
        });
        let known = known.map_err(|result| VulkanUnavailable::of(Call::EnumerateExtensions, result))?;
        let mut limits = limits(instance.raw(), physical, &families[family], &v11, &v12);
        if options.cooperative_matrices && limits.f16_storage {
            let found =
                cooperative::find(instance.entry(), instance.raw(), physical, &calls, &known, &v12, &v13);
            limits.cooperative =
                found.map_err(|result| VulkanUnavailable::of(Call::CooperativeMatrices, result))?;
        }
        let tuning = options.tuning.read(&info, &limits).map_err(VulkanUnavailable::from)?;
        let cooperates = limits.cooperative.is_some();
        let mut on11 = vk::PhysicalDeviceVulkan11Features::default()
            .storage_buffer16_bit_access(v11.storage_buffer16_bit_access == vk::TRUE);
        let mut on12 = vk::PhysicalDeviceVulkan12Features::default()
            .buffer_device_address(true)
            .timeline_semaphore(true)
            .host_query_reset(v12.host_query_reset == vk::TRUE)
            .shader_float16(v12.shader_float16 == vk::TRUE)
            .vulkan_memory_model(cooperates)
            .vulkan_memory_model_device_scope(cooperates);
        let mut on13 = vk::PhysicalDeviceVulkan13Features::default()
            .synchronization2(true)
            .maintenance4(true)
            .subgroup_size_control(cooperates)
            .compute_full_subgroups(cooperates);
        let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
        // A driver that is not wholly Vulkan wants to be told that this is known.
        let subset = known.iter().any(|e| e.extension_name_as_c_str() == Ok(khr::portability_subset::NAME));
        let mut extensions = Vec::new();
        extensions.extend(subset.then_some(khr::portability_subset::NAME.as_ptr()));
        extensions.extend(cooperates.then_some(khr::cooperative_matrix::NAME.as_ptr()));
        let queues =
            [vk::DeviceQueueCreateInfo::default().queue_family_index(family as u32).queue_priorities(&[1.0])];
        let mut create = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .push_next(&mut on11)
            .push_next(&mut on12)
            .push_next(&mut on13);
        if cooperates {
            create = create.push_next(&mut matrices);
        }
        // SAFETY: every pointer in the structure outlives the call; the features were found above.
        let raw = calls
            .make(Call::CreateDevice, || unsafe { instance.raw().create_device(physical, &create, None) });
        let raw = raw.map_err(|result| VulkanUnavailable::of(Call::CreateDevice, result))?;
        Self::furnish(raw, physical, family as u32, info, limits, tuning, options, calls, instance)
    }

    /// Adds what a device works with. Whatever is there by then ends in order where something fails.
    #[allow(clippy::too_many_arguments)]
    fn furnish(
        raw: ash::Device,
        physical: vk::PhysicalDevice,
        family: u32,
        info: DeviceInfo,
        limits: Limits,
        (tuning, tuned): (Tuning, Source),
        options: &Options,
        calls: Calls,
        instance: Instance,
    ) -> Result<Self, VulkanUnavailable> {
        // SAFETY: the device is destroyed once: here where something fails, by `Inner` otherwise.
        let destroy = |raw: &ash::Device| unsafe { raw.destroy_device(None) };
        let memory = match Memory::new(&instance, &raw, physical, &calls, options) {
            Ok(memory) => memory,
            Err(error) => {
                destroy(&raw);
                return Err(error);
            }
        };
        let pipelines = match Pipelines::new(&raw, instance.raw(), physical, &calls, options) {
            Ok(pipelines) => pipelines,
            Err(error) => {
                memory.close(&raw);
                destroy(&raw);
                return Err(error);
            }
        };
        let queue = match Queue::new(&raw, family, &calls, options, &limits) {
            Ok(queue) => queue,
            Err(error) => {
                pipelines.close(&raw);
                memory.close(&raw);
                destroy(&raw);
                return Err(error);
            }
        };
        let (options, instance) = (options.clone(), ManuallyDrop::new(instance));
        let inner = Inner { calls, info, limits, options, tuned, pipelines, queue, memory, raw, instance };
        Ok(Self { inner: Arc::new(inner), tuning })
    }

    /// What it is.
    pub fn info(&self) -> &DeviceInfo {
        &self.inner.info
    }

    /// What it allows.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// A buffer of `len` numbers, all 0.
    ///
    /// # Errors
    /// [`VulkanError::TooLarge`] and [`VulkanError::OutOfMemory`]; [`VulkanError::DeviceLost`] when it is.
    pub fn buffer<T: Scalar>(&self, len: usize) -> Result<Buffer<T>, VulkanError> {
        Buffer::zeroed(self, len)
    }

    /// A buffer of `len` numbers of unspecified value, for what a kernel writes all of: nothing is submitted to fill it.
    ///
    /// # Errors
    /// As [`buffer`](Self::buffer).
    pub fn unspecified<T: Scalar>(&self, len: usize) -> Result<Buffer<T>, VulkanError> {
        Buffer::unspecified(self, len)
    }

    /// A buffer of the host's numbers.
    ///
    /// # Errors
    /// As [`buffer`](Self::buffer).
    pub fn upload<T: Scalar>(&self, numbers: &[T]) -> Result<Buffer<T>, VulkanError> {
        let buffer = Buffer::unspecified(self, numbers.len())?;
        buffer.write(numbers)?;
        Ok(buffer)
    }

    /// An empty list of work to record.
    pub fn commands(&self) -> Commands {
        Commands::new(self)
    }

    /// What has to end before another submission is taken; it is over where fewer than [`Options::in_flight`] are under way. Others may take the
    /// room meanwhile.
    pub fn room(&self) -> Done {
        self.inner.queue.room()
    }

    /// The memory that buffers take.
    pub fn memory(&self) -> MemoryMetrics {
        self.inner.memory.metrics(&self.inner)
    }

    /// What it has done.
    pub fn metrics(&self) -> Metrics {
        self.inner.queue.metrics(&self.inner)
    }

    /// Forgets what was traced, and keeps when each kernel runs from now on. Needs [`Options::timestamps`].
    ///
    /// # Errors
    /// [`VulkanError::Feature`] where runs are not measured: the device was opened without, or its queue has no clock;
    /// [`VulkanError::DeviceLost`] when it is.
    pub fn start_trace(&self) -> Result<(), VulkanError> {
        match self.inner.queue.start_trace(&self.inner)? {
            true => Ok(()),
            false => Err(VulkanError::Feature { feature: "timestamps (Options::timestamps)" }),
        }
    }

    /// The runs of kernels that have ended since [`start_trace`](Self::start_trace), in row `row`, on the clock of the runtime's traces: with
    /// those of [`Runtime::stop_trace`](upbeat::Runtime::stop_trace) they make one picture, written by
    /// [`write_chrome_trace`](upbeat::write_chrome_trace). The device's clock is set by when work was handed over, so that spans may lie some
    /// microseconds early.
    ///
    /// # Errors
    /// [`VulkanError::DeviceLost`] when it is.
    pub fn stop_trace(&self, row: usize) -> Result<Vec<upbeat::Span>, VulkanError> {
        self.inner.queue.stop_trace(&self.inner, row)
    }

    /// What became of the file of [`Options::pipeline_cache`].
    pub fn pipeline_cache(&self) -> &PipelineCache {
        self.inner.pipelines.cache()
    }

    /// What the validation layer has said since it was last asked; nothing without [`Options::validate`].
    pub fn messages(&self) -> Vec<String> {
        self.inner.instance.take_messages()
    }

    /// Whether two handles are of the same opened device.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("info", &self.inner.info).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.queue.close(&self.raw) {
            // Work is still under way on a device that was given up: nothing of it may be freed.
            self.memory.abandon();
            return;
        }
        self.pipelines.close(&self.raw);
        self.memory.close(&self.raw);
        // SAFETY: nothing made by the device is left, and nothing of it runs.
        unsafe { self.raw.destroy_device(None) };
        // SAFETY: this is the only place that drops it, and nothing uses it after.
        unsafe { ManuallyDrop::drop(&mut self.instance) };
    }
}

fn features(
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

fn limits(
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
        signed_zeros: p12.shader_signed_zero_inf_nan_preserve_float32 == vk::TRUE,
        tick_ns: if ticks { plain.timestamp_period } else { 0.0 },
        tick_bits: family.timestamp_valid_bits,
    }
}
