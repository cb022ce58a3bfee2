//! The device's timeline semaphore as a timeline's counter, and the futures of submissions' ends.

use std::future::Future;
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ash::vk;

use super::role::{Role, Uses};
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

/// The timelines of a device's queues.
pub(crate) struct Timelines {
    compute: Arc<Timeline<Semaphore>>,
    /// Of the queue that copies, where there is one.
    copies: Option<Arc<Timeline<Semaphore>>>,
}

impl Timelines {
    /// Both, or the first alone.
    pub(crate) fn new(
        device: &ash::Device,
        calls: &Calls,
        timeout: Duration,
        copies: bool,
    ) -> Result<Arc<Self>, VulkanUnavailable> {
        let make = || Ok(Timeline::new(Semaphore::new(device, calls)?, timeout));
        let compute = make()?;
        let copies = match copies.then(make).transpose() {
            Ok(copies) => copies,
            Err(error) => {
                // Nothing was submitted: that ends it.
                compute.close();
                return Err(error);
            }
        };
        Ok(Arc::new(Self { compute, copies }))
    }

    pub(super) fn of(&self, role: Role) -> &Arc<Timeline<Semaphore>> {
        match role {
            Role::Compute => &self.compute,
            Role::Copies => self.copies.as_ref().expect("a queue has a timeline"),
        }
    }

    /// Whether a queue can do nothing more, and so the device, and why.
    pub(super) fn lost(&self) -> Option<VulkanError> {
        self.all().find_map(|timeline| timeline.lost())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Timeline<Semaphore>>> {
        std::iter::once(&self.compute).chain(&self.copies)
    }
}

/// [`upbeat::block_on`] for futures of a device's work, on the waiters' threads too: a waker that blocks there does the work of both waiters, or nobody
/// would: the other one's thread may be blocked just so.
pub(super) fn block_on<F: Future>(timelines: &Timelines, future: F) -> F::Output {
    if !timelines.all().any(|timeline| timeline.is_waiter()) {
        return upbeat::block_on(future);
    }
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let mut waited = false;
        for timeline in timelines.all().filter(|timeline| timeline.is_busy()) {
            timeline.wait_as_waiter();
            waited = true;
        }
        if !waited {
            // For something that is no work of the device's.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The end of submitted work: a future for any executor, and [`wait`](Self::wait) for those who block. Dropping it lets the work run on.
#[derive(Clone)]
#[must_use = "work may fail on the device: await it, or wait for it"]
pub struct Done {
    timelines: Arc<Timelines>,
    role: Role,
    value: u64,
}

impl Done {
    pub(super) fn new(timelines: &Arc<Timelines>, role: Role, value: u64) -> Self {
        Self { timelines: timelines.clone(), role, value }
    }

    fn timeline(&self) -> &Arc<Timeline<Semaphore>> {
        self.timelines.of(self.role)
    }

    /// The last uses of what it used, and nothing else has.
    pub(crate) fn uses(&self) -> Uses {
        let mut uses = Uses::default();
        match self.role {
            Role::Compute => uses.compute = self.value,
            Role::Copies => uses.copies = self.value,
        }
        uses
    }

    /// Blocks until the work is done. A worker of the runtime runs other tasks meanwhile, as in [`upbeat::block_on`].
    ///
    /// # Errors
    /// [`VulkanError::DeviceLost`], [`VulkanError::Timeout`].
    pub fn wait(self) -> Result<(), VulkanError> {
        let timelines = self.timelines.clone();
        block_on(&timelines, self)
    }

    /// Whether the work has ended, well or not: [`wait`](Self::wait) says at once which.
    pub fn is_finished(&self) -> bool {
        self.timeline().completed() >= self.value || self.timeline().lost().is_some()
    }
}

impl Future for Done {
    type Output = Result<(), VulkanError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.timeline().poll(self.value, context.waker())
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Done").field("submission", &self.value).finish_non_exhaustive()
    }
}
