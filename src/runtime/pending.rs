//! The spawned futures of a runtime that are not over: whom its end must withdraw.
//!
//! Known weakly, so that a future that nothing can wake any more is dropped at once. Shards, each under a lock of its own, keep
//! workers that spawn and end futures at once apart.

use std::sync::Weak;

use super::registry::Registry;
use super::worker::WorkerThread;
use crate::sync::{left_out, lock, Mutex, FUTURE_SHARDS};
use crate::task::spawn::Spawned;
use crate::task::turn::Reason;

/// Where a future stands in the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    shard: usize,
    slot: usize,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Option<Weak<dyn Spawned>>>,
    free: Vec<usize>,
    closed: bool,
}

/// All futures of a runtime that are not over.
pub(crate) struct Pending {
    shards: [Mutex<Shard>; FUTURE_SHARDS],
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(Shard::default())) }
    }

    /// Lists a future; `None` once the list was closed.
    pub(crate) fn insert(&self, future: Weak<dyn Spawned>) -> Option<Entry> {
        // Addresses of allocations differ above the lowest bits.
        let index = (future.as_ptr().cast::<()>() as usize >> 7) & (FUTURE_SHARDS - 1);
        let mut shard = lock(&self.shards[index]);
        if shard.closed {
            return None;
        }
        let slot = match shard.free.pop() {
            Some(slot) => slot,
            None => {
                shard.slots.push(None);
                shard.slots.len() - 1
            }
        };
        shard.slots[slot] = Some(future);
        Some(Entry { shard: index, slot })
    }

    /// Takes a future off the list, once.
    pub(crate) fn remove(&self, entry: Entry) {
        let mut shard = lock(&self.shards[entry.shard]);
        // Closing took all of them.
        if !shard.closed {
            shard.slots[entry.slot] = None;
            shard.free.push(entry.slot);
        }
    }

    /// Takes all futures off the list and lets no more in.
    pub(crate) fn close(&self) -> Vec<Weak<dyn Spawned>> {
        let mut waiting = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.closed = true;
            waiting.extend(std::mem::take(&mut shard.slots).into_iter().flatten());
            shard.free = Vec::new();
        }
        waiting
    }

    /// Whether the list was closed, asked by a future on it. If not, what the caller did before comes before the closing.
    pub(crate) fn is_closed(&self, entry: Entry) -> bool {
        lock(&self.shards[entry.shard]).closed
    }
}

impl Registry {
    /// Drops tickets that were queued too late for any worker: of futures that are over.
    #[cold]
    pub(crate) fn drop_late_tickets(&self) {
        let steal =
            || self.urgent.steal().or_else(|| self.injector.steal()).or_else(|| self.bound.steal_any());
        while let Some(ticket) = steal() {
            drop(ticket);
        }
    }
}

impl WorkerThread {
    /// The last worker to leave: withdraws the futures that still wait, and runs what their destructors spawn.
    pub(super) fn close(&self) {
        self.registry.batches.close();
        let waiting = self.registry.pending.close();
        if left_out!("shutdown_withdraws") {
            return;
        }
        self.enter(|_| {
            for future in waiting.iter().filter_map(Weak::upgrade) {
                future.withdraw(Reason::ShutDown);
            }
        });
        // Also drops the tickets of withdrawn futures, and finds what the last look of `next_work` would find.
        if !left_out!("shutdown_last_look") {
            self.run_all();
        }
    }
}
