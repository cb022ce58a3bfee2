//! Broadcasts: a closure that each worker of a runtime runs once, those that sleep as well.
//!
//! Each worker has an inbox from which nobody else takes. A worker looks there after its own queue, and while it waits for anything:
//! two workers may broadcast at the same time, and one may do so inside a stolen task whose owner waits for it. Model:
//! `loom-tests/tests/broadcast.rs`.

use std::panic::resume_unwind;
use std::sync::Arc;

use super::current::with_current;
use super::registry::Registry;
use crate::sync::{lock, Mutex};
use crate::task::frame::Worker;
use crate::task::job::erase;
use crate::task::latch::Blocking;
use crate::task::ledger::Ledger;
use crate::task::unwind::{catch, discard, AbortOnUnwind};
use crate::task::Task;

/// What a broadcast still waits for.
struct Pending {
    ledger: Ledger,
    done: Blocking,
}

impl Pending {
    fn finish(&self) {
        if self.ledger.finish(1) {
            self.done.set();
        }
    }
}

/// Runs `f` once on each worker of `registry`; the results are in the order of the workers' numbers.
pub(crate) fn broadcast<F, R>(registry: &Arc<Registry>, f: &F) -> Vec<R>
where
    F: Fn(&Worker) -> R + Sync,
    R: Send,
{
    registry.require_workers();
    let slots: Vec<_> = registry.peers.iter().map(|_| Mutex::new(None)).collect();
    let pending = Arc::new(Pending { ledger: Ledger::new(), done: Blocking::new() });
    // What is sent borrows from this frame: nothing may unwind out of here before all of it was run.
    let guard = AbortOnUnwind("a broadcast failed");
    with_current(|worker| {
        let own = worker.filter(|worker| Arc::ptr_eq(worker.thread().registry(), registry));
        for (index, slot) in slots.iter().enumerate() {
            if own.is_some_and(|worker| worker.index() == index) {
                continue;
            }
            pending.ledger.add(true);
            let pending = pending.clone();
            let job: Box<dyn FnOnce(&Worker) + Send + '_> = Box::new(move |worker| {
                *lock(slot) = Some(catch(|| f(worker)));
                pending.finish();
            });
            // SAFETY: it is counted, so `f` and the slots are there until it was run, and a worker empties its inbox before it ends.
            let job = unsafe { erase(job) };
            registry.send(index, Task::Job(job));
        }
        if let Some(worker) = own {
            *lock(&slots[worker.index()]) = Some(catch(|| worker.entered(|| f(worker))));
        }
        if pending.ledger.close(0) {
            return;
        }
        match worker {
            Some(worker) => worker.thread().wait_running_anything(&pending.done),
            None => pending.done.wait(),
        }
    });
    std::mem::forget(guard);
    let (mut results, mut panic) = (Vec::with_capacity(slots.len()), None);
    for slot in slots {
        match (lock(&slot).take(), &panic) {
            (Some(Ok(result)), _) => results.push(result),
            (Some(Err(payload)), None) => panic = Some(payload),
            (Some(Err(payload)), Some(_)) => discard(payload),
            (None, _) => unreachable!("each worker has run it"),
        }
    }
    match panic {
        None => results,
        Some(payload) => {
            discard(results);
            resume_unwind(payload)
        }
    }
}
