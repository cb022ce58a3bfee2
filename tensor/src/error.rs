//! What can go wrong with a tensor, each told in one sentence that says what to do.

use std::fmt;
use std::ops::Range;

use upbeat_kernels::pool::PoolError;
use upbeat_kernels::ShapeError;
use upbeat_vulkan::{VulkanError, VulkanUnavailable};

use crate::Device;

/// Why an operation on tensors failed. Nothing was computed then.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum TensorError {
    /// Shapes that do not fit the operation, or each other.
    Shape {
        /// The operation.
        operation: &'static str,
        /// The shapes that it takes.
        takes: &'static str,
        /// Those that it was given.
        given: Vec<Vec<usize>>,
        /// What helps.
        advice: &'static str,
    },
    /// A shape of another number of numbers than there are.
    Length {
        /// The operation.
        operation: &'static str,
        /// The shape.
        shape: Vec<usize>,
        /// How many numbers there are.
        found: usize,
    },
    /// Rows that there are not.
    Range {
        /// The operation.
        operation: &'static str,
        /// The rows asked for.
        range: Range<usize>,
        /// The tensor's shape.
        shape: Vec<usize>,
    },
    /// Operands on two devices.
    TwoDevices {
        /// The operation.
        operation: &'static str,
        /// Where its first operand is.
        first: Device,
        /// Where another one is.
        other: Device,
    },
    /// An operand is on a device as it was before it was lost and opened anew.
    Stale {
        /// The operation.
        operation: &'static str,
        /// The device.
        device: Device,
    },
    /// A token or a position is outside its table.
    Index {
        /// The operation.
        operation: &'static str,
        /// The largest one.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// A number that an operation cannot work with.
    Value {
        /// The operation.
        operation: &'static str,
        /// What it must be.
        must: &'static str,
        /// What it is.
        found: f64,
    },
    /// A size beyond what a kernel counts.
    Size {
        /// The operation.
        operation: &'static str,
        /// Where it was to run.
        device: Device,
        /// What the kernel says.
        error: ShapeError,
    },
    /// The CPU has no memory for what an operation gives.
    Memory {
        /// The operation.
        operation: &'static str,
        /// What the pool says.
        error: PoolError,
    },
    /// A device cannot be opened.
    Unavailable {
        /// The device.
        device: Device,
        /// Why.
        error: VulkanUnavailable,
    },
    /// A device is open already, with options of its own.
    AlreadyOpen {
        /// The device.
        device: Device,
    },
    /// Work on a device failed: there, or when it was handed over.
    Vulkan {
        /// The operation that was told: the one that failed, or one that needs what an earlier one was to compute.
        operation: &'static str,
        /// The device.
        device: Device,
        /// Why.
        error: VulkanError,
    },
}

/// `[2, 3] and [4]`
struct Shapes<'a>(&'a [Vec<usize>]);

impl fmt::Display for Shapes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, shape) in self.0.iter().enumerate() {
            let between = if at == 0 { "" } else { " and " };
            write!(f, "{between}{shape:?}")?;
        }
        if self.0.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

/// What helps against what a device says, where it does not say so itself.
fn advice(error: &VulkanError) -> &'static str {
    match error {
        VulkanError::TooLarge { .. } => ", or on Device::Cpu",
        VulkanError::OutOfMemory { .. } | VulkanError::Feature { .. } | VulkanError::Call { .. } => {
            "; Device::Cpu always works"
        }
        _ => "",
    }
}

impl fmt::Display for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { operation, takes, given, advice } => {
                write!(f, "{operation} takes {takes}, but was given {}; {advice}", Shapes(given))
            }
            Self::Length { operation, shape, found } => write!(
                f,
                "{operation}: {shape:?} is a shape of {} numbers, but there are {found}; give it a shape whose product is \
                 {found}",
                shape.iter().product::<usize>()
            ),
            Self::Range { operation, range, shape } => write!(
                f,
                "{operation}: {range:?} is no range of rows of {shape:?}; give it one that ends at {} at most and begins no later",
                shape.first().copied().unwrap_or(0)
            ),
            Self::TwoDevices { operation, first, other } => write!(
                f,
                "{operation}: one operand is on {first} and another on {other}; move that one by \
                 `.to(&Device::{first:?})`"
            ),
            Self::Stale { operation, device } => write!(
                f,
                "{operation}: {device} was lost and opened anew since an operand was made; make that one again"
            ),
            Self::Index { operation, index, len } => {
                write!(f, "{operation}: there is no row {index} in a table of {len}; give it an index below that")
            }
            Self::Value { operation, must, found } => write!(f, "{operation}: {must}, but is {found}"),
            Self::Size { operation, device: Device::Cpu, error } => {
                write!(f, "{operation}: {error}; work on parts of it")
            }
            Self::Size { operation, device, error } => {
                write!(f, "{operation} on {device}: {error}; work on parts of it, or on Device::Cpu")
            }
            Self::Memory { operation, error } => {
                write!(f, "{operation}: {error}; drop tensors that are not needed, or work on parts")
            }
            Self::Unavailable { device, error } => {
                write!(f, "{device} cannot be opened: {error}; Device::Cpu always works")
            }
            Self::AlreadyOpen { device } => {
                write!(f, "{device} is open already; drop its tensors and handles before it is opened with options")
            }
            Self::Vulkan { operation, device, error } => {
                write!(f, "{operation} on {device}: {error}{}", advice(error))
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorError({self})")
    }
}

impl std::error::Error for TensorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Size { error, .. } => Some(error),
            Self::Memory { error, .. } => Some(error),
            Self::Unavailable { error, .. } => Some(error),
            Self::Vulkan { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl TensorError {
    /// What a kernel of `device` says of `operation`.
    pub(crate) fn of(operation: &'static str, device: Device, error: VulkanError) -> Self {
        match error {
            VulkanError::Shape(error) => Self::Size { operation, device, error },
            error => Self::Vulkan { operation, device, error },
        }
    }
}
