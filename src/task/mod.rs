//! Tasks: the closures that workers run, how their results and panics come back, and who waits for them.

pub(crate) mod block_on;
#[allow(unsafe_code)]
pub(crate) mod body;
pub(crate) mod cancel;
pub(crate) mod context;
mod directed;
#[allow(unsafe_code)]
pub(crate) mod frame;
#[allow(unsafe_code)]
pub(crate) mod future;
pub(crate) mod inherit;
pub(crate) mod isolate;
#[allow(unsafe_code)]
pub(crate) mod job;
#[allow(unsafe_code)]
pub(crate) mod join;
pub(crate) mod join_error;
// `pub` in here is for the models alone, as in `crate::deque`.
#[allow(unreachable_pub)]
pub(crate) mod latch;
#[allow(unreachable_pub)]
pub(crate) mod ledger;
mod outcome;
pub(crate) mod priority;
#[allow(unsafe_code)]
pub(crate) mod scope;
pub(crate) mod spawn;
pub(crate) mod turn;
pub(crate) mod unwind;
mod worker;

use std::sync::Arc;

use crate::batch::source::Source;
use crate::runtime::worker::WorkerThread;

/// What a worker does once the task that it runs is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It has nothing to do, and says so before the task's end can be seen.
    Rest,
    /// It goes on with the task below on its stack.
    GoOn,
}

/// A task that is public from the start: any worker may take it from a queue, or, where it is a scope's, find the scope.
pub(crate) enum Task {
    /// A closure handed in from outside, whose caller is blocked until it is done.
    Install(job::InstallRef),
    /// A spawned closure, or a future that was woken; running either twice is refused by its own state.
    Spawned(Arc<dyn spawn::Spawned>),
    /// A closure that catches its own panics.
    Job(Box<dyn FnOnce(&frame::Worker) + Send>),
    /// A scope whose own queue has tasks.
    Scoped(Arc<scope::Shared>),
    /// One task that was created in isolation waits in the queue of its region.
    Isolated(isolate::Ticket),
    /// A batcher that has a batch to run, claimed by who found it.
    Batch(Arc<dyn Source>),
    /// A batcher that got an item in a region of isolation, for the waits inside.
    Offer(Arc<dyn Source>),
}

impl Task {
    /// Whether there is nothing left to run, for the task has begun elsewhere, or the scope has none that has not. The caller then drops
    /// it.
    pub(crate) fn retire(&self) -> bool {
        match self {
            Self::Install(_) | Self::Job(_) => false,
            Self::Spawned(task) => task.is_spent(),
            Self::Scoped(scope) => scope.is_idle(),
            Self::Isolated(ticket) => ticket.retire(),
            // It is never queued.
            Self::Batch(_) => false,
            Self::Offer(batcher) => batcher.is_empty(),
        }
    }

    /// Runs the task on `thread`, which goes on as `then` says.
    pub(crate) fn run(self, thread: &WorkerThread, then: Then) {
        match self {
            Self::Install(job) => job.run(thread, then),
            Self::Spawned(task) => task.run(thread, then),
            Self::Job(job) => thread.run_job(job, then),
            Self::Scoped(scope) if then == Then::Rest => {
                thread.serve_scope(&scope, || scope.run_stretch(thread))
            }
            Self::Scoped(scope) => scope.run_one(thread),
            Self::Isolated(ticket) => ticket.run(thread, then),
            Self::Batch(batcher) => batcher.run(thread, then),
            Self::Offer(batcher) if batcher.try_claim() => batcher.run(thread, then),
            Self::Offer(_) => thread.ending(then),
        }
    }
}
