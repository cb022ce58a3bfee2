//! The model twin: loom's atomics, cells and locks, and threads and queues made of them.
//!
//! Each part is as weak as its real counterpart may be: a queue's emptiness is read from a relaxed counter, parking orders
//! nothing but a token, and a nap is either over at once or never over, as the model chooses.

pub(crate) use loom::sync::atomic::{
    fence, AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use loom::thread_local;

use std::any::Any;
use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

/// Slots of a worker's ring: few, so that slots are reused within a model.
pub(crate) const RING_SLOTS: usize = 2;
/// Polls before sleeping: the model gains nothing from more.
pub(crate) const SPINS: u32 = 0;
/// Without time every rest of a loop is worth sharing, and no chunk grows.
pub(crate) const PACE: (f64, u32) = (0.0, 1);
/// One, so that no two seats are ordered by sharing a word, as those of large runtimes are not.
pub(crate) const SEATS_A_WORD: usize = 1;
/// Whether time passes.
pub(crate) const HAS_TIME: bool = false;

/// Loom knows no barrier but the fence.
pub(crate) fn barrier_after_rmw() {
    fence(Ordering::SeqCst);
}

/// A fence on each side, which is what the real one comes to.
#[derive(Clone, Copy)]
pub(crate) struct AsymmetricFence;

impl AsymmetricFence {
    /// There is nothing to ask.
    pub(crate) fn new() -> Self {
        Self
    }

    /// What costs something costs nothing here.
    pub(crate) fn is_free(self) -> bool {
        true
    }

    /// The side that is in a hurry.
    pub(crate) fn light(self) {
        fence(Ordering::SeqCst);
    }

    /// The other side.
    pub(crate) fn heavy(self) -> bool {
        fence(Ordering::SeqCst);
        true
    }
}

/// One lock for the list of futures.
pub(crate) const FUTURE_SHARDS: usize = 1;

/// Whether `UPBEAT_TEST_WEAKEN` names this ordering, fence or step.
pub(crate) fn is_weakened(name: &str) -> bool {
    static WEAKENED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    WEAKENED.get_or_init(|| std::env::var("UPBEAT_TEST_WEAKEN").unwrap_or_default()) == name
}

/// Locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Waits on a condition variable; a time limit is up at once, for what is waited for may depend on the waiter.
pub(crate) fn wait<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Option<Duration>,
) -> MutexGuard<'a, T> {
    match limit {
        Some(_) => {
            loom::thread::yield_now();
            guard
        }
        None => condvar.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner()),
    }
}

/// Threads, as far as the scheduler needs them.
///
/// Loom's own `unpark` makes a thread see all that the waker did even if it never parks, and may
/// wake one that waits for a lock. So a token under a lock stands for it.
pub(crate) mod thread {
    pub(crate) use loom::thread::{yield_now, JoinHandle};

    use super::{lock, wait, Arc, Condvar, Mutex};
    use std::cell::Cell;
    use std::num::NonZero;

    /// Loom does not tell; who asks may as well join.
    pub(crate) fn has_ended(_thread: &JoinHandle<()>) -> bool {
        true
    }

    /// Starts one of the model's threads. Its stack has the size of the model's own, whatever is asked for.
    pub(crate) fn spawn(
        name: String,
        _stack_size: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        loom::thread::Builder::new().name(name).spawn(body)
    }

    /// A model's machine has two processors.
    pub(crate) fn available_parallelism() -> std::io::Result<NonZero<usize>> {
        Ok(NonZero::<usize>::MIN.saturating_add(1))
    }

    /// How long a sleep with a time limit lasts.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Naps {
        /// Until somebody ends it: no protocol may need the time to pass.
        Endless,
        /// Not at all: the time may be up before anything else happens.
        Over,
    }

    std::thread_local! {
        // All of a model's threads are coroutines on one thread of the system, so this belongs to one model.
        static NAPS: Cell<Naps> = const { Cell::new(Naps::Endless) };
    }

    /// Chooses how naps last in the models that this thread checks from now on.
    pub fn set_naps(naps: Naps) {
        NAPS.set(naps);
    }

    struct Parker {
        token: Mutex<bool>,
        given: Condvar,
    }

    /// A thread that can be woken.
    #[derive(Clone)]
    pub struct Thread(Arc<Parker>);

    loom::thread_local! {
        static CURRENT: Thread = Thread(Arc::new(Parker { token: Mutex::new(false), given: Condvar::new() }));
    }

    impl Thread {
        /// Ends the thread's park, or its next one.
        pub fn unpark(&self) {
            *lock(&self.0.token) = true;
            self.0.given.notify_one();
        }
    }

    /// The calling thread.
    pub fn current() -> Thread {
        CURRENT.with(Thread::clone)
    }

    /// Blocks until the thread has a token, and takes it.
    pub fn park() {
        let Thread(parker) = current();
        let mut token = lock(&parker.token);
        while !*token {
            token = wait(&parker.given, token, None);
        }
        *token = false;
    }

    /// As [`park`], or nothing but a chance for others.
    pub(crate) fn park_timeout(_limit: std::time::Duration) {
        match NAPS.get() {
            Naps::Endless => park(),
            Naps::Over => loom::thread::yield_now(),
        }
    }
}

/// Whether loom raised this panic because the run cannot go on: a deadlock, or too many steps.
pub(crate) fn ends_the_run(payload: &(dyn Any + Send)) -> bool {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
    text.starts_with("deadlock; threads =") || text.starts_with("Model exceeded maximum number of branches")
}

/// Whether this thread unwinds from a deadlock. Loom panics at each step then, and a destructor must not.
pub(crate) fn unwinds_from_deadlock() -> bool {
    std::thread::panicking() && catch_unwind(loom::thread::current).is_err()
}

/// One poll of a loop that waits for another thread.
pub(crate) fn spin() {
    loom::thread::yield_now();
}

/// The model has no time.
pub(crate) fn now() -> u64 {
    0
}

/// Nor this one.
pub(crate) fn ticks() -> u64 {
    0
}

/// A cell whose accesses loom watches.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.0.with(f)
    }
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(f)
    }
}

/// A value that is written once: loom's view of the standard library's.
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }
    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) {
            return self.value.get();
        }
        None
    }
    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        let value = self.value.get_or_init(init);
        self.is_set.store(true, Ordering::Release);
        value
    }
}

/// A queue under a lock; stands for crossbeam's, whose inside loom cannot see.
pub(crate) struct Injector<T> {
    tasks: Mutex<VecDeque<T>>,
    /// How many there are; relaxed, so that only what happens before a look at the queue is sure to be seen by it.
    length: AtomicUsize,
}
/// A worker's own queue.
pub(crate) struct Local<T> {
    queue: Arc<Injector<T>>,
    newest_first: bool,
}
/// The thieves' end of a [`Local`].
pub(crate) struct Stealer<T>(Arc<Injector<T>>);

impl<T> Injector<T> {
    pub(crate) fn new() -> Self {
        Self { tasks: Mutex::new(VecDeque::new()), length: AtomicUsize::new(0) }
    }
    pub(crate) fn push(&self, task: T) {
        let mut tasks = lock(&self.tasks);
        tasks.push_back(task);
        self.length.store(tasks.len(), Ordering::Relaxed);
    }
    pub(crate) fn steal(&self) -> Option<T> {
        self.take(false)
    }
    fn take(&self, newest: bool) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let mut tasks = lock(&self.tasks);
        let task = if newest { tasks.pop_back() } else { tasks.pop_front() };
        self.length.store(tasks.len(), Ordering::Relaxed);
        task
    }
    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.length.load(Ordering::Relaxed) == 0
    }
}

/// A queue of fixed length.
pub(crate) struct Bounded<T> {
    queue: Injector<T>,
    capacity: usize,
}

impl<T> Bounded<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { queue: Injector::new(), capacity }
    }
    pub(crate) fn push(&self, value: T) -> bool {
        let has_room = lock(&self.queue.tasks).len() < self.capacity;
        if has_room {
            self.queue.push(value);
        }
        has_room
    }
    pub(crate) fn pop(&self) -> Option<T> {
        self.queue.steal()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

impl<T> Local<T> {
    pub(crate) fn new(newest_first: bool) -> Self {
        Self { queue: Arc::new(Injector::new()), newest_first }
    }
    pub(crate) fn stealer(&self) -> Stealer<T> {
        Stealer(self.queue.clone())
    }
    pub(crate) fn push(&self, task: T) {
        self.queue.push(task);
    }
    pub(crate) fn pop(&self) -> Option<T> {
        self.queue.take(self.newest_first)
    }
    pub(crate) fn len(&self) -> usize {
        self.queue.length.load(Ordering::Relaxed)
    }
}

impl<T> Stealer<T> {
    pub(crate) fn steal(&self) -> Option<T> {
        self.0.steal()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
