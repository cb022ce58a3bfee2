//! How a device is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::calls::Fault;
use crate::choice::Choice;
use crate::error::VulkanUnavailable;
use crate::switch::switch;

/// How a [`Device`](crate::Device) is opened.
#[derive(Clone)]
pub struct Options {
    pub(crate) choice: Choice,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) staging: usize,
    pub(crate) timeout: Duration,
    pub(crate) validate: bool,
    /// What the environment says that cannot be heeded.
    pub(crate) refused: Option<VulkanUnavailable>,
    pub(crate) always_stage: bool,
    pub(crate) timestamps: bool,
    pub(crate) pipeline_cache: Option<PathBuf>,
    pub(crate) loader: Option<PathBuf>,
    pub(crate) fault: Option<Arc<Fault>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            choice: Choice::Fastest,
            memory_limit: None,
            staging: 16 << 20,
            timeout: Duration::from_secs(60),
            validate: false,
            refused: None,
            always_stage: false,
            timestamps: false,
            pipeline_cache: None,
            loader: None,
            fault: None,
        }
    }
}

impl Options {
    /// The fastest kind of device, without validation.
    pub fn new() -> Self {
        Self::default()
    }

    /// [`new`](Self::new), as the environment has it: `UPBEAT_VULKAN_DEVICE` is a place in [`devices`](crate::devices), a kind
    /// (`discrete`, `integrated`, `virtual`, `other`, `cpu`), `any`, or part of a name; `UPBEAT_VULKAN_VALIDATE` asks for validation
    /// (`1`, `true`, `yes`, `on`) or not (`0`, `false`, `no`, `off`, or nothing). Another value is told when a device is looked for, unless
    /// [`validate`](Self::validate) says what to do.
    pub fn from_env() -> Self {
        let word = |name| std::env::var(name).unwrap_or_default();
        let options = Self::new().device(Choice::parse(&word("UPBEAT_VULKAN_DEVICE")));
        match switch("UPBEAT_VULKAN_VALIDATE") {
            Ok(validate) => options.validate(validate),
            Err(refused) => Self { refused: Some(refused), ..options },
        }
    }

    /// Which device.
    pub fn device(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }

    /// The most bytes of the device's memory that buffers may take together. Default: what the device has.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Bytes of the ring through which numbers travel where the host cannot write the device's memory, for each direction: 16 MiB
    /// unless told, 64 KiB at least. More numbers than fit travel in several pieces.
    pub fn staging(mut self, bytes: usize) -> Self {
        self.staging = bytes.max(64 << 10);
        self
    }

    /// How long submitted work may take before the device is given up as lost: 60 s unless told. Systems have limits of their own, often
    /// of seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks for the validation layer with its core, synchronization and best-practice checks; [`Device::messages`](crate::Device::messages)
    /// has what it said. Slow: for tests.
    pub fn validate(mut self, validate: bool) -> Self {
        (self.validate, self.refused) = (validate, None);
        self
    }

    /// Copies through the staging ring even where the host can write the device's memory: for tests on such a device.
    pub fn always_stage(mut self, always: bool) -> Self {
        self.always_stage = always;
        self
    }

    /// Measures each dispatch on the device; [`Device::metrics`](crate::Device::metrics) then has times.
    pub fn timestamps(mut self, timestamps: bool) -> Self {
        self.timestamps = timestamps;
        self
    }

    /// Where compiled pipelines are kept from one process to the next. Default: nowhere. A file that is damaged, or of another device or
    /// driver, is made anew; [`Device::pipeline_cache`](crate::Device::pipeline_cache) says so.
    pub fn pipeline_cache(mut self, path: impl Into<PathBuf>) -> Self {
        self.pipeline_cache = Some(path.into());
        self
    }

    /// The Vulkan loader's library, where it is not in the system's usual place.
    pub fn loader(mut self, path: impl Into<PathBuf>) -> Self {
        self.loader = Some(path.into());
        self
    }

    /// Lets calls fail: for tests.
    #[doc(hidden)]
    pub fn fault(mut self, fault: Arc<Fault>) -> Self {
        self.fault = Some(fault);
        self
    }
}
