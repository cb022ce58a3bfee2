//! Jobs that nobody waits for.

use crate::registry::Registry;

/// Runs `func` some time soon in the pool of this thread, or in the global one. A thread's own jobs run newest first.
///
/// A panic goes to the pool's panic handler.
///
/// ```
/// let (sender, receiver) = std::sync::mpsc::channel();
/// rayon_core::spawn(move || sender.send(22).unwrap());
/// assert_eq!(receiver.recv(), Ok(22));
/// ```
pub fn spawn<F>(func: F)
where
    F: FnOnce() + Send + 'static,
{
    spawn_in(func, &Registry::current());
}

/// [`spawn`], whose jobs run in the order in which they came as far as one thread's own are concerned.
pub fn spawn_fifo<F>(func: F)
where
    F: FnOnce() + Send + 'static,
{
    spawn_fifo_in(func, &Registry::current());
}

pub(crate) fn spawn_in<F>(func: F, registry: &Registry)
where
    F: FnOnce() + Send + 'static,
{
    registry.pool().submit(registry.detached(func));
}

pub(crate) fn spawn_fifo_in<F>(func: F, registry: &Registry)
where
    F: FnOnce() + Send + 'static,
{
    let job = registry.detached(func);
    let index = registry.with_own_worker(|worker| worker.map(upbeat::Worker::index));
    match index.and_then(|index| Some((index, registry.fifo(index)?))) {
        Some((index, fifo)) => {
            fifo.push(job);
            let ticket = registry.clone();
            registry.pool().submit(Box::new(move |worker| {
                let Some(fifo) = ticket.fifo(index) else { unreachable!("the queue was there for the push") };
                fifo.pop()(worker);
            }));
        }
        None => registry.pool().submit(job),
    }
}
