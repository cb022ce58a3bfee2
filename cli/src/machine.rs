//! The runtime that commands compute on.

use upbeat::Runtime;

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
