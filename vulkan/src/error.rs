//! What can go wrong with a GPU, each told in one sentence that says what to do.

use std::fmt;
use std::time::Duration;

use ash::vk;
use upbeat::batch::{BatchError, Refusal};
use upbeat_kernels::flow::FlowError;
use upbeat_kernels::ShapeError;

use crate::calls::Call;
use crate::memory::MemoryBudget;
use crate::tuning::TuningError;

/// There is no GPU to work with. The CPU's kernels are still there.
#[derive(Clone, PartialEq, Eq)]
pub struct VulkanUnavailable {
    /// Why.
    pub reason: Reason,
}

/// Why there is no GPU to work with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No Vulkan loader could be opened.
    NoLoader {
        /// What the system's linker said.
        message: String,
    },
    /// The loader or the driver is older than Vulkan 1.3.
    Version {
        /// Which: the loader, or a device's name.
        what: String,
        /// Its version.
        found: String,
    },
    /// The loader knows no device.
    NoDevice,
    /// No device is of the kind or the name asked for.
    NoMatch {
        /// What was asked for.
        wanted: String,
        /// The devices there are.
        found: Vec<String>,
    },
    /// Nothing but a device that computes on the CPU, slower than the CPU's own kernels.
    SoftwareOnly {
        /// Its name.
        device: String,
    },
    /// The device has no queue that computes.
    NoComputeQueue {
        /// Its name.
        device: String,
    },
    /// The device lacks a feature that every kernel needs.
    Feature {
        /// Its name.
        device: String,
        /// The feature, as Vulkan calls it.
        feature: &'static str,
    },
    /// The validation layer was asked for and is not installed.
    NoValidation,
    /// A switch in the environment is neither on nor off.
    Environment {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The shapes of workgroups that were asked for cannot be had.
    Tuning {
        /// Why.
        sentence: String,
    },
    /// A call failed.
    Call {
        /// Which one.
        call: Call,
        /// Vulkan's word for why.
        result: String,
    },
}

impl From<TuningError> for VulkanUnavailable {
    fn from(error: TuningError) -> Self {
        Self { reason: Reason::Tuning { sentence: error.to_string() } }
    }
}

impl VulkanUnavailable {
    /// `call` gave back `result`.
    pub(crate) fn of(call: Call, result: vk::Result) -> Self {
        Self { reason: Reason::Call { call, result: format!("{result:?}") } }
    }
}

impl fmt::Display for VulkanUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::NoLoader { message } => {
                write!(f, "no Vulkan loader was found ({message}); install the GPU's Vulkan driver, or stay on the CPU")
            }
            Reason::Version { what, found } => {
                write!(f, "{what} has Vulkan {found} but 1.3 is needed; update the GPU's driver")
            }
            Reason::NoDevice => write!(f, "the Vulkan loader knows no device; install the GPU's driver"),
            Reason::NoMatch { wanted, found } => {
                write!(f, "no Vulkan device is {wanted:?}; choose among {}", found.join(", "))
            }
            Reason::SoftwareOnly { device } => write!(
                f,
                "the only Vulkan device is {device}, which computes on the CPU, slower than the kernels for CPUs; to use it \
                 all the same say UPBEAT_VULKAN_DEVICE=cpu"
            ),
            Reason::NoComputeQueue { device } => {
                write!(f, "{device} has no queue that computes; choose another with UPBEAT_VULKAN_DEVICE")
            }
            Reason::Feature { device, feature } => {
                write!(f, "{device} lacks {feature}, which every kernel needs; update its driver or choose another device")
            }
            Reason::NoValidation => write!(
                f,
                "the layer VK_LAYER_KHRONOS_validation is not installed; install it, or do not ask for validation"
            ),
            Reason::Call { call, result } => {
                write!(f, "{call} failed with {result}; update the GPU's driver, or stay on the CPU")
            }
            Reason::Tuning { sentence } => {
                write!(f, "{sentence}; without it (UPBEAT_VULKAN_TUNING=off) kernels take shapes of their own")
            }
            Reason::Environment { variable, value } => {
                write!(f, "{variable}={value:?} is none of 1, true, yes, on, 0, false, no and off")
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for VulkanUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VulkanUnavailable({self})")
    }
}

impl std::error::Error for VulkanUnavailable {}

/// Why work on a GPU failed. The runtime and the CPU's kernels go on.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum VulkanError {
    /// Buffers do not fit the shape.
    Shape(ShapeError),
    /// A flow cannot be advanced like this.
    Flow(FlowError),
    /// A buffer belongs to another device.
    OtherDevice,
    /// A program was compiled for another device.
    ProgramOfOtherDevice,
    /// What a kernel writes overlaps what else it reads or writes, and is not the very same numbers.
    Aliased {
        /// The method that was called.
        kernel: &'static str,
    },
    /// The device's memory, or the limit set for it, does not hold this.
    OutOfMemory {
        /// Bytes asked for.
        asked: u64,
        /// Bytes in use.
        used: u64,
        /// The limit, where one was set.
        limit: Option<u64>,
        /// The driver's budget, where that is exceeded ([`Options::over_budget`](crate::Options::over_budget)).
        budget: Option<MemoryBudget>,
    },
    /// Larger than the device allows.
    TooLarge {
        /// What, and the limit's name.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The most there may be.
        most: u64,
    },
    /// The device does not have what 16-bit floats need.
    Feature {
        /// The feature, as Vulkan calls it.
        feature: &'static str,
    },
    /// The device cannot use the host's memory where it lies.
    NoImport,
    /// The device was lost: what it held is gone. Open it anew.
    DeviceLost,
    /// Nothing ended for too long though work was under way; the device is given up as lost.
    Timeout {
        /// The time that a submission is given.
        after: Duration,
    },
    /// The batch former took no work.
    Refused(Refusal),
    /// The batch former lost the work.
    Batch(BatchError),
    /// A call failed.
    Call {
        /// Which one.
        call: Call,
        /// Vulkan's word for why.
        result: String,
    },
}

impl VulkanError {
    /// What `result`, which `call` gave back, means.
    pub(crate) fn of(call: Call, result: vk::Result) -> Self {
        match result {
            vk::Result::ERROR_DEVICE_LOST => Self::DeviceLost,
            _ => Self::Call { call, result: format!("{result:?}") },
        }
    }
}

impl fmt::Display for VulkanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(error) => error.fmt(f),
            Self::Flow(error) => error.fmt(f),
            Self::OtherDevice => write!(f, "a buffer belongs to another device; copy it through the host"),
            Self::ProgramOfOtherDevice => {
                write!(f, "a program was compiled for another device; compile it for this one")
            }
            Self::Aliased { kernel } => {
                write!(f, "{kernel}: what is written overlaps what else is read or written; give it a buffer of its own")
            }
            Self::OutOfMemory { asked, used, limit: Some(limit), .. } => {
                write!(f, "{asked} bytes more than the {used} in use exceed the limit of {limit} bytes of the device's memory; drop buffers or raise Options::memory_limit")
            }
            Self::OutOfMemory { asked, budget: Some(MemoryBudget { bytes, used }), .. } => {
                write!(f, "{asked} bytes more than the {used} in use exceed the driver's budget of {bytes} bytes for this program; drop buffers, end other programs on the device, or allow it by Options::over_budget")
            }
            Self::OutOfMemory { asked, used, .. } => {
                write!(f, "the device has no {asked} bytes left; {used} are in use here, and other programs have their share; drop buffers or work in smaller parts")
            }
            Self::TooLarge { what, size, most } => {
                write!(f, "{what} is {size} but this device allows {most} at most; work in smaller parts")
            }
            Self::Feature { feature } => {
                write!(f, "this device lacks {feature}, which 16-bit floats need; keep the numbers in f32")
            }
            Self::NoImport => {
                write!(f, "this device cannot use the host's memory where it lies (VK_EXT_external_memory_host); upload the numbers")
            }
            Self::DeviceLost => {
                write!(f, "the device was lost, and what it held; open it anew, or go on on the CPU")
            }
            Self::Timeout { after } => {
                write!(f, "the device did not finish within {after:?} and was given up; open it anew, or raise Options::timeout")
            }
            Self::Refused(reason) => reason.fmt(f),
            Self::Batch(error) => error.fmt(f),
            Self::Call { call, result } => {
                write!(f, "{call} failed with {result}; try again, or open the device anew where it is refused again")
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for VulkanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VulkanError({self})")
    }
}

impl std::error::Error for VulkanError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Shape(error) => Some(error),
            Self::Flow(error) => Some(error),
            Self::Refused(reason) => Some(reason),
            Self::Batch(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ShapeError> for VulkanError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_says_what_to_do() {
        let call = Call::CreateBuffer;
        let result = "ERROR_UNKNOWN".to_owned();
        let device = "GPU".to_owned();
        let budget = MemoryBudget { bytes: 3, used: 3 };
        let reasons = [
            Reason::NoLoader { message: "not found".to_owned() },
            Reason::Version { what: device.clone(), found: "1.1.0".to_owned() },
            Reason::NoDevice,
            Reason::NoMatch { wanted: "1".to_owned(), found: vec![device.clone()] },
            Reason::SoftwareOnly { device: device.clone() },
            Reason::NoComputeQueue { device: device.clone() },
            Reason::Feature { device, feature: "synchronization2" },
            Reason::NoValidation,
            Reason::Tuning { sentence: "it is of another device".to_owned() },
            Reason::Call { call, result: result.clone() },
        ];
        let errors = [
            VulkanError::OtherDevice,
            VulkanError::Aliased { kernel: "map" },
            VulkanError::OutOfMemory { asked: 1, used: 2, limit: Some(2), budget: None },
            VulkanError::OutOfMemory { asked: 1, used: 2, limit: None, budget: None },
            VulkanError::OutOfMemory { asked: 1, used: 2, limit: None, budget: Some(budget) },
            VulkanError::TooLarge { what: "a buffer", size: 2, most: 1 },
            VulkanError::Feature { feature: "storageBuffer16BitAccess" },
            VulkanError::NoImport,
            VulkanError::DeviceLost,
            VulkanError::Timeout { after: Duration::from_secs(1) },
            VulkanError::Call { call, result },
        ];
        let told = reasons.map(|reason| VulkanUnavailable { reason }.to_string());
        for told in told.into_iter().chain(errors.map(|error| error.to_string())) {
            // What is wrong; then what helps.
            assert!(told.split_once("; ").is_some_and(|(_, advice)| !advice.is_empty()), "{told}");
        }
    }
}
