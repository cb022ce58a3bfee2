//! The real twin: `std`, and `crossbeam-deque` for queues whose tasks are public at once.

#[cfg(upbeat_tsan)]
pub(crate) use super::traced::fence;
#[cfg(not(upbeat_tsan))]
pub(crate) use std::sync::atomic::fence;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
pub(crate) use std::thread_local;

use crossbeam_deque as deque;
use crossbeam_queue::ArrayQueue;
use std::time::{Duration, Instant};

/// Slots of a worker's ring; a power of two.
pub(crate) const RING_SLOTS: usize = 64;
/// Polls of a waiting worker before it sleeps, about 20 to 50 µs.
pub(crate) const SPINS: u32 = 400;
/// Seats that one word of the bitmap of free seats holds.
pub(crate) const SEATS_A_WORD: usize = 64;
/// Whether time passes. In a model it does not.
pub(crate) const HAS_TIME: bool = true;

/// A full fence for code that has just made a read-modify-write. On x86 such an instruction is locked, and a locked instruction
/// orders all accesses before it with all after it (Intel SDM volume 3, 9.2.5; AMD APM volume 2, 7.1).
#[inline(always)]
pub(crate) fn barrier_after_rmw() {
    if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// Locks that the list of a runtime's futures is divided among; a power of two.
pub(crate) const FUTURE_SHARDS: usize = 16;

/// What is left of a loop is worth sharing from here on, ticks (3 to 5 µs: to hand half of it over and to wait for it
/// takes 1 to 2); and how many times longer than the last chunk the next one may be.
pub(crate) const PACE: (f64, u32) = (10_000.0, 64);

/// Only models weaken orderings.
#[inline(always)]
pub(crate) const fn is_weakened(_name: &str) -> bool {
    false
}

/// Locks; a poisoned lock is taken all the same, because no code that can panic runs under one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Waits on a condition variable, for `limit` at most when one is given.
pub(crate) fn wait<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Option<Duration>,
) -> MutexGuard<'a, T> {
    match limit {
        Some(limit) => condvar.wait_timeout(guard, limit).unwrap_or_else(|poisoned| poisoned.into_inner()).0,
        None => condvar.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner()),
    }
}

/// Threads, as far as the scheduler needs them.
pub(crate) mod thread {
    pub(crate) use std::thread::{
        available_parallelism, current, park, park_timeout, yield_now, JoinHandle, Thread,
    };

    /// Whether a thread has ended, so that to join it takes no time.
    pub(crate) fn has_ended(thread: &JoinHandle<()>) -> bool {
        thread.is_finished()
    }

    /// Starts a thread.
    pub(crate) fn spawn(
        name: String,
        stack_size: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(name).stack_size(stack_size).spawn(body)
    }
}

/// One poll of a loop that waits for another thread.
#[inline]
pub(crate) fn spin() {
    std::hint::spin_loop();
}

/// Nanoseconds since the first call, monotonic.
pub(crate) fn now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed().as_nanos() as u64;
    #[cfg(test)]
    let elapsed = elapsed.saturating_sub(clock::BEHIND.load(Ordering::Relaxed));
    elapsed
}

/// The fault of a clock that jumps: tests say how far behind it is.
#[cfg(test)]
pub(crate) mod clock {
    pub(crate) static BEHIND: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
}

/// A cell whose accesses the model checker watches; here nothing but its address.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    #[inline(always)]
    pub(crate) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }
    /// Hands the content's address to `f`, for reading.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }
    /// Hands the content's address to `f`, which may write through it if it has exclusive access.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// A worker's own queue of public tasks; thieves take the oldest, its owner that or the newest.
pub(crate) struct Local<T>(deque::Worker<T>);
/// The thieves' end of a [`Local`].
pub(crate) struct Stealer<T>(deque::Stealer<T>);
/// A queue that any thread pushes to and takes from.
pub(crate) struct Injector<T>(deque::Injector<T>);

/// A queue of fixed length, which allocates nothing once it is made.
pub(crate) struct Bounded<T>(ArrayQueue<T>);

impl<T> Bounded<T> {
    /// # Panics
    /// When `capacity` is 0.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(ArrayQueue::new(capacity))
    }
    /// False when it is full.
    pub(crate) fn push(&self, value: T) -> bool {
        self.0.push(value).is_ok()
    }
    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Repeats a steal that lost a race until it has an answer.
fn settle<T>(mut steal: impl FnMut() -> deque::Steal<T>) -> Option<T> {
    loop {
        match steal() {
            deque::Steal::Success(task) => return Some(task),
            deque::Steal::Empty => return None,
            deque::Steal::Retry => spin(),
        }
    }
}

/// The first steal of a process sets up the queues' memory reclamation, under a lock: before there are workers, or a child of `fork`
/// may find the lock held by a thread that it does not have.
pub(crate) fn take_first_steal() {
    let _: Option<()> = Local::new(false).stealer().steal();
}

impl<T> Local<T> {
    pub(crate) fn new(newest_first: bool) -> Self {
        Self(if newest_first { deque::Worker::new_lifo() } else { deque::Worker::new_fifo() })
    }
    pub(crate) fn stealer(&self) -> Stealer<T> {
        Stealer(self.0.stealer())
    }
    pub(crate) fn push(&self, task: T) {
        self.0.push(task);
    }
    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> Stealer<T> {
    pub(crate) fn steal(&self) -> Option<T> {
        settle(|| self.0.steal())
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Injector<T> {
    pub(crate) fn new() -> Self {
        Self(deque::Injector::new())
    }
    pub(crate) fn push(&self, task: T) {
        self.0.push(task);
    }
    pub(crate) fn steal(&self) -> Option<T> {
        // Most are empty most of the time, and to ask costs no fence.
        (!self.0.is_empty()).then(|| settle(|| self.0.steal())).flatten()
    }
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
