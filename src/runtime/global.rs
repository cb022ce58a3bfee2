//! The global runtime: built at the first use, never shut down.

use std::sync::{Mutex, OnceLock};

use super::handle::Runtime;

/// The runtime of threads that are not workers.
///
/// # Panics
/// When it cannot be built, with the reason. The next use tries again, so a passing shortage of threads is not final.
pub(crate) fn global() -> &'static Runtime {
    static GLOBAL: OnceLock<Runtime> = OnceLock::new();
    static BUILDING: Mutex<()> = Mutex::new(());
    if let Some(runtime) = GLOBAL.get() {
        return runtime;
    }
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(runtime) = GLOBAL.get() {
        return runtime;
    }
    let built =
        Runtime::new().unwrap_or_else(|error| panic!("the global runtime could not be built: {error}"));
    GLOBAL.get_or_init(|| built)
}
