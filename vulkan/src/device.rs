//! An opened device: its handle, what it can do, and the order in which its parts end.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex};

use ash::{ext, khr, vk};

use crate::calls::{Call, Calls};
use crate::chosen::{choose, Chosen};
use crate::commands::Commands;
use crate::cooperative;
use crate::error::{VulkanError, VulkanUnavailable};
use crate::instance::{DeviceInfo, Instance};
use crate::limits::{features, limits, Limits};
use crate::memory::{
    import_alignment, tells_budget, Buffer, Defragmented, HostMemory, Memory, MemoryBudget, MemoryMetrics,
    Scalar, Told,
};
use crate::options::Options;
use crate::pipeline::{PipelineCache, Pipelines};
use crate::submit::{Done, Metrics, Queue, Role, Timelines};
use crate::tuning::{Source, Tuning};

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
    /// Copies between host and device beside what the first one does, where the device has one for it.
    pub(crate) copies: Option<Queue>,
    /// Held while work is handed over, where there are two queues.
    pub(crate) order: Mutex<()>,
    pub(crate) memory: Memory,
    pub(crate) raw: ash::Device,
    /// Outlives the device; dropped by hand, as it must stay where the device was given up.
    pub(crate) instance: ManuallyDrop<Instance>,
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
        let copies = options.copies.family(family, &families);
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
        limits.import_alignment = import_alignment(instance.raw(), physical, &known);
        let told = Told { budget: tells_budget(&known), imports: limits.import_alignment.is_some() };
        let subset = known.iter().any(|e| e.extension_name_as_c_str() == Ok(khr::portability_subset::NAME));
        let mut extensions = Vec::new();
        extensions.extend(subset.then_some(khr::portability_subset::NAME.as_ptr()));
        extensions.extend(told.budget.then_some(ext::memory_budget::NAME.as_ptr()));
        extensions.extend(told.imports.then_some(ext::external_memory_host::NAME.as_ptr()));
        extensions.extend(cooperates.then_some(khr::cooperative_matrix::NAME.as_ptr()));
        let one =
            |family| vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0]);
        let mut queues = vec![one(family as u32)];
        queues.extend(copies.filter(|copies| *copies != family as u32).map(one));
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
        limits.copy_queue = copies.is_some();
        Self::furnish(
            raw,
            physical,
            (family as u32, copies),
            info,
            limits,
            tuning,
            options,
            calls,
            told,
            instance,
        )
    }

    /// Adds what a device works with. Whatever is there by then ends in order where something fails.
    #[allow(clippy::too_many_arguments)]
    fn furnish(
        raw: ash::Device,
        physical: vk::PhysicalDevice,
        (family, copies): (u32, Option<u32>),
        info: DeviceInfo,
        limits: Limits,
        (tuning, tuned): (Tuning, Source),
        options: &Options,
        calls: Calls,
        told: Told,
        instance: Instance,
    ) -> Result<Self, VulkanUnavailable> {
        // SAFETY: the device is destroyed once: here where something fails, by `Inner` otherwise.
        let destroy = |raw: &ash::Device| unsafe { raw.destroy_device(None) };
        let memory = match Memory::new(&instance, &raw, physical, &calls, told, options) {
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
        let timelines = match Timelines::new(&raw, &calls, options.timeout, copies.is_some()) {
            Ok(timelines) => timelines,
            Err(error) => {
                pipelines.close(&raw);
                memory.close(&raw);
                destroy(&raw);
                return Err(error);
            }
        };
        let queue = |family, role| Queue::new(&raw, family, role, &timelines, options, &limits);
        let copies = copies.map(|family| queue(family, Role::Copies));
        let (queue, order) = (queue(family, Role::Compute), Mutex::default());
        let (options, instance) = (options.clone(), ManuallyDrop::new(instance));
        let inner = Inner {
            calls,
            info,
            limits,
            options,
            tuned,
            pipelines,
            queue,
            copies,
            order,
            memory,
            raw,
            instance,
        };
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

    /// A buffer of the host's numbers without a copy: the device reads and writes them where they lie
    /// ([`Limits::import_alignment`] says whether it can). They are the buffer's from now on, and freed with its last handle, once the device is done with
    /// them.
    ///
    /// The host reads and writes them directly on any device. A device with memory of its own gets at them through its bus each time: that
    /// pays for what it reads once. [`upload`](Self::upload) copies what it reads again and again. They do not count as the device's memory
    /// ([`Options::memory_limit`]), and do not move.
    ///
    /// # Errors
    /// [`VulkanError::NoImport`] where the device cannot; [`VulkanError::TooLarge`]; what making the buffer fails with. The numbers are gone then.
    pub fn import<T: Scalar>(&self, numbers: HostMemory<T>) -> Result<Buffer<T>, VulkanError> {
        Buffer::imported(self, numbers)
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

    /// What the driver says of the heap that buffers lie in, where it says something (`VK_EXT_memory_budget`). New memory of buffers keeps to it,
    /// unless [`Options::over_budget`] allows more.
    pub fn memory_budget(&self) -> Option<MemoryBudget> {
        self.inner.memory.budget()
    }

    /// Moves live buffers together, so that less of the device's memory is reserved and what is free of it lies together. Meant for idle times:
    /// it waits for the copies, which take their turn among the other work. Meanwhile everybody may go on using the buffers: handles, and lists
    /// that are recorded but not submitted, find them where they are then. The staging ring goes, and is made again when it is needed.
    ///
    /// The same is done once for a buffer for which the device has no memory left, before that is refused. One part of each kind of memory
    /// stays reserved, so that small programs need not take it again and again, and a buffer that has a part for itself stays where it is.
    ///
    /// # Errors
    /// What a submission can fail with. What was not moved by then lies where it did.
    pub fn defragment(&self) -> Result<Defragmented, VulkanError> {
        self.inner.queue.block_on(self.defragment_async())
    }

    /// [`defragment`](Self::defragment) for futures. Dropping it ends it: what was submitted by then is moved, the rest stays.
    ///
    /// # Errors
    /// As [`defragment`](Self::defragment).
    pub async fn defragment_async(&self) -> Result<Defragmented, VulkanError> {
        self.inner.memory.defragment(&self.inner, 0).await
    }

    /// What it has done.
    pub fn metrics(&self) -> Metrics {
        self.inner.metrics()
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
        if !self.close_queues() {
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
