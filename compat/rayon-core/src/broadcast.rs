//! Broadcasts: a closure that each thread of a pool runs once.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use upbeat::Worker;

use crate::registry::Registry;
use crate::scope::{send, Base};

/// Runs `op` once on each thread of the pool of this thread, or of the global one, and returns the results by the threads' indices.
///
/// # Panics
/// When one of them panics, after all have ended.
///
/// ```
/// let indices = rayon_core::broadcast(|context| context.index());
/// assert!(indices.into_iter().eq(0..rayon_core::current_num_threads()));
/// ```
pub fn broadcast<OP, R>(op: OP) -> Vec<R>
where
    OP: Fn(BroadcastContext<'_>) -> R + Sync,
    R: Send,
{
    broadcast_in(op, &Registry::current())
}

/// Runs `op` once on each thread of the pool of this thread, or of the global one, and does not wait for it. A panic goes to the
/// pool's panic handler.
pub fn spawn_broadcast<OP>(op: OP)
where
    OP: Fn(BroadcastContext<'_>) + Send + Sync + 'static,
{
    spawn_broadcast_in(op, &Registry::current());
}

/// What a broadcast's closure learns of the thread that it runs on.
pub struct BroadcastContext<'a> {
    index: usize,
    num_threads: usize,
    /// It describes this thread, so it stays here.
    marker: PhantomData<&'a mut dyn Fn()>,
}

impl BroadcastContext<'_> {
    pub(crate) fn of(worker: &Worker) -> Self {
        Self { index: worker.index(), num_threads: worker.num_workers(), marker: PhantomData }
    }

    /// The thread's number in its pool.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many threads get the broadcast.
    #[inline]
    pub fn num_threads(&self) -> usize {
        self.num_threads
    }
}

impl fmt::Debug for BroadcastContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastContext")
            .field("index", &self.index)
            .field("num_threads", &self.num_threads)
            .finish()
    }
}

pub(crate) fn broadcast_in<OP, R>(op: OP, registry: &Registry) -> Vec<R>
where
    OP: Fn(BroadcastContext<'_>) -> R + Sync,
    R: Send,
{
    let results: Vec<_> = (0..registry.num_threads()).map(|_| Mutex::new(None)).collect();
    let scope = Base::new(registry.pool().clone());
    let body = || {
        let (op, results) = (&op, &results);
        for (index, result) in results.iter().enumerate() {
            send(&scope, index, move |worker, _| {
                let value = op(BroadcastContext::of(worker));
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            });
        }
    };
    let sent = scope.run(body);
    scope.into_result(sent);
    let result = |slot: Mutex<Option<R>>| slot.into_inner().unwrap_or_else(PoisonError::into_inner);
    let results = results.into_iter().map(|slot| result(slot).expect("each thread has run it"));
    results.collect()
}

pub(crate) fn spawn_broadcast_in<OP>(op: OP, registry: &Registry)
where
    OP: Fn(BroadcastContext<'_>) + Send + Sync + 'static,
{
    let op = Arc::new(op);
    for index in 0..registry.num_threads() {
        let op = op.clone();
        let run = move || {
            // It is on one of the pool's threads, since it was sent there.
            upbeat::embed::current(|worker| worker.map(|worker| op(BroadcastContext::of(worker))));
        };
        registry.pool().send(index, registry.detached(run));
    }
}
