//! Opened devices: one for each place in a process, shared by its tensors, gone with the last of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use upbeat_vulkan::{Choice, Options, VulkanUnavailable};

use crate::stream::Stream;
use crate::{Device, TensorError};

/// The devices that are open, by place.
static OPEN: Mutex<Open> = Mutex::new(BTreeMap::new());

/// A device that stays open while this lives. Clones are handles of the same one.
#[derive(Clone)]
pub struct Opened {
    /// `None` for the CPU, which is always open.
    stream: Option<Arc<Stream>>,
}

type Open = BTreeMap<usize, Weak<Stream>>;

/// The open device at `place`. One that was lost counts as closed.
fn known(open: &Open, place: usize) -> Option<Arc<Stream>> {
    open.get(&place).and_then(Weak::upgrade).filter(|stream| !stream.is_lost())
}

fn make(open: &mut Open, place: usize, options: &Options) -> Result<Arc<Stream>, VulkanUnavailable> {
    let opened = upbeat_vulkan::Device::open(&options.clone().device(Choice::Index(place)))?;
    let stream = Arc::new(Stream::new(place, opened));
    open.insert(place, Arc::downgrade(&stream));
    Ok(stream)
}

/// The registry. Held while a device is opened: whoever comes meanwhile gets the same one.
fn open_devices() -> MutexGuard<'static, Open> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Opened {
    pub(crate) fn cpu() -> Self {
        Self { stream: None }
    }

    /// The Vulkan device at `place`, opened if it is not yet.
    pub(crate) fn vulkan_at(place: usize) -> Result<Self, VulkanUnavailable> {
        let mut open = open_devices();
        let stream = match known(&open, place) {
            Some(stream) => stream,
            None => make(&mut open, place, &Options::from_env())?,
        };
        Ok(Self { stream: Some(stream) })
    }

    pub(crate) fn of(device: Device) -> Result<Self, TensorError> {
        match device {
            Device::Cpu => Ok(Self::cpu()),
            Device::Vulkan(place) => {
                Self::vulkan_at(place).map_err(|error| TensorError::Unavailable { device, error })
            }
        }
    }

    pub(crate) fn with(device: Device, options: &Options) -> Result<Self, TensorError> {
        let Device::Vulkan(place) = device else { return Ok(Self::cpu()) };
        let mut open = open_devices();
        if known(&open, place).is_some() {
            return Err(TensorError::AlreadyOpen { device });
        }
        let made = make(&mut open, place, options);
        let stream = made.map_err(|error| TensorError::Unavailable { device, error })?;
        Ok(Self { stream: Some(stream) })
    }

    pub(crate) fn into_stream(self) -> Option<Arc<Stream>> {
        self.stream
    }

    /// Which one it is.
    pub fn device(&self) -> Device {
        self.stream.as_ref().map_or(Device::Cpu, |stream| stream.place())
    }

    /// The Vulkan device, with its name, limits, memory and counts; `None` for the CPU.
    pub fn vulkan(&self) -> Option<&upbeat_vulkan::Device> {
        self.stream.as_ref().map(|stream| stream.device())
    }

    /// Hands over what was recorded, without waiting for it. Nobody needs this for an answer: reading does it. It lets a device begin
    /// early, and frees what dropped tensors held until then. Nothing to do for the CPU, where operations run at once.
    ///
    /// # Errors
    /// What handing over failed with; whoever reads a result of that work is told the same.
    pub fn flush(&self) -> Result<(), TensorError> {
        let Some(stream) = &self.stream else { return Ok(()) };
        stream.flush().map_err(|error| TensorError::of("flush", stream.place(), error))
    }

    /// [`flush`](Self::flush), then waits until the device has done everything. A worker runs other tasks meanwhile.
    ///
    /// # Errors
    /// As [`flush`](Self::flush), and a lost device.
    pub fn finish(&self) -> Result<(), TensorError> {
        let Some(stream) = &self.stream else { return Ok(()) };
        stream.finish().map_err(|error| TensorError::of("finish", stream.place(), error))
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opened").field(&self.device()).finish()
    }
}
