//! A thread that is a worker without running a worker's loop: the one that builds a pool with `use_current_thread`.
//!
//! It keeps its seat for life, and takes part in the pool's work while it is in a call of the tenant's: a *visit*. Outside of visits it
//! neither counts as busy nor as hungry, so nobody watches it or offers it anything.

use std::cell::Cell;
use std::sync::Arc;

use super::current::with_current;
use super::seat::Seats;
use super::worker::WorkerThread;
use crate::sync::{thread, thread_local};
use crate::task::frame::Worker;

#[cfg(not(upbeat_loom))]
thread_local! {
    static SEAT: Cell<Option<&'static WorkerThread>> = const { Cell::new(None) };
}
#[cfg(upbeat_loom)]
thread_local! {
    static SEAT: Cell<Option<&'static WorkerThread>> = Cell::new(None);
}

/// Makes this thread worker `index` for the rest of its life; false when it already is a worker.
pub(crate) fn take_seat(seats: &Arc<Seats>, index: usize) -> bool {
    if with_current_or_seat(|worker| worker.is_some()) {
        return false;
    }
    let sleep = seats.registry().sleep();
    sleep.register(index, thread::current());
    sleep.take_seat(index);
    sleep.end_hunger();
    sleep.set_absent(index, true);
    SEAT.with(|seat| seat.set(Some(seats.keep(index))));
    true
}

/// Calls `f` with this thread's worker, for a visit if it has a seat of its own.
#[inline(always)]
pub(crate) fn with_current_or_seat<R>(f: impl FnOnce(Option<&Worker>) -> R) -> R {
    with_current(|worker| match worker {
        Some(worker) => f(Some(worker)),
        None => visit(f),
    })
}

#[cold]
#[inline(never)]
fn visit<R>(f: impl FnOnce(Option<&Worker>) -> R) -> R {
    match SEAT.try_with(Cell::get).ok().flatten() {
        None => f(None),
        Some(worker) => {
            let _visit = Visit::begin(worker);
            worker.enter(|worker| f(Some(worker)))
        }
    }
}

/// It ends also when the caller's closure panics.
struct Visit(&'static WorkerThread);

impl Visit {
    fn begin(worker: &'static WorkerThread) -> Self {
        let registry = worker.registry();
        registry.sleep().set_absent(worker.index(), false);
        registry.sleep().enter_active(worker.index(), false);
        registry.begin_busy(worker.index());
        worker.offer_next();
        Self(worker)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let registry = self.0.registry();
        registry.end_busy(self.0.index());
        registry.sleep().set_absent(self.0.index(), true);
        // Between visits this worker runs nothing, and nobody watches it, so what it leaves in its queue is for others.
        if self.0.has_queued() {
            registry.sleep().wake_one();
        }
    }
}
