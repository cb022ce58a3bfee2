//! What commands compute on: the runtime, the kernels' instruction set and block sizes, and Vulkan devices.

use upbeat::Runtime;
use upbeat_kernels::simd::pairs::Unit;
use upbeat_kernels::tuning::Tuning;
use upbeat_kernels::Isa;
use upbeat_vulkan::{Choice, Device, Options};

use crate::args::DeviceArg;
use crate::failure::Failure;

/// A runtime of `workers` workers, or as many as the environment and the system say.
///
/// # Errors
/// Zero workers, garbage in `UPBEAT_WORKERS`, too many workers, or threads that the system refuses.
pub(crate) fn runtime(workers: Option<usize>) -> Result<Runtime, Failure> {
    let builder = Runtime::builder();
    match workers {
        Some(0) => Err(Failure::Input("the number of workers must not be zero".into())),
        Some(workers) => Ok(builder.workers(workers).build()?),
        None => Ok(builder.build()?),
    }
}

/// The instruction set that the kernels use, after everything that the environment tells them was found to make sense.
///
/// # Errors
/// Garbage in `UPBEAT_ISA`, `UPBEAT_BF16` or `UPBEAT_TUNING`.
pub(crate) fn instruction_set() -> Result<Isa, Failure> {
    let isa = Isa::from_env()?;
    Unit::from_env()?;
    Tuning::from_env()?;
    Ok(isa)
}

/// What a device that cannot be used ends with.
pub(crate) fn offer(error: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("--device vulkan: {error}; --device cpu always works"))
}

/// The Vulkan device that is asked for, opened with `options`; `None` for the CPU. And a sentence that says which one it is, and why where
/// nobody said.
///
/// # Errors
/// A Vulkan device that cannot be used.
pub(crate) fn device(asked: &DeviceArg, options: Options) -> Result<(Option<Device>, String), Failure> {
    let cpu = |why: &str| Ok((None, format!("device: cpu{why}")));
    let opened = match asked {
        DeviceArg::Cpu => return cpu(""),
        DeviceArg::Best => match Device::open(&options) {
            Err(error) => return cpu(&format!(", as {error}")),
            opened => opened,
        },
        DeviceArg::Vulkan => Device::open(&options),
        DeviceArg::Which(word) => Device::open(&options.device(Choice::parse(word))),
    };
    let device = opened.map_err(offer)?;
    let said = format!("device: {}, {}", device.info().name, device.info().kind);
    Ok((Some(device), said))
}
