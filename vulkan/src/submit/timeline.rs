//! The timeline: submissions count up, and one thread waits for the device so that no worker does. What counts is a [`Counter`]: the device's
//! semaphore, or a test's.
//!
//! The protocol is in `README.md`.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::sync::{thread, AtomicU64, Condvar, JoinHandle, Mutex, MutexGuard, Ordering};

/// How long one wait lasts before the waiter looks whether it has to stop.
const NAP: Duration = Duration::from_millis(50);

/// What counts the submissions that are done, and tells the time. Only that is asked once it is destroyed.
pub(super) trait Counter: Send + Sync + 'static {
    type Error: Clone + Send;

    /// The last submission that is done.
    fn value(&self) -> Result<u64, Self::Error>;
    /// Whether submission `value` was done within `limit`.
    fn wait(&self, value: u64, limit: Duration) -> Result<bool, Self::Error>;
    /// Waits for the device's last work after `error`. Whether it is at rest then.
    fn rest(&self, error: &Self::Error) -> bool;
    /// Ends the counting.
    fn destroy(&self);
    /// The time since some moment.
    fn now(&self) -> Duration;
    /// That nothing was done for too long.
    fn late(after: Duration) -> Self::Error;
    /// That there is no thread to wait with.
    fn no_waiter(error: std::io::Error) -> Self::Error;
}

/// What the waiter and those who wait share. It outlives the device: nothing here touches the counter once `closed` is set.
pub(super) struct Timeline<C: Counter> {
    counter: C,
    timeout: Duration,
    /// Everything up to this submission is done. Grows only, with the lock held.
    completed: AtomicU64,
    state: Mutex<State<C::Error>>,
    /// Somebody waits, or it is over.
    wanted: Condvar,
}

struct State<E> {
    /// The last submission.
    submitted: u64,
    /// When the oldest submission that is not done had the device for itself, at the latest: when it was handed over, or when it was learned
    /// that the one before it is done.
    since: Duration,
    /// Who waits, by submission.
    wakers: BTreeMap<u64, Vec<Waker>>,
    /// Nothing more will be done, for this reason. Set once.
    lost: Option<E>,
    /// The counter is being destroyed. Set once.
    closed: bool,
    waiter: Option<JoinHandle<()>>,
}

/// Wakes them all. One that panics, which its thread has told then, takes nobody else's wake-up with it, and not the waiter.
fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            // Its destructor is somebody's code, too.
            std::mem::forget(payload);
        }
    }
}

impl<C: Counter> Timeline<C> {
    pub(super) fn new(counter: C, timeout: Duration) -> Arc<Self> {
        let state = State {
            submitted: 0,
            since: Duration::ZERO,
            wakers: BTreeMap::new(),
            lost: None,
            closed: false,
            waiter: None,
        };
        Arc::new(Self {
            counter,
            timeout,
            completed: AtomicU64::new(0),
            state: Mutex::new(state),
            wanted: Condvar::new(),
        })
    }

    pub(super) fn counter(&self) -> &C {
        &self.counter
    }

    fn lock(&self) -> MutexGuard<'_, State<C::Error>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing more can be done, and why.
    pub(super) fn lost(&self) -> Option<C::Error> {
        self.lock().lost.clone()
    }

    /// Nothing more will be done. Who waits is told.
    pub(super) fn lose(&self, error: C::Error) {
        let wakers = {
            let mut state = self.lock();
            state.lost.get_or_insert(error);
            std::mem::take(&mut state.wakers)
        };
        self.wanted.notify_all();
        wake(wakers.into_values().flatten());
    }

    /// As [`lose`](Self::lose), for those who may not wake: the waiter does it, and there is one where somebody waits.
    pub(super) fn lose_quietly(&self, error: C::Error) {
        self.lock().lost.get_or_insert(error);
        self.wanted.notify_all();
    }

    /// The next submission's number. The queue's lock is held until [`submitted`](Self::submitted) says that it was handed over.
    pub(super) fn next(&self) -> u64 {
        self.lock().submitted + 1
    }

    /// What has to be done before another submission is handed over, where `most` may be under way.
    pub(super) fn before_next(&self, most: u64) -> u64 {
        self.next().saturating_sub(most)
    }

    /// Submission `value` was handed over. It may be done, and that be known, by now.
    pub(super) fn submitted(&self, value: u64) {
        let mut state = self.lock();
        if state.submitted <= self.known() {
            state.since = self.counter.now();
        }
        state.submitted = value;
    }

    /// The last submission that is known to be done.
    pub(super) fn known(&self) -> u64 {
        self.completed.load(Ordering::Acquire)
    }

    /// The last submission that is known to be done; asks the device where one is under way. Gives it up where it is late.
    pub(super) fn completed(&self) -> u64 {
        let value = {
            // Held while the counter is asked: it is not destroyed before `closed` is set under it.
            let state = self.lock();
            if state.submitted == self.known() || state.lost.is_some() || state.closed {
                return self.known();
            }
            self.counter.value()
        };
        match value {
            Ok(value) => {
                self.reached(value);
                self.lose_if_late();
            }
            Err(error) => self.lose(error),
        }
        self.known()
    }

    /// The device has done everything up to `value`. Wakes who waited for that.
    fn reached(&self, value: u64) {
        let due = {
            let mut state = self.lock();
            if value <= self.known() {
                return;
            }
            self.completed.store(value, Ordering::Release);
            state.since = self.counter.now();
            let later = state.wakers.split_off(&(value + 1));
            std::mem::replace(&mut state.wakers, later)
        };
        wake(due.into_values().flatten());
    }

    /// Gives the device up where it has worked on one submission for too long.
    fn lose_if_late(&self) {
        let late = {
            let state = self.lock();
            state.submitted > self.known() && self.counter.now().saturating_sub(state.since) > self.timeout
        };
        if late {
            self.lose(C::late(self.timeout));
        }
    }

    /// Whether submission `value` is done; else `waker` is woken when it is.
    pub(super) fn poll(self: &Arc<Self>, value: u64, waker: &Waker) -> Poll<Result<(), C::Error>> {
        if self.known() >= value {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.lock();
        // Again, under the lock that `reached` takes to find wakers.
        if self.known() >= value {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = &state.lost {
            return Poll::Ready(Err(error.clone()));
        }
        let waiting = state.wakers.entry(value).or_default();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        if state.waiter.is_none() {
            let timeline = self.clone();
            let thread = thread::Builder::new().name("upbeat-vulkan".to_owned());
            match thread.spawn(move || timeline.wait_for_all()) {
                Ok(waiter) => state.waiter = Some(waiter),
                // Nobody could wake the task: better an error than a hang.
                Err(error) => {
                    let error = C::no_waiter(error);
                    state.lost = Some(error.clone());
                    return Poll::Ready(Err(error));
                }
            }
        }
        drop(state);
        self.wanted.notify_all();
        Poll::Pending
    }

    /// The waiter: while somebody waits, waits for the oldest submission.
    fn wait_for_all(&self) {
        loop {
            let mut state = self.lock();
            while !state.closed && state.wakers.is_empty() {
                state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            // Before `closed`: nobody else wakes whom a quiet loss leaves.
            if state.lost.is_some() && !state.wakers.is_empty() {
                let left = std::mem::take(&mut state.wakers);
                drop(state);
                wake(left.into_values().flatten());
                continue;
            }
            if state.closed {
                return;
            }
            let oldest = self.known() + 1;
            drop(state);
            self.wait_for(oldest);
        }
    }

    /// Whether the calling thread is the waiter: a waker that it wakes may run anything.
    pub(super) fn is_waiter(&self) -> bool {
        let here = thread::current().id();
        self.lock().waiter.as_ref().is_some_and(|waiter| waiter.thread().id() == here)
    }

    /// Whether something that was submitted is not known to have ended, well or not.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.lock();
        state.submitted > self.known() && state.lost.is_none() && !state.closed
    }

    /// What the waiter does, a moment long: for who waits on its thread, where nobody else would wake him.
    pub(super) fn wait_as_waiter(&self) {
        // Not once it is closed, and that does not come before the waiter's thread has ended, unless it came on this thread.
        let goes_on = {
            let state = self.lock();
            !state.closed && state.lost.is_none()
        };
        if goes_on {
            self.wait_for(self.known() + 1);
        }
    }

    /// Waits a moment for the oldest submission that was not known to be done, by who keeps the counter from being destroyed.
    fn wait_for(&self, oldest: u64) {
        match self.counter.wait(oldest, NAP) {
            Ok(true) => drop(self.completed()),
            Ok(false) => self.lose_if_late(),
            Err(error) => self.lose(error),
        }
    }

    /// [`stop`](Self::stop), and destroys the counter where the device is at rest.
    pub(super) fn close(&self) -> bool {
        let rests = self.stop();
        if rests {
            self.counter.destroy();
        }
        rests
    }

    /// Waits for what was submitted and stops the waiter. Nobody touches the counter afterwards but to destroy it. Gives back whether the device is at
    /// rest. Nobody submits any more.
    pub(super) fn stop(&self) -> bool {
        let last = self.lock().submitted;
        let mut rests = true;
        loop {
            let known = self.known();
            if known >= last {
                break;
            }
            match self.lost() {
                // Not for what comes after the last one, if that ends just now.
                None => self.wait_for(known + 1),
                Some(error) => {
                    rests = self.counter.rest(&error);
                    break;
                }
            }
        }
        let waiter = {
            let mut state = self.lock();
            state.closed = true;
            state.waiter.take()
        };
        self.wanted.notify_all();
        // A waker that the waiter wakes may drop the device's last handle: then it stops by itself, without touching the counter again.
        if let Some(waiter) = waiter.filter(|waiter| waiter.thread().id() != thread::current().id()) {
            waiter.join().expect("the waiter does not panic");
        }
        rests
    }
}
