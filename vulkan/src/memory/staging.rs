//! Blocks through which numbers travel where the host cannot use the device's memory: mapped once, used again when the device is done
//! with them, at most [`KEPT`] of each direction.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use super::block::{Place, RawBlock};
use super::{lock, Memory};
use crate::device::{Device, Inner};
use crate::error::VulkanError;

/// Blocks of a direction that are kept: one is filled while others travel.
const KEPT: usize = 4;

/// Free blocks, by direction. They are the device's own, so they do not keep it alive.
pub(crate) struct Staging {
    bytes: usize,
    up: Mutex<Vec<Arc<RawBlock>>>,
    down: Mutex<Vec<Arc<RawBlock>>>,
}

/// A block that nobody else has. It goes back when it is dropped, though a future be dropped while it waits: who takes it next waits for
/// the submission that uses it.
pub(crate) struct Taken<'a> {
    device: &'a Device,
    place: Place,
    /// Taken by `drop` alone.
    block: Option<Arc<RawBlock>>,
}

impl Deref for Taken<'_> {
    type Target = Arc<RawBlock>;
    fn deref(&self) -> &Arc<RawBlock> {
        self.block.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let memory = &self.device.inner.memory;
        if let Some(block) = self.block.take() {
            memory.staging().give(memory, self.place, block);
        }
    }
}

impl Staging {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes: bytes / KEPT, up: Mutex::default(), down: Mutex::default() }
    }

    /// Bytes of one block.
    pub(crate) fn block_bytes(&self) -> usize {
        self.bytes
    }

    fn free(&self, place: Place) -> &Mutex<Vec<Arc<RawBlock>>> {
        if place == Place::Readback {
            &self.down
        } else {
            &self.up
        }
    }

    /// A block that nobody uses. Waits for the device where enough are under way; whoever waits on a worker runs other tasks, and as
    /// those may need blocks too, nobody waits for one that another holds: then there is one more.
    pub(crate) async fn take<'a>(&self, device: &'a Device, place: Place) -> Result<Taken<'a>, VulkanError> {
        let taken = |block| Taken { device, place, block: Some(block) };
        loop {
            // Before the lock: it wakes who waited, and what that runs may need a block.
            let done = device.inner.completed();
            let oldest = {
                let mut free = lock(self.free(place));
                if let Some(at) = free.iter().position(|block| block.last_uses().are_over(&done)) {
                    return Ok(taken(free.swap_remove(at)));
                }
                if free.len() < KEPT {
                    None
                } else {
                    // Given back first, or nearly.
                    free.first().map(|block| block.last_uses())
                }
            };
            let Some(oldest) = oldest else {
                return Ok(taken(Arc::new(RawBlock::new(&device.inner, self.bytes as u64, place)?)));
            };
            device.inner.done(&oldest).await?;
        }
    }

    /// Takes a block back.
    fn give(&self, memory: &Memory, place: Place, block: Arc<RawBlock>) {
        let mut free = lock(self.free(place));
        if free.len() < KEPT {
            free.push(block);
        } else {
            drop(free);
            discard(memory, block);
        }
    }

    /// Lets go of blocks that nothing travels through, but for so many of each direction. Whether there were any.
    pub(super) fn trim(&self, memory: &Memory, device: &Inner, but: usize) -> bool {
        let done = device.completed();
        let mut idle = Vec::new();
        for free in [&self.up, &self.down] {
            let mut free = lock(free);
            // Those that are the first to be done stay.
            free.sort_by_key(|block| block.last_uses());
            let from = free.len().min(but);
            idle.extend(free.extract_if(from.., |block| block.last_uses().are_over(&done)));
        }
        let any = !idle.is_empty();
        idle.into_iter().for_each(|block| discard(memory, block));
        any
    }

    pub(super) fn close(&self, memory: &Memory) {
        for free in [&self.up, &self.down] {
            for block in std::mem::take(&mut *lock(free)) {
                discard(memory, block);
            }
        }
    }
}

/// Lets the memory take a block back when the device is done with it.
fn discard(memory: &Memory, block: Arc<RawBlock>) {
    // A list of commands that was submitted has let go of it by now; were it not so, its memory would last as long as the device.
    if let Some(mut block) = Arc::into_inner(block) {
        if let Some(retired) = block.take_apart() {
            lock(&memory.retired).push(retired);
        }
    }
}
