//! Which device a tensor is on: a small value, and how one is found on a machine.

use std::fmt;
use std::str::FromStr;

use upbeat_vulkan::{Choice, DeviceInfo, Options, VulkanUnavailable};

use crate::opened::Opened;
use crate::TensorError;

/// Where a tensor's numbers are and its operations run.
///
/// A value, not a handle: a Vulkan device is opened with its first tensor and closed with the last one; [`open`](Self::open) keeps it open
/// in between. As words: `cpu`, `vulkan:0`; see [`from_str`](Self::from_str).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// The machine's cores, all that the current runtime has.
    #[default]
    Cpu,
    /// The Vulkan device at this place in [`upbeat_vulkan::devices`], which `upbeat info` shows.
    Vulkan(usize),
}

/// A device that is there, opened or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// The device.
    pub device: Device,
    /// What it is; `None` for the CPU.
    pub vulkan: Option<DeviceInfo>,
}

/// The device that [`Device::best`] found. It stays open as long as this lives.
#[derive(Clone, Debug)]
pub struct Best {
    opened: Opened,
    /// Why it is the CPU.
    refused: Option<VulkanUnavailable>,
}

impl Device {
    /// All devices: the CPU, then Vulkan's. Without a Vulkan loader the CPU alone; [`best`](Self::best) tells why.
    pub fn available() -> Vec<Available> {
        let found = upbeat_vulkan::devices().unwrap_or_default().into_iter().enumerate();
        let vulkan = found.map(|(place, info)| Available { device: Self::Vulkan(place), vulkan: Some(info) });
        std::iter::once(Available { device: Self::Cpu, vulkan: None }).chain(vulkan).collect()
    }

    /// The GPU that `UPBEAT_VULKAN_DEVICE` names or else the fastest kind, opened; the CPU where there is none or it cannot be opened, and
    /// then [`Best::refused`] says why. A Vulkan driver that computes on the CPU is taken only where that variable asks for it: our own
    /// kernels are faster.
    ///
    /// ```
    /// use upbeat_tensor::Device;
    ///
    /// let best = Device::best();
    /// println!("{best}"); // "vulkan:0, Radeon RX 7600", or "cpu, as no Vulkan loader was found (…); install …"
    /// assert_eq!(best.refused().is_some(), best.device() == Device::Cpu);
    /// ```
    pub fn best() -> Best {
        let opened = Options::from_env().place().and_then(Opened::vulkan_at);
        match opened {
            Ok(opened) => Best { opened, refused: None },
            Err(error) => Best { opened: Opened::cpu(), refused: Some(error) },
        }
    }

    /// Opens it, if that has not happened yet, and keeps it open while the handle lives. A Vulkan device is opened as
    /// [`Options::from_env`] says but for the choice; who needs other options says so before the first tensor, by
    /// [`open_with`](Self::open_with).
    ///
    /// # Errors
    /// [`TensorError::Unavailable`]; never for the CPU.
    pub fn open(&self) -> Result<Opened, TensorError> {
        Opened::of(*self)
    }

    /// Opens it with options: limits of memory, time-outs, a file for compiled pipelines. Which device `options` choose does not matter,
    /// and the CPU takes none.
    ///
    /// # Errors
    /// [`TensorError::AlreadyOpen`] while tensors or handles keep it open; [`TensorError::Unavailable`].
    pub fn open_with(&self, options: &Options) -> Result<Opened, TensorError> {
        Opened::with(*self, options)
    }
}

/// `cpu`, `vulkan:0`
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Vulkan(place) => write!(f, "vulkan:{place}"),
        }
    }
}

/// What names no device.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum ParseDeviceError {
    /// The word is none of those that there are.
    Unknown {
        /// The word.
        word: String,
    },
    /// It names a device that is not there.
    Unavailable(VulkanUnavailable),
}

impl fmt::Display for ParseDeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { word } => {
                write!(f, "{word:?} names no device; say cpu, best, vulkan, or vulkan:0 for the first of `upbeat info`")
            }
            Self::Unavailable(error) => write!(f, "{error}; the device cpu always works"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for ParseDeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParseDeviceError({self})")
    }
}

impl std::error::Error for ParseDeviceError {}

impl FromStr for Device {
    type Err = ParseDeviceError;

    /// `cpu`; `vulkan:1`, a place, which is not looked up before it is opened; `vulkan:WORD`, a kind or a part of a name, and `vulkan` alone,
    /// the one that `UPBEAT_VULKAN_DEVICE` names or the fastest GPU; `best`, [`Device::best`].
    fn from_str(word: &str) -> Result<Self, ParseDeviceError> {
        let trimmed = word.trim();
        let place =
            |options: &Options| options.place().map(Self::Vulkan).map_err(ParseDeviceError::Unavailable);
        match trimmed.split_once(':') {
            None if trimmed.eq_ignore_ascii_case("cpu") => Ok(Self::Cpu),
            None if trimmed.eq_ignore_ascii_case("best") => Ok(Self::best().device()),
            None if trimmed.eq_ignore_ascii_case("vulkan") => place(&Options::from_env()),
            Some((kind, which)) if kind.eq_ignore_ascii_case("vulkan") && !which.trim().is_empty() => {
                match Choice::parse(which) {
                    Choice::Index(index) => Ok(Self::Vulkan(index)),
                    choice => place(&Options::from_env().device(choice)),
                }
            }
            _ => Err(ParseDeviceError::Unknown { word: word.to_owned() }),
        }
    }
}

impl fmt::Display for Available {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.vulkan {
            Some(info) => write!(f, "{}, {} ({})", self.device, info.name, info.kind),
            None => write!(f, "{}", self.device),
        }
    }
}

impl Best {
    /// The device.
    pub fn device(&self) -> Device {
        self.opened.device()
    }

    /// Its handle.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Why it is the CPU; `None` where it is a GPU.
    pub fn refused(&self) -> Option<&VulkanUnavailable> {
        self.refused.as_ref()
    }
}

/// The device, and why it is the CPU where it is.
impl fmt::Display for Best {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.device())?;
        match (&self.refused, self.opened.vulkan()) {
            (Some(error), _) => write!(f, ", as {error}"),
            (None, Some(opened)) => write!(f, ", {}", opened.info().name),
            (None, None) => Ok(()),
        }
    }
}
