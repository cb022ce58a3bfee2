//! What commands compute on: the runtime, and the kernels' instruction set and block sizes.

use upbeat::Runtime;
use upbeat_kernels::simd::pairs::Unit;
use upbeat_kernels::tuning::Tuning;
use upbeat_kernels::Isa;

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
