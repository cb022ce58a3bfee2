//! The runtime that the free functions use in a model: one for each run, built before it and shut down after it.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::handle::Runtime;
use crate::model::Pool;
use crate::sync::thread;

std::thread_local! {
    /// All of a model's threads are coroutines on one thread of the system, so this belongs to one run. A run that fails
    /// on a thread other than its first leaves its runtime here; no lock of that one can be taken any more, so it is leaked.
    static CURRENT: RefCell<Option<ManuallyDrop<Arc<Runtime>>>> = const { RefCell::new(None) };
}

/// The run's runtime, in place of the process's one, which no run may touch: it would outlive the run's threads.
///
/// # Panics
/// Outside [`loom::model`](crate::loom::model), and after its closure has returned.
pub(crate) fn global() -> Arc<Runtime> {
    let runtime = CURRENT.with_borrow(Clone::clone).map(ManuallyDrop::into_inner);
    runtime.expect("under --cfg upbeat_loom, upbeat runs inside upbeat::loom::model only, until the model's closure returns")
}

/// Starts the threads of all workers but the first, which the run's own thread is to be.
pub(crate) fn start(pool: &Arc<Pool>, workers: usize) {
    let helper = |index: usize| {
        let pool = pool.clone();
        let started = thread::spawn(format!("upbeat-{index}"), 0, move || pool.serve(index));
        started.expect("loom starts every thread")
    };
    let runtime = Runtime::in_model(pool.seats().clone(), (1..workers).map(helper).collect());
    CURRENT.set(Some(ManuallyDrop::new(Arc::new(runtime))));
}

/// Runs what was spawned and joins the threads.
pub(crate) fn shut_down() {
    drop(CURRENT.take().map(ManuallyDrop::into_inner));
}
