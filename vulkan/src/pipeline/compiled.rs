//! A pipeline of a user's own program: unlike those of the crate's kernels it ends with its last handle, once the device is done with it.

use std::sync::atomic::{AtomicU64, Ordering};

use ash::vk;

use super::Constants;
use crate::device::Device;
use crate::error::VulkanError;

/// A pipeline that keeps its device alive.
pub(crate) struct Compiled {
    device: Device,
    raw: vk::Pipeline,
    /// The submission that used it last.
    last_use: AtomicU64,
}

impl Compiled {
    /// A pipeline of `words`, which are valid SPIR-V.
    pub(crate) fn new(device: &Device, words: &[u32], constants: &[u32]) -> Result<Self, VulkanError> {
        let raw = device.inner.pipelines.make(&device.inner, words, Constants::new(constants), false)?;
        Ok(Self { device: device.clone(), raw, last_use: AtomicU64::new(0) })
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn raw(&self) -> vk::Pipeline {
        self.raw
    }

    /// The submission `value` uses it.
    pub(crate) fn used_by(&self, value: u64) {
        self.last_use.fetch_max(value, Ordering::Relaxed);
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        let device = &self.device.inner;
        device.pipelines.retire(device, self.raw, self.last_use.load(Ordering::Relaxed));
    }
}
