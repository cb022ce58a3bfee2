//! Work of many tasks as few submissions, formed by the runtime's batch former.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use upbeat::batch::{BatchOptions, BatchOptionsError, Batcher, Reply};
use upbeat::Runtime;

use super::semaphore::Done;
use crate::commands::{Commands, Work};
use crate::device::Device;
use crate::error::VulkanError;

type Outcome = Result<Done, VulkanError>;

/// Gathers [`Commands`] of many tasks and submits them together: a submission costs as much as hundreds of small dispatches. Clones
/// gather together.
///
/// ```no_run
/// # use upbeat_vulkan::{Batched, Device, Options};
/// let device = Device::open(&Options::from_env())?;
/// let runtime = upbeat::Runtime::new()?;
/// let batched = Batched::on(&runtime, &device, 64)?;
/// let x = device.upload(&[1.0_f32; 1000])?;
/// let mut commands = device.commands();
/// commands.scale(&x, 2.0, &x)?;
/// batched.submit(commands)?.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Batched {
    device: Device,
    batcher: Batcher<Vec<Work>, Outcome>,
}

impl Batched {
    /// Batches of `cap` lists at most, submitted by workers of `runtime`.
    ///
    /// # Errors
    /// [`BatchOptionsError`] when the cap is 0 or above 4096.
    pub fn on(runtime: &Runtime, device: &Device, cap: usize) -> Result<Self, BatchOptionsError> {
        let owned = device.clone();
        let executor = move |lists: &mut Vec<Vec<Work>>, outcomes: &mut Vec<Outcome>| {
            let outcome = owned.inner.queue.submit(&owned.inner, lists);
            outcomes.extend(lists.drain(..).map(|_| outcome.clone()));
        };
        Ok(Self { device: device.clone(), batcher: Batcher::on(runtime, &BatchOptions::new(cap), executor)? })
    }

    /// Adds a list; waits where the backlog is full. Lists of one batch run in the order in which they were added, and what they read and
    /// write keeps them apart. Of two batches either may come first: await a list before you add one that needs its results. A list that cannot
    /// be submitted takes its batch with it: all are told.
    ///
    /// # Errors
    /// [`VulkanError::OtherDevice`]; [`VulkanError::Refused`] when the runtime has ended.
    pub fn submit(&self, commands: Commands) -> Result<Pending, VulkanError> {
        if !self.device.is(commands.device()) {
            return Err(VulkanError::OtherDevice);
        }
        let reply = self.batcher.submit(commands.into_work());
        reply.map(Pending::Queued).map_err(|refused| VulkanError::Refused(refused.reason))
    }

    /// Lets what was added leave as soon as a worker is free.
    pub fn flush(&self) {
        self.batcher.flush();
    }
}

/// The end of a list that a [`Batched`] took: a future, and [`wait`](Self::wait) for those who block.
#[must_use = "dropping it before its batch has left takes the list back"]
#[derive(Debug)]
pub enum Pending {
    /// Its batch has not left.
    #[doc(hidden)]
    Queued(Reply<Outcome>),
    /// The device has it.
    #[doc(hidden)]
    Running(Done),
}

impl Pending {
    /// Blocks until the work is done. A worker submits the batch itself if it may leave, and runs other tasks meanwhile.
    ///
    /// # Errors
    /// What submitting failed with; [`VulkanError::Batch`] when the runtime ended before.
    pub fn wait(self) -> Result<(), VulkanError> {
        match self {
            Self::Queued(reply) => reply.wait().map_err(VulkanError::Batch)??.wait(),
            Self::Running(done) => done.wait(),
        }
    }
}

impl Future for Pending {
    type Output = Result<(), VulkanError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                Self::Queued(reply) => match Pin::new(reply).poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(VulkanError::Batch(error))),
                    Poll::Ready(Ok(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(Ok(done))) => *self = Self::Running(done),
                },
                Self::Running(done) => return Pin::new(done).poll(context),
            }
        }
    }
}
