//! Kernels as pipelines, made when they are first used and kept; with a file, from one process to the next. Users' programs are pipelines of
//! their own.

mod cache;
mod compiled;
mod fused;
mod kernels;

use cache::Identity;
pub use cache::PipelineCache;
pub(crate) use compiled::Compiled;
pub(crate) use fused::fused;
pub(crate) use kernels::Kernel;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ash::vk;

use crate::calls::{Call, Calls};
use crate::commands::{Dispatch, Piece, Work, PUSH_BYTES};
use crate::device::Inner;
use crate::error::{VulkanError, VulkanUnavailable};
use crate::options::Options;

/// Specialisation constants that a kernel has at most.
const MOST: usize = 10;

/// A kernel's specialisation constants, by number from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Constants {
    values: [u32; MOST],
    len: usize,
}

impl Constants {
    pub(crate) fn new(given: &[u32]) -> Self {
        let mut values = [0; MOST];
        values[..given.len()].copy_from_slice(given);
        Self { values, len: given.len() }
    }

    /// Constant `number`; 0 where there is none.
    pub(crate) fn value(&self, number: usize) -> u32 {
        self.values[number]
    }
}

/// A pipeline, once it is made. Whoever makes it holds the lock.
type Place = Arc<Mutex<Option<vk::Pipeline>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pipelines made so far.
pub(crate) struct Pipelines {
    layout: vk::PipelineLayout,
    /// Vulkan's own cache, and what became of its file.
    raw_cache: vk::PipelineCache,
    cache: PipelineCache,
    /// The file, and what was in it.
    file: Option<PathBuf>,
    read: Vec<u8>,
    identity: Identity,
    made: Mutex<HashMap<(Kernel, Constants), Place>>,
    /// Users' own without a handle, each with the submission that used it last.
    retired: Mutex<Vec<(vk::Pipeline, u64)>>,
}

impl Pipelines {
    pub(crate) fn new(
        device: &ash::Device,
        instance: &ash::Instance,
        physical: vk::PhysicalDevice,
        calls: &Calls,
        options: &Options,
    ) -> Result<Self, VulkanUnavailable> {
        let identity = Identity::of(instance, physical);
        let file = cache::place(&options.pipeline_cache, &identity);
        let (read, cache) = match &file {
            Some(path) => cache::load(path, &identity),
            None => (Vec::new(), PipelineCache::None),
        };
        let ranges = [vk::PushConstantRange {
            stage_flags: vk::ShaderStageFlags::COMPUTE,
            offset: 0,
            size: PUSH_BYTES as u32,
        }];
        let create = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&ranges);
        // SAFETY: the device is alive, the structure valid.
        let layout = calls
            .make(Call::CreatePipelineLayout, || unsafe { device.create_pipeline_layout(&create, None) });
        let layout = layout.map_err(|result| VulkanUnavailable::of(Call::CreatePipelineLayout, result))?;
        let create = vk::PipelineCacheCreateInfo::default().initial_data(&read);
        // SAFETY: as above; the data is of this device and driver, and whole.
        let raw_cache =
            calls.make(Call::CreatePipelineCache, || unsafe { device.create_pipeline_cache(&create, None) });
        let raw_cache = raw_cache.map_err(|result| {
            // SAFETY: it was just made, and nothing uses it.
            unsafe { device.destroy_pipeline_layout(layout, None) };
            VulkanUnavailable::of(Call::CreatePipelineCache, result)
        })?;
        Ok(Self {
            layout,
            raw_cache,
            cache,
            file,
            read,
            identity,
            made: Mutex::default(),
            retired: Mutex::default(),
        })
    }

    /// The one layout: 128 bytes of push constants. Buffers are told by address.
    pub(crate) fn layout(&self) -> vk::PipelineLayout {
        self.layout
    }

    pub(crate) fn cache(&self) -> &PipelineCache {
        &self.cache
    }

    /// The pipeline of each dispatch of `pieces`, in order. Those that are not there yet are made: to be called without a lock that others need.
    pub(crate) fn of(&self, device: &Inner, pieces: &[Piece<'_>]) -> Result<Vec<vk::Pipeline>, VulkanError> {
        let mut last = None;
        let mut pipelines = Vec::new();
        for piece in pieces {
            let key = match piece {
                Piece::Work(Work::Dispatch(Dispatch { program: Some(program), .. })) => {
                    pipelines.push(program.raw());
                    continue;
                }
                Piece::Work(Work::Dispatch(dispatch)) => (dispatch.kernel, dispatch.constants),
                Piece::Work(_) => continue,
                Piece::Steps(chain) => chain.kernel(),
            };
            let pipeline = match last {
                Some((known, pipeline)) if known == key => pipeline,
                _ => self.get(device, key)?,
            };
            last = Some((key, pipeline));
            pipelines.push(pipeline);
        }
        Ok(pipelines)
    }

    fn get(&self, device: &Inner, key: (Kernel, Constants)) -> Result<vk::Pipeline, VulkanError> {
        let place = lock(&self.made).entry(key).or_default().clone();
        // Held while it is compiled: who needs the same one waits instead of compiling it too. Who needs another one does not.
        let mut made = lock(&place);
        if let Some(pipeline) = *made {
            return Ok(pipeline);
        }
        let pipeline = self.make(device, &key.0.spirv(), key.1, key.0.needs_whole_subgroups())?;
        *made = Some(pipeline);
        Ok(pipeline)
    }

    fn make(
        &self,
        device: &Inner,
        words: &[u32],
        constants: Constants,
        whole_subgroups: bool,
    ) -> Result<vk::Pipeline, VulkanError> {
        let create = vk::ShaderModuleCreateInfo::default().code(words);
        // SAFETY: the words are valid SPIR-V: the gate validates what is committed, and `fused` says what it adds to that.
        let module = device
            .calls
            .make(Call::CreateShaderModule, || unsafe { device.raw.create_shader_module(&create, None) });
        let module = module.map_err(|result| VulkanError::of(Call::CreateShaderModule, result))?;
        let entries: Vec<_> = (0..constants.len as u32)
            .map(|constant_id| vk::SpecializationMapEntry { constant_id, offset: 4 * constant_id, size: 4 })
            .collect();
        let data: &[u8] = bytemuck::cast_slice(&constants.values[..constants.len]);
        let specialization = vk::SpecializationInfo::default().map_entries(&entries).data(data);
        let mut subgroup = vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo::default()
            .required_subgroup_size(device.limits.subgroup);
        let mut stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main")
            .specialization_info(&specialization);
        if whole_subgroups {
            stage = stage
                .flags(vk::PipelineShaderStageCreateFlags::REQUIRE_FULL_SUBGROUPS)
                .push_next(&mut subgroup);
        }
        let create = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(self.layout)];
        // SAFETY: every pointer in the structure outlives the call.
        let outcome = device.calls.make(Call::CreatePipeline, || unsafe {
            device.raw.create_compute_pipelines(self.raw_cache, &create, None).map_err(|(_, result)| result)
        });
        // SAFETY: a pipeline does not need its module any more.
        unsafe { device.raw.destroy_shader_module(module, None) };
        let made = outcome.map_err(|result| VulkanError::of(Call::CreatePipeline, result))?;
        Ok(made[0])
    }

    /// Takes a user's own pipeline, to end it when the device has done everything up to `last_use`, and ends those that it is done with.
    fn retire(&self, device: &Inner, pipeline: vk::Pipeline, last_use: u64) {
        // Without asking the device: that wakes tasks, and who drops a program may hold a lock that they take.
        let completed = device.queue.known();
        let mut retired = lock(&self.retired);
        retired.push((pipeline, last_use));
        for (pipeline, _) in retired.extract_if(.., |(_, last_use)| *last_use <= completed) {
            // SAFETY: its handle is gone, and the device has done all that used it.
            unsafe { device.raw.destroy_pipeline(pipeline, None) };
        }
    }

    /// Writes the file, if there is one to write, and ends everything. The device must have done all its work.
    pub(crate) fn close(&self, raw: &ash::Device) {
        let places = std::mem::take(&mut *lock(&self.made));
        let made: Vec<_> = places.into_values().filter_map(|place| *lock(&place)).collect();
        if let (Some(path), false) = (&self.file, made.is_empty()) {
            // SAFETY: the cache is alive.
            match unsafe { raw.get_pipeline_cache_data(self.raw_cache) } {
                Ok(data) if data != self.read => cache::save(path, &self.identity, &data),
                // Nothing new, or nothing to be had: whoever needs it compiles again.
                _ => {}
            }
        }
        let retired = std::mem::take(&mut *lock(&self.retired));
        for pipeline in made.into_iter().chain(retired.into_iter().map(|(pipeline, _)| pipeline)) {
            // SAFETY: it is destroyed once, and no work uses it.
            unsafe { raw.destroy_pipeline(pipeline, None) };
        }
        // SAFETY: as above.
        unsafe { raw.destroy_pipeline_cache(self.raw_cache, None) };
        // SAFETY: as above.
        unsafe { raw.destroy_pipeline_layout(self.layout, None) };
    }
}
