//! Tensor, attention and flow kernels on Vulkan GPUs, for the [`upbeat`] runtime.
//!
//! The Vulkan loader is found at run time: the same binary runs where there is none, and [`Device::open`] says why there is no GPU. Work is
//! recorded as [`Commands`], submitted at once or [in batches](Batched) of many tasks, and awaited: no worker ever
//! blocks on the device. Barriers are derived from what each piece of work reads and writes.
//!
//! Every kernel has a twin in [`upbeat_kernels::twin`] that says what it computes; their shaders are in `shaders/`.

mod calls;
mod choice;
#[allow(unsafe_code)]
mod chosen;
#[allow(unsafe_code)]
mod commands;
#[allow(unsafe_code)]
mod cooperative;
#[allow(unsafe_code)]
mod device;
mod error;
#[allow(unsafe_code)]
mod instance;
mod kernels;
#[allow(unsafe_code)]
mod limits;
mod matrix;
#[allow(unsafe_code)]
mod memory;
mod options;
#[allow(unsafe_code)]
mod pipeline;
#[allow(unsafe_code)]
mod submit;
mod switch;
pub mod tuning;

pub use calls::{Call, Fault};
pub use choice::{Choice, Kind};
pub use commands::Commands;
pub use cooperative::CooperativeMatrices;
pub use device::Device;
pub use error::{Reason, VulkanError, VulkanUnavailable};
pub use half::f16;
pub use instance::{devices, DeviceInfo};
pub use kernels::{
    Adapted, Arithmetic, Attention, AttentionLayout, DeviceProgram, Epilogue, Gemm, Rope, TileSummary,
};
pub use limits::Limits;
pub use matrix::Matrix;
pub use memory::{Buffer, Defragmented, Float, HostMemory, MemoryBudget, MemoryMetrics, Scalar};
pub use options::Options;
pub use pipeline::PipelineCache;
pub use submit::{Batched, Done, KernelMetrics, Metrics, Pending};
#[doc(hidden)]
pub use switch::is_required;
