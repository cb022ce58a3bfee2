//! The device's timeline semaphore as a timeline's counter, and the futures of submissions' ends.

use std::future::Future;
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ash::vk;

use super::timeline::{Counter, Timeline};
use crate::calls::{Call, Calls};
use crate::error::{VulkanError, VulkanUnavailable};

/// A semaphore that each submission raises to its number.
pub(super) struct Semaphore {
    calls: Calls,
    device: ash::Device,
    raw: vk::Semaphore,
    made: Instant,
}

impl Semaphore {
    pub(super) fn new(device: &ash::Device, calls: &Calls) -> Result<Self, VulkanUnavailable> {
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let create = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: the device is alive and has timeline semaphores.
        let raw = calls.make(Call::CreateSemaphore, || unsafe { device.create_semaphore(&create, None) });
        let raw = raw.map_err(|result| VulkanUnavailable::of(Call::CreateSemaphore, result))?;
        Ok(Self { calls: calls.clone(), device: device.clone(), raw, made: Instant::now() })
    }

    pub(super) fn raw(&self) -> vk::Semaphore {
        self.raw
    }
}

impl Counter for Semaphore {
    type Error = VulkanError;

    fn value(&self) -> Result<u64, VulkanError> {
        // SAFETY: the semaphore is alive: the timeline asks with the lock held and before it is closed.
        let value = self
            .calls
            .make(Call::SemaphoreCounter, || unsafe { self.device.get_semaphore_counter_value(self.raw) });
        value.map_err(|result| VulkanError::of(Call::SemaphoreCounter, result))
    }

    fn wait(&self, value: u64, limit: Duration) -> Result<bool, VulkanError> {
        let (semaphores, values) = ([self.raw], [value]);
        let wait = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        let limit = limit.as_nanos() as u64;
        // SAFETY: the semaphore is alive: it is destroyed after the waiter has ended, by who waits here last.
        match self.calls.make(Call::WaitSemaphores, || unsafe { self.device.wait_semaphores(&wait, limit) }) {
            Ok(()) => Ok(true),
            Err(vk::Result::TIMEOUT) => Ok(false),
            Err(result) => Err(VulkanError::of(Call::WaitSemaphores, result)),
        }
    }

    fn rest(&self, error: &VulkanError) -> bool {
        // Its work has ended when it says that it is idle or lost; after a time-out it may never.
        if matches!(error, VulkanError::Timeout { .. }) {
            return false;
        }
        // SAFETY: the device is alive, and nobody else uses its queue any more.
        matches!(unsafe { self.device.device_wait_idle() }, Ok(()) | Err(vk::Result::ERROR_DEVICE_LOST))
    }

    fn destroy(&self) {
        // SAFETY: nobody waits for it any more, and no submission is under way.
        unsafe { self.device.destroy_semaphore(self.raw, None) };
    }

    fn now(&self) -> Duration {
        self.made.elapsed()
    }

    fn late(after: Duration) -> VulkanError {
        VulkanError::Timeout { after }
    }

    fn no_waiter(error: std::io::Error) -> VulkanError {
        VulkanError::Call { call: Call::WaitSemaphores, result: format!("no thread to wait with: {error}") }
    }
}

/// [`upbeat::block_on`] for futures of a device's work, on the waiter's thread too: a waker that blocks there does the waiter's work, or nobody
/// would.
pub(super) fn block_on<F: Future>(timeline: &Timeline<Semaphore>, future: F) -> F::Output {
    if !timeline.is_waiter() {
        return upbeat::block_on(future);
    }
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        timeline.wait_as_waiter();
    }
}

/// The end of submitted work: a future for any executor, and [`wait`](Self::wait) for those who block. Dropping it lets the work run on.
#[derive(Clone)]
#[must_use = "work may fail on the device: await it, or wait for it"]
pub struct Done {
    timeline: Arc<Timeline<Semaphore>>,
    value: u64,
}

impl Done {
    pub(super) fn new(timeline: &Arc<Timeline<Semaphore>>, value: u64) -> Self {
        Self { timeline: timeline.clone(), value }
    }

    /// The submission's number.
    pub(crate) fn value(&self) -> u64 {
        self.value
    }

    /// Blocks until the work is done. A worker of the runtime runs other tasks meanwhile, as in [`upbeat::block_on`].
    ///
    /// # Errors
    /// [`VulkanError::DeviceLost`], [`VulkanError::Timeout`].
    pub fn wait(self) -> Result<(), VulkanError> {
        let timeline = self.timeline.clone();
        block_on(&timeline, self)
    }

    /// Whether the work has ended, well or not: [`wait`](Self::wait) says at once which.
    pub fn is_finished(&self) -> bool {
        self.timeline.completed() >= self.value || self.timeline.lost().is_some()
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
