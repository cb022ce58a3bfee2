//! The global runtime: built at the first use, never shut down. A child of `fork` has one of its own.
//! In a model `in_model` takes its place.

use std::ptr::null_mut;

use super::fork;
use super::handle::Runtime;
use super::once::Once;
use crate::sync::process::AtomicPtr;
use crate::sync::Ordering;

/// The global runtime of one process. A child begins with another one, for whoever held a lock of the parent's, or was building
/// its runtime, may not be in the child.
struct Global {
    generation: u64,
    runtime: Once<Runtime>,
}

/// The runtime of threads that are not workers.
///
/// # Panics
/// When it cannot be built, with the reason. The next use tries again, so a passing shortage of threads is not final.
pub(crate) fn global() -> &'static Runtime {
    match of_this_process().runtime.get_or_make(Runtime::new) {
        Ok(runtime) => runtime,
        Err(error) => panic!("the global runtime could not be built: {error}"),
    }
}

fn of_this_process() -> &'static Global {
    static GLOBAL: AtomicPtr<Global> = AtomicPtr::new(null_mut());
    let generation = fork::generation();
    // Acquire: with the release below, for what the pointer leads to.
    let found = GLOBAL.load(Ordering::Acquire);
    // SAFETY: null, or one that was leaked below.
    if let Some(global) = unsafe { found.as_ref() }.filter(|global| global.generation == generation) {
        return global;
    }
    let fresh = Box::into_raw(Box::new(Global { generation, runtime: Once::new() }));
    match GLOBAL.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: leaked for good; the parent's, which it may replace, stays as well, for its threads may not be here to end it.
        Ok(_) => unsafe { &*fresh },
        Err(other) => {
            // SAFETY: it was made above and nobody has seen it.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: what is there now was leaked by another thread of this process, and is of this generation.
            unsafe { &*other }
        }
    }
}
