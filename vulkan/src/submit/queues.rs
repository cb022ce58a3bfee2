//! The device's queues: the one that computes, and where the device has one for it one that copies between host and device meanwhile.
//!
//! Each counts its submissions on a timeline of its own. Whoever hands work over looks, under a lock that both have in common, which submission to
//! the other queue uses the same blocks, and has the device wait for it: work runs as if it were handed to one queue, as far as anybody can tell.

use std::future::Future;
use std::sync::{MutexGuard, PoisonError};

use ash::vk;

use super::{Metrics, Queue, Role, Uses};
use crate::device::Inner;
use crate::error::VulkanError;

/// Bytes from which a copy goes to the queue for copies: below, waiting for each other costs the queues more than the copy.
const LARGE: usize = 1 << 20;

/// Whether there is a queue for copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyQueue {
    /// Everything goes to the queue that computes.
    No,
    /// Where the device has queues for nothing but copies.
    OfItsOwn,
    /// The queue that computes serves as both, and takes copies of any size as the other one: for tests where there is but one.
    Pretended,
}

impl CopyQueue {
    /// Which of the device's families it is of, where `compute` is the one that computes.
    pub(crate) fn family(self, compute: usize, families: &[vk::QueueFamilyProperties]) -> Option<u32> {
        let place = match self {
            Self::No => None,
            Self::OfItsOwn => {
                // Decoders and encoders copy, too, but they are not made for it.
                let most =
                    vk::QueueFlags::TRANSFER | vk::QueueFlags::SPARSE_BINDING | vk::QueueFlags::PROTECTED;
                families.iter().position(|family| {
                    let flags = family.queue_flags;
                    flags.contains(vk::QueueFlags::TRANSFER) && most.contains(flags) && family.queue_count > 0
                })
            }
            Self::Pretended => Some(compute),
        };
        place.map(|place| place as u32)
    }
}

impl Inner {
    pub(crate) fn queues(&self) -> impl Iterator<Item = &Queue> {
        std::iter::once(&self.queue).chain(&self.copies)
    }

    /// The queue that is not the one of `role`.
    pub(super) fn other_queue(&self, role: Role) -> Option<&Queue> {
        match role {
            Role::Compute => self.copies.as_ref(),
            Role::Copies => Some(&self.queue),
        }
    }

    /// Which queue a copy of `bytes` between host and device is for.
    pub(crate) fn queue_for_copy(&self, bytes: usize) -> &Queue {
        let is_large = bytes >= LARGE || self.options.copies == CopyQueue::Pretended;
        self.copies.as_ref().filter(|_| is_large).unwrap_or(&self.queue)
    }

    /// Held from before the numbers of other submissions are read until one's own is written. Nobody needs it where there is one queue, which has
    /// a lock.
    pub(super) fn order(&self) -> Option<MutexGuard<'_, ()>> {
        self.copies.as_ref().map(|_| self.order.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The families of both queues, where they differ: buffers have to know them.
    pub(crate) fn two_families(&self) -> Option<[u32; 2]> {
        let families = [self.queue.family(), self.copies.as_ref()?.family()];
        (families[0] != families[1]).then_some(families)
    }

    fn uses(&self, of: impl Fn(&Queue) -> u64) -> Uses {
        Uses { compute: of(&self.queue), copies: self.copies.as_ref().map_or(0, of) }
    }

    /// The last submissions that are known to be done, asking the device.
    pub(crate) fn completed(&self) -> Uses {
        self.uses(Queue::completed)
    }

    /// As [`completed`](Self::completed), without asking the device or waking anybody.
    pub(crate) fn known(&self) -> Uses {
        self.uses(Queue::known)
    }

    /// Waits until `uses` are over.
    pub(crate) async fn done(&self, uses: &Uses) -> Result<(), VulkanError> {
        for queue in self.queues() {
            queue.done(uses.of(queue.role())).await?;
        }
        Ok(())
    }

    /// Waits for everything that was submitted.
    pub(crate) fn finish(&self) -> Result<(), VulkanError> {
        self.queues().try_for_each(Queue::finish)
    }

    /// [`upbeat::block_on`], on whichever thread.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.queue.block_on(future)
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let all = self.queue.metrics(self);
        match &self.copies {
            Some(copies) => all.beside(&copies.metrics(self)),
            None => all,
        }
    }

    /// Waits for everything and ends the queues. Gives back whether the device is at rest, and it may be ended, too.
    pub(crate) fn close_queues(&self) -> bool {
        // All of them, though one be given up: its waiter ends, too. Nothing is destroyed before, for work of one queue waits for the other.
        let rests: Vec<_> = self.queues().map(Queue::close).collect();
        let rests = rests.into_iter().all(|rests| rests);
        if rests {
            if self.copies.is_some() {
                // All has ended by what the semaphores say. Mesa 22.3 still looks at those that work has waited for after that.
                // SAFETY: the device is alive, and nobody uses its queues any more. Were it lost, its work has ended as well.
                let _ = unsafe { self.raw.device_wait_idle() };
            }
            self.queues().for_each(|queue| queue.destroy(&self.raw));
        }
        rests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_for_copies_does_nothing_else() {
        use vk::QueueFlags as Flags;
        let all = Flags::GRAPHICS | Flags::COMPUTE | Flags::TRANSFER;
        let family = |flags: &[Flags], of: CopyQueue| {
            let families: Vec<_> = flags
                .iter()
                .map(|flags| vk::QueueFamilyProperties {
                    queue_flags: *flags,
                    queue_count: 1,
                    ..Default::default()
                })
                .collect();
            of.family(0, &families)
        };
        let own = CopyQueue::OfItsOwn;
        assert_eq!(family(&[all], own), None);
        assert_eq!(family(&[all, Flags::COMPUTE | Flags::TRANSFER], own), None, "it computes, too");
        assert_eq!(family(&[all, Flags::TRANSFER], own), Some(1));
        let decodes = Flags::TRANSFER | Flags::VIDEO_DECODE_KHR;
        assert_eq!(family(&[all, decodes], own), None, "it is there for something else");
        assert_eq!(family(&[all, decodes, Flags::TRANSFER | Flags::SPARSE_BINDING], own), Some(2));
        assert_eq!(family(&[all, Flags::TRANSFER], CopyQueue::No), None);
        assert_eq!(family(&[all, Flags::TRANSFER], CopyQueue::Pretended), Some(0));
        let mut none = vk::QueueFamilyProperties { queue_flags: Flags::TRANSFER, ..Default::default() };
        none.queue_count = 0;
        assert_eq!(own.family(0, &[none]), None);
    }
}
