//! How a device is opened.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::calls::Fault;
use crate::choice::Choice;
use crate::error::{Reason, VulkanUnavailable};
use crate::submit::CopyQueue;
use crate::switch::switch;
use crate::tuning::{Tuning, Wanted};

const VALIDATE: &str = "UPBEAT_VULKAN_VALIDATE";
const COOPERATIVE: &str = "UPBEAT_VULKAN_COOPERATIVE";

/// Where compiled pipelines are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CacheFile {
    Nowhere,
    /// In the user's folder for caches, a file for each device.
    Usual,
    At(PathBuf),
}

/// How a [`Device`](crate::Device) is opened.
#[derive(Clone)]
pub struct Options {
    pub(crate) choice: Choice,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) over_budget: bool,
    pub(crate) budget_of_test: Option<u64>,
    pub(crate) staging: usize,
    pub(crate) in_flight: usize,
    pub(crate) timeout: Duration,
    pub(crate) validate: bool,
    /// What the environment says that cannot be heeded.
    refused: Vec<VulkanUnavailable>,
    pub(crate) always_stage: bool,
    pub(crate) timestamps: bool,
    pub(crate) merge_steps: bool,
    pub(crate) copies: CopyQueue,
    pub(crate) cooperative_matrices: bool,
    pub(crate) pipeline_cache: CacheFile,
    pub(crate) tuning: Wanted,
    pub(crate) loader: Option<PathBuf>,
    pub(crate) fault: Option<Arc<Fault>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            choice: Choice::Fastest,
            memory_limit: None,
            over_budget: false,
            budget_of_test: None,
            staging: 16 << 20,
            in_flight: 64,
            timeout: Duration::from_secs(60),
            validate: false,
            refused: Vec::new(),
            always_stage: false,
            timestamps: false,
            merge_steps: true,
            copies: CopyQueue::OfItsOwn,
            cooperative_matrices: true,
            pipeline_cache: CacheFile::Nowhere,
            tuning: Wanted::default(),
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
    /// (`discrete`, `integrated`, `virtual`, `other`, `cpu`), `any`, or part of a name; `UPBEAT_VULKAN_CACHE` is a file for compiled pipelines, or
    /// `off`, and without it they are in the [usual place](Self::usual_pipeline_cache); `UPBEAT_VULKAN_TUNING` is a
    /// [file of shapes](Self::tuning_file), or `off`, and without it they are those of the [usual file](Self::usual_tuning);
    /// `UPBEAT_VULKAN_VALIDATE` asks for validation
    /// (`1`, `true`, `yes`, `on`) or not (`0`, `false`, `no`, `off`, or nothing), and `UPBEAT_VULKAN_COOPERATIVE` likewise for
    /// [cooperative matrices](Self::cooperative_matrices), which are used where nothing is said. Another value of the two is told when a device is
    /// looked for, unless the method says what to do.
    pub fn from_env() -> Self {
        Self::of_words(|name| std::env::var_os(name).unwrap_or_default())
    }

    fn of_words(word: impl Fn(&str) -> OsString) -> Self {
        // What is not Unicode names no device, and is told as it is shown here.
        let device = word("UPBEAT_VULKAN_DEVICE").to_string_lossy().into_owned();
        let mut options = Self::new().device(Choice::parse(&device));
        let mut on = |name, usual| match switch(name, &word(name)) {
            Ok(told) => told.unwrap_or(usual),
            Err(refused) => {
                options.refused.push(refused);
                usual
            }
        };
        let validate = on(VALIDATE, false);
        let cooperative_matrices = on(COOPERATIVE, true);
        (options.validate, options.cooperative_matrices) = (validate, cooperative_matrices);
        let options = match word("UPBEAT_VULKAN_CACHE") {
            unset if unset.is_empty() => options.usual_pipeline_cache(),
            off if off == "off" => options,
            path => options.pipeline_cache(path),
        };
        match word("UPBEAT_VULKAN_TUNING") {
            unset if unset.is_empty() => options.usual_tuning(),
            off if off == "off" => options,
            path => options.tuning_file(path),
        }
    }

    /// What is told in code overrules what the environment says of it.
    fn heeds(mut self, told: &str) -> Self {
        self.refused.retain(
            |refused| !matches!(refused.reason, Reason::Environment { variable, .. } if variable == told),
        );
        self
    }

    /// # Errors
    /// What the environment says that cannot be heeded.
    pub(crate) fn check(&self) -> Result<(), VulkanUnavailable> {
        self.refused.first().map_or(Ok(()), |refused| Err(refused.clone()))
    }

    /// Which device.
    pub fn device(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }

    /// The most bytes of the device's memory that buffers may take together, with the ring's blocks where there is one
    /// ([`staging`](Self::staging)). Default: what the device has.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Whether buffers may take more than the driver's budget ([`Device::memory_budget`](crate::Device::memory_budget)): no unless told. A buffer
    /// that would exceed it is [refused](crate::VulkanError::OutOfMemory), because beyond it drivers move memory to where the device reads it many
    /// times slower, for every program on the device. Who would rather be slow than refused says so here. Where a driver tells no budget, the
    /// device takes what it has.
    pub fn over_budget(mut self, yes: bool) -> Self {
        self.over_budget = yes;
        self
    }

    /// What the driver is taken to say, of which as much is used as is reserved: for tests.
    #[doc(hidden)]
    pub fn budget_of_test(mut self, bytes: u64) -> Self {
        self.budget_of_test = Some(bytes);
        self
    }

    /// Bytes of the ring through which numbers travel where the host cannot write the device's memory, for each direction: 16 MiB
    /// unless told, 64 KiB at least. More numbers than fit travel in several pieces.
    pub fn staging(mut self, bytes: usize) -> Self {
        self.staging = bytes.max(64 << 10);
        self
    }

    /// How many submissions may be under way: 64 unless told, 1 at least. Who submits more waits for the oldest; each keeps a command pool and the
    /// memory that it works on. So many keep a device busy while the next are recorded; a program of many tiny ones gains more from
    /// [`Batched`](crate::Batched) than from a larger number.
    pub fn in_flight(mut self, submissions: usize) -> Self {
        self.in_flight = submissions.max(1);
        self
    }

    /// How long one submission may take, once those before it are done, before the device is given up as lost: 60 s unless told. Systems have
    /// limits of their own, often of seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks for the validation layer with its core, synchronization and best-practice checks; [`Device::messages`](crate::Device::messages)
    /// has what it said. Slow: for tests.
    pub fn validate(mut self, validate: bool) -> Self {
        self.validate = validate;
        self.heeds(VALIDATE)
    }

    /// Copies through the staging ring even where the host can write the device's memory: for tests on such a device.
    pub fn always_stage(mut self, always: bool) -> Self {
        self.always_stage = always;
        self
    }

    /// Whether small element-wise steps that depend on each other run in one dispatch ([`Commands`](crate::Commands)); they do unless told, or
    /// [measured](Self::timestamps). No result depends on it.
    pub fn merge_steps(mut self, merge: bool) -> Self {
        self.merge_steps = merge;
        self
    }

    /// Whether large copies between host and device, of a mebibyte or more, go to a queue of their own where the device has one that only copies: they run
    /// beside kernels that do not need them, and a read does not wait for kernels that were submitted after what it reads. They do unless told. No
    /// result depends on it.
    pub fn copy_queue(mut self, copies: bool) -> Self {
        self.copies = if copies { CopyQueue::OfItsOwn } else { CopyQueue::No };
        self
    }

    /// Treats the only queue as two: for tests where there is but one.
    #[doc(hidden)]
    pub fn pretend_copy_queue(mut self) -> Self {
        self.copies = CopyQueue::Pretended;
        self
    }

    /// Measures each dispatch on the device, none merged with others; [`Device::metrics`](crate::Device::metrics) then has times.
    pub fn timestamps(mut self, timestamps: bool) -> Self {
        self.timestamps = timestamps;
        self
    }

    /// Whether products of `f16` by `f16` go through cooperative matrices, the units that newer GPUs multiply small matrices with, where the
    /// device has them ([`Limits::cooperative`](crate::Limits::cooperative)): yes unless told. Sums are of f32 either way, in another order:
    /// results may differ in their last bits. Mesa's driver for CPUs imitates them, slower than the kernel without: there they serve tests.
    pub fn cooperative_matrices(mut self, cooperative: bool) -> Self {
        self.cooperative_matrices = cooperative;
        self.heeds(COOPERATIVE)
    }

    /// The file in which compiled pipelines are kept from one process to the next. Default: none. A file that is damaged, or of another device
    /// or driver, is made anew; [`Device::pipeline_cache`](crate::Device::pipeline_cache) says so.
    pub fn pipeline_cache(mut self, path: impl Into<PathBuf>) -> Self {
        self.pipeline_cache = CacheFile::At(path.into());
        self
    }

    /// Keeps compiled pipelines in the user's folder for caches, `XDG_CACHE_HOME` or `.cache` in `HOME`: in `upbeat`, a file for each kind of
    /// device. Nowhere, where neither is known.
    pub fn usual_pipeline_cache(mut self) -> Self {
        self.pipeline_cache = CacheFile::Usual;
        self
    }

    /// Keeps no pipelines.
    pub fn no_pipeline_cache(mut self) -> Self {
        self.pipeline_cache = CacheFile::Nowhere;
        self
    }

    /// The shapes of workgroups that kernels take; see [`tuning`](crate::tuning). A device that cannot run one of them is not opened.
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = Wanted::Given(tuning);
        self
    }

    /// Takes shapes from a file that [`Tuning::save`] wrote. A device is not opened where it cannot be read, is damaged, of another device or
    /// driver, or has a shape that the device cannot run.
    pub fn tuning_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tuning = Wanted::File(path.into());
        self
    }

    /// Takes shapes from the [usual file](Tuning::usual_path), as `upbeat tune` saves it, if it is there. One that cannot be used is left
    /// alone; [`Device::tuning_source`](crate::Device::tuning_source) says why.
    pub fn usual_tuning(mut self) -> Self {
        self.tuning = Wanted::Usual;
        self
    }

    /// Takes the shapes that kernels have without a search. It is so unless told.
    pub fn no_tuning(self) -> Self {
        self.tuning(Tuning::default())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, word: impl Into<OsString>) -> Options {
        let word = word.into();
        Options::of_words(move |asked| if asked == name { word.clone() } else { OsString::new() })
    }

    #[test]
    fn the_environment_says_where_pipelines_are_kept() {
        let kept = |word: &str| with("UPBEAT_VULKAN_CACHE", word).pipeline_cache;
        assert_eq!(kept(""), CacheFile::Usual);
        assert_eq!(kept("off"), CacheFile::Nowhere);
        assert_eq!(kept("a/file"), CacheFile::At("a/file".into()));
        assert_eq!(Options::new().pipeline_cache, CacheFile::Nowhere, "who is not asked writes nothing");
    }

    #[test]
    fn the_environment_says_where_shapes_are_from() {
        let wanted = |word: &str| with("UPBEAT_VULKAN_TUNING", word).tuning;
        assert_eq!(wanted(""), Wanted::Usual);
        assert_eq!(wanted("off"), Wanted::default());
        assert_eq!(wanted("a/file"), Wanted::File("a/file".into()));
        assert_eq!(Options::new().tuning, Wanted::Given(Tuning::default()), "who is not asked reads nothing");
    }

    #[test]
    fn a_switch_that_is_neither_on_nor_off_is_told_unless_code_overrules_it() {
        for name in [VALIDATE, COOPERATIVE] {
            let options = with(name, "perhaps");
            let sentence = options.check().unwrap_err().to_string();
            assert!(sentence.contains(name) && sentence.contains("perhaps"), "{sentence}");
            let (other, overruled) = match name {
                VALIDATE => (options.clone().cooperative_matrices(true), options.validate(true)),
                _ => (options.clone().validate(true), options.cooperative_matrices(true)),
            };
            assert!(other.check().is_err());
            assert!(overruled.check().is_ok());
        }
        let told = |name, word: &str| {
            let options = with(name, word);
            assert!(options.check().is_ok());
            (options.validate, options.cooperative_matrices)
        };
        assert_eq!(told(VALIDATE, ""), (false, true));
        assert_eq!(told(VALIDATE, "on"), (true, true));
        assert_eq!(told(COOPERATIVE, "no"), (false, false));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_whose_name_is_no_text_is_not_any_device() {
        use std::os::unix::ffi::OsStringExt;
        let word = OsString::from_vec(vec![b'R', 0xff]);
        assert_eq!(with("UPBEAT_VULKAN_DEVICE", word).choice, Choice::Name("R\u{fffd}".to_owned()));
        assert_eq!(with("UPBEAT_VULKAN_DEVICE", " cpu ").choice, Choice::parse("cpu"));
    }
}
