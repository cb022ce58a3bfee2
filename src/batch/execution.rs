//! What running a batch means: its items are taken, the executor gets them, and each handle its result, or the error.

use std::sync::Arc;

use super::core::Core;
use super::error::BatchError;
use super::replies::NOBODY;
use super::source::Source as _;
use crate::runtime::worker::WorkerThread;
use crate::sync::{full_fence, ticks, Ordering};
use crate::task::isolate::{self, Region};
use crate::task::unwind::{catch, discard, message};

/// What one run of the executor works on; kept for the next one.
pub(super) struct Space<T, R> {
    items: Vec<T>,
    /// Where their results go; empty where nobody waits for any.
    replies: Vec<u32>,
    results: Vec<R>,
    /// What the executor's waits keep to.
    region: Arc<Region>,
}

impl<T, R> Default for Space<T, R> {
    fn default() -> Self {
        Self { items: Vec::new(), replies: Vec::new(), results: Vec::new(), region: Region::new() }
    }
}

/// Runs the items of a batch and pushes a result for each.
pub(super) type Executor<T, R> = Box<dyn Fn(&mut Vec<T>, &mut Vec<R>) + Send + Sync>;

impl<T: Send + 'static, R: Send + 'static> Core<T, R> {
    /// Takes a batch into `space`; whether there was one.
    pub(super) fn take(&self, space: &mut Space<T, R>) -> bool {
        if self.producers.0.deadline.load(Ordering::Relaxed) <= ticks() {
            // Some item is late. Nobody knows in which batch: all that there are go first, and none that comes after them.
            self.producers.0.deadline.swap(u64::MAX, Ordering::Relaxed);
            self.former.seal();
            self.workers.0.late.store(self.former.ready(), Ordering::Relaxed);
        }
        let one_less = |late: usize| late.checked_sub(1);
        let _none_was = self.workers.0.late.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        // Before the seal: the deadline of an item that comes after it stays.
        let Space { items, replies, .. } = space;
        let was_ready = self.former.take(items, replies) > 0;
        if !was_ready {
            if self.deadline() != u64::MAX {
                self.producers.0.deadline.swap(u64::MAX, Ordering::Relaxed);
            }
            self.former.seal();
            if self.former.take(items, replies) == 0 {
                return false;
            }
        }
        // Pairs with the one in `wait_for_room`.
        full_fence!("batch_room_fence");
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.tell_who_waits_for_room();
        }
        if !replies.is_empty() {
            self.leave_out_abandoned(items, replies);
        }
        true
    }

    /// Drops the items whose results nobody will ask for.
    fn leave_out_abandoned(&self, items: &mut Vec<T>, replies: &mut Vec<u32>) {
        let goes_on = |reply: &u32| *reply == NOBODY || !self.replies.is_abandoned(*reply);
        // Most often all do, and nothing has to be moved.
        let mut kept = replies.iter().take_while(|reply| goes_on(reply)).count();
        for at in kept + 1..replies.len() {
            if goes_on(&replies[at]) {
                replies.swap(kept, at);
                items.swap(kept, at);
                kept += 1;
            }
        }
        replies.truncate(kept);
        items.drain(kept..).for_each(discard);
        if replies.iter().all(|&reply| reply == NOBODY) {
            replies.clear();
        }
    }

    /// Runs the executor on what was taken and hands out the results.
    pub(super) fn execute(&self, space: &mut Space<T, R>, thread: &WorkerThread) {
        let count = space.items.len();
        if count == 0 {
            return;
        }
        let cap = self.former.cap();
        let counters = &self.workers.0;
        counters.batches.fetch_add(1, Ordering::Relaxed);
        counters.items.fetch_add(count as u64, Ordering::Relaxed);
        if count >= cap {
            counters.full.fetch_add(1, Ordering::Relaxed);
        }
        let begun = self.caps.may_change().then(ticks);
        let Space { items, results, region, .. } = &mut *space;
        // Its waits run only what it has created: a task that waits for a batch, on top of this one, would wait for ever where no other
        // may run meanwhile.
        let region = if isolate::is_inside() { Region::new() } else { region.clone() };
        let run = || thread.enter(|_| (self.executor)(items, results));
        let outcome = catch(|| isolate::within(region, Some(thread), run));
        if let Some(begun) = begun {
            self.former.set_cap(self.caps.after(count, begun, &self.registry.clock));
        }
        let outcome = outcome.map_err(|payload| {
            let error = BatchError::Panicked { message: message(&*payload).into() };
            if space.replies.is_empty() {
                self.registry.unhandled_panic(std::any::type_name::<T>(), payload);
            } else {
                discard(payload);
            }
            error
        });
        self.hand_out(space, outcome);
    }

    /// Gives each item's handle its result, or the error.
    fn hand_out(&self, space: &mut Space<T, R>, outcome: Result<(), BatchError>) {
        let Space { items, replies, results, .. } = space;
        let wanted = replies.len();
        if replies.is_empty() {
            // Of items that nobody waits for no results are asked.
            drain_each(results);
            return drain_each(items);
        }
        let outcome = match results.len() == wanted {
            true => outcome,
            false => outcome.and(Err(BatchError::Results { items: wanted, results: results.len() })),
        };
        if outcome.is_err() {
            drain_each(results);
        }
        let mut results = results.drain(..);
        for reply in replies.drain(..) {
            let result = match &outcome {
                Ok(()) => results.next().ok_or(BatchError::Results { items: wanted, results: 0 }),
                Err(error) => Err(error.clone()),
            };
            if reply == NOBODY {
                discard(result);
                continue;
            }
            let (waker, unclaimed) = self.replies.complete(reply, result);
            discard(unclaimed);
            if let Some(Err(payload)) = waker.map(|waker| catch(|| waker.wake())) {
                // Another executor's code: its panic is nobody's who waits here.
                self.registry.unhandled_panic("a waker", payload);
            }
        }
        drop(results);
        drain_each(items);
    }

    /// Tells who waits that the runtime has ended.
    #[cold]
    pub(super) fn withdraw(&self) {
        self.former.seal();
        let (mut items, mut replies) = (Vec::new(), Vec::new());
        while self.former.take(&mut items, &mut replies) > 0 {
            drain_each(&mut items);
            for reply in replies.drain(..) {
                if reply == NOBODY || self.replies.is_abandoned(reply) {
                    continue;
                }
                let (waker, unclaimed) = self.replies.complete(reply, Err(BatchError::ShutDown));
                discard(unclaimed);
                discard(waker.map(|waker| catch(|| waker.wake())));
            }
        }
        self.tell_who_waits_for_room();
    }
}

/// Drops each by itself: a destructor that panics keeps no other from being dropped.
pub(super) fn drain_each<T>(values: &mut Vec<T>) {
    if !std::mem::needs_drop::<T>() {
        return values.clear();
    }
    for value in values.drain(..) {
        discard(value);
    }
}
