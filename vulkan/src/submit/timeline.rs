//! The timeline semaphore: submissions count up, and one thread waits for the device so that no worker does.
//!
//! The protocol is in `README.md`.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ash::vk;

use crate::calls::{Call, Calls};
use crate::error::{VulkanError, VulkanUnavailable};

/// How long one wait lasts before the waiter looks whether it has to stop.
const NAP: Duration = Duration::from_millis(50);

/// What the waiter and those who wait share. It outlives the device: nothing here touches Vulkan once `closed` is set.
pub(crate) struct Timeline {
    calls: Calls,
    device: ash::Device,
    semaphore: vk::Semaphore,
    timeout: Duration,
    /// Everything up to this submission is done. Grows only.
    completed: AtomicU64,
    /// Set once, with the lock held.
    closed: AtomicBool,
    state: Mutex<State>,
    /// Somebody waits, or it is over.
    wanted: Condvar,
}

#[derive(Default)]
struct State {
    /// The last submission.
    submitted: u64,
    /// When each submission that is not known to be done was handed over: the first is `completed + 1`.
    since: VecDeque<Instant>,
    wakers: Vec<(u64, Waker)>,
    /// Nothing more will be done, for this reason.
    lost: Option<VulkanError>,
    waiter: Option<JoinHandle<()>>,
}

impl Timeline {
    pub(super) fn new(
        device: &ash::Device,
        calls: &Calls,
        timeout: Duration,
    ) -> Result<Arc<Self>, VulkanUnavailable> {
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let create = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: the device is alive and has timeline semaphores.
        let semaphore =
            calls.make(Call::CreateSemaphore, || unsafe { device.create_semaphore(&create, None) });
        let semaphore = semaphore.map_err(|result| VulkanUnavailable::of(Call::CreateSemaphore, result))?;
        Ok(Arc::new(Self {
            calls: calls.clone(),
            device: device.clone(),
            semaphore,
            timeout,
            completed: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            state: Mutex::default(),
            wanted: Condvar::new(),
        }))
    }

    pub(super) fn semaphore(&self) -> vk::Semaphore {
        self.semaphore
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing more can be done, and why.
    pub(super) fn lost(&self) -> Option<VulkanError> {
        self.lock().lost.clone()
    }

    /// Nothing more will be done. Who waits is told.
    pub(super) fn lose(&self, error: VulkanError) {
        let wakers = {
            let mut state = self.lock();
            state.lost.get_or_insert(error);
            std::mem::take(&mut state.wakers)
        };
        self.wanted.notify_all();
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// The next submission's number. The queue's lock is held until [`submitted`](Self::submitted) says that it was handed over.
    pub(super) fn next(&self) -> u64 {
        self.lock().submitted + 1
    }

    pub(super) fn submitted(&self, value: u64) {
        let mut state = self.lock();
        state.submitted = value;
        // Who asked the semaphore meanwhile may know that it is done: then nobody would take its time away, and it would be taken for that
        // of a later one, which had seemed to hang after an idle while.
        if value > self.completed.load(Ordering::Relaxed) {
            state.since.push_back(Instant::now());
        }
    }

    /// The last submission that is known to be done; asks the device where one is under way.
    pub(crate) fn completed(&self) -> u64 {
        let known = || self.completed.load(Ordering::Acquire);
        let value = {
            // Held while the semaphore is asked: it is not destroyed before `closed` is set under it.
            let state = self.lock();
            if state.submitted == known() || state.lost.is_some() || self.closed.load(Ordering::Relaxed) {
                return known();
            }
            // SAFETY: the semaphore is alive, as said above.
            self.calls.make(Call::SemaphoreCounter, || unsafe {
                self.device.get_semaphore_counter_value(self.semaphore)
            })
        };
        match value {
            Ok(value) => self.reached(value),
            Err(result) => {
                self.lose(VulkanError::of(Call::SemaphoreCounter, result));
                known()
            }
        }
    }

    /// The device has done everything up to `value`. Wakes who waited for that.
    fn reached(&self, value: u64) -> u64 {
        let mut due = Vec::new();
        let completed = {
            let mut state = self.lock();
            let before = self.completed.fetch_max(value, Ordering::AcqRel);
            let completed = before.max(value);
            let done = (completed - before).min(state.since.len() as u64);
            state.since.drain(..done as usize);
            state.wakers.retain(|(wanted, waker)| {
                let keep = *wanted > completed;
                if !keep {
                    due.push(waker.clone());
                }
                keep
            });
            completed
        };
        due.into_iter().for_each(Waker::wake);
        completed
    }

    /// Whether submission `value` is done; else `waker` is woken when it is.
    fn poll(self: &Arc<Self>, value: u64, waker: &Waker) -> Poll<Result<(), VulkanError>> {
        if self.completed.load(Ordering::Acquire) >= value {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.lock();
        // Again, under the lock that `reached` takes to find wakers.
        if self.completed.load(Ordering::Acquire) >= value {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = &state.lost {
            return Poll::Ready(Err(error.clone()));
        }
        match state.wakers.iter_mut().find(|(wanted, known)| *wanted == value && known.will_wake(waker)) {
            Some(_) => {}
            None => state.wakers.push((value, waker.clone())),
        }
        if state.waiter.is_none() {
            let timeline = self.clone();
            let thread = std::thread::Builder::new().name("upbeat-vulkan".to_owned());
            match thread.spawn(move || timeline.wait_for_all()) {
                Ok(waiter) => state.waiter = Some(waiter),
                // Nobody could wake the task: better an error than a hang.
                Err(error) => {
                    let result = format!("no thread to wait with: {error}");
                    let error = VulkanError::Call { call: Call::WaitSemaphores, result };
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
            let (next, since) = {
                let mut state = self.lock();
                while !self.closed.load(Ordering::Relaxed)
                    && (state.wakers.is_empty() || state.lost.is_some())
                {
                    state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if self.closed.load(Ordering::Relaxed) {
                    return;
                }
                (self.completed.load(Ordering::Acquire) + 1, state.since.front().copied())
            };
            match self.wait_for(next, NAP) {
                Ok(true) => drop(self.completed()),
                Ok(false) if since.is_some_and(|since| since.elapsed() > self.timeout) => {
                    self.lose(VulkanError::Timeout { after: self.timeout });
                }
                Ok(false) => {}
                Err(error) => self.lose(error),
            }
        }
    }

    /// Whether submission `value` was done within `limit`.
    fn wait_for(&self, value: u64, limit: Duration) -> Result<bool, VulkanError> {
        let (semaphores, values) = ([self.semaphore], [value]);
        let wait = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        let limit = limit.as_nanos() as u64;
        // SAFETY: the semaphore is alive: it is destroyed after the waiter has ended, by who waits here last.
        match self.calls.make(Call::WaitSemaphores, || unsafe { self.device.wait_semaphores(&wait, limit) }) {
            Ok(()) => Ok(true),
            Err(vk::Result::TIMEOUT) => Ok(false),
            Err(result) => Err(VulkanError::of(Call::WaitSemaphores, result)),
        }
    }

    /// Waits for what was submitted, stops the waiter and destroys the semaphore. Gives back whether the device is at rest.
    pub(super) fn close(&self) -> bool {
        let last = self.lock().submitted;
        let mut rests = true;
        while rests && self.completed.load(Ordering::Acquire) < last {
            let since = self.lock().since.front().copied();
            // Its work has ended when it says that it is idle or lost; after a time-out it may never.
            let done = match self.lost() {
                Some(VulkanError::Timeout { .. }) => Err(()),
                // SAFETY: the device is alive, and nobody else uses its queue any more.
                Some(_) => match unsafe { self.device.device_wait_idle() } {
                    Ok(()) | Err(vk::Result::ERROR_DEVICE_LOST) => Ok(None),
                    Err(_) => Err(()),
                },
                None => {
                    self.wait_for(last, NAP).map(Some).map_err(|error| self.lose(error)).or(Ok(Some(false)))
                }
            };
            match done {
                Ok(None) => break,
                Ok(Some(true)) => drop(self.reached(last)),
                Ok(Some(false))
                    if self.lost().is_some() || since.is_none_or(|since| since.elapsed() < self.timeout) => {}
                Ok(Some(false)) => self.lose(VulkanError::Timeout { after: self.timeout }),
                Err(()) => rests = false,
            }
        }
        let waiter = {
            let mut state = self.lock();
            self.closed.store(true, Ordering::Relaxed);
            state.waiter.take()
        };
        self.wanted.notify_all();
        // A waker that the waiter wakes may drop the device's last handle: then it stops by itself, without touching Vulkan again.
        if let Some(waiter) = waiter.filter(|waiter| waiter.thread().id() != std::thread::current().id()) {
            waiter.join().expect("the waiter does not panic");
        }
        if rests {
            // SAFETY: nobody waits for it any more, and no submission is under way.
            unsafe { self.device.destroy_semaphore(self.semaphore, None) };
        }
        rests
    }
}

/// The end of submitted work: a future for any executor, and [`wait`](Self::wait) for those who block. Dropping it lets the work run on.
#[derive(Clone)]
#[must_use = "work may fail on the device: await it, or wait for it"]
pub struct Done {
    timeline: Arc<Timeline>,
    value: u64,
}

impl Done {
    pub(super) fn new(timeline: &Arc<Timeline>, value: u64) -> Self {
        Self { timeline: timeline.clone(), value }
    }

    /// Blocks until the work is done. A worker of the runtime runs other tasks meanwhile, as in [`upbeat::block_on`].
    ///
    /// # Errors
    /// [`VulkanError::DeviceLost`], [`VulkanError::Timeout`].
    pub fn wait(self) -> Result<(), VulkanError> {
        upbeat::block_on(self)
    }

    /// Whether the work is done.
    pub fn is_finished(&self) -> bool {
        self.timeline.completed() >= self.value
    }
}

impl Future for Done {
    type Output = Result<(), VulkanError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.timeline.poll(self.value, context.waker())
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Done").field("submission", &self.value).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Choice, Device, Options};

    /// Between the hand-over and the note of it another thread may ask the semaphore.
    #[test]
    fn what_ends_before_it_is_noted_leaves_no_time_behind() {
        let device = match Device::open(&Options::from_env().device(Choice::Any)) {
            Ok(device) => device,
            Err(error) if crate::is_required() => {
                panic!("UPBEAT_REQUIRE_VULKAN=1, but {error}")
            }
            Err(error) => return eprintln!("SKIPPED: a test that needs Vulkan, because {error}"),
        };
        let (raw, calls) = (&device.inner.raw, &device.inner.calls);
        let timeline = Timeline::new(raw, calls, Duration::from_secs(1)).unwrap();
        timeline.submitted(1);
        assert_eq!(timeline.lock().since.len(), 1);
        // The second was handed over and has ended; its number is noted only after.
        assert_eq!(timeline.reached(2), 2);
        timeline.submitted(2);
        assert_eq!(timeline.lock().since.len(), 0, "nothing is under way");
        timeline.submitted(3);
        assert_eq!(timeline.lock().since.len(), 1);
        timeline.reached(3);
        assert!(timeline.close());
    }
}
