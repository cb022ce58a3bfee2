//! Moves live buffers, so that less memory is reserved. What is moved where is planned in `plan.rs`; why nobody notices is in `README.md`.

use std::sync::Arc;

use super::block::Lies;
use super::heaps::Taken;
use super::plan::Piece;
use super::{bind, is_full, lock, make_buffer, Block, Memory, Place, Placement, Retired};
use crate::calls::Call;
use crate::commands::{Operand, Work};
use crate::device::Inner;
use crate::error::VulkanError;
use crate::submit::Uses;

/// Plans that are made at most: each may only use what the ones before it have freed, and threads that allocate meanwhile could keep them from
/// coming to an end.
const PLANS: usize = 16;

/// What [`Device::defragment`](crate::Device::defragment) has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defragmented {
    /// Buffers that were moved.
    pub moved: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes that are reserved no longer.
    pub freed: u64,
}

/// A block that is to move.
struct Moving {
    block: Arc<Block>,
    from: Piece,
    taken: Taken,
    /// Where it will lie, once there is a buffer.
    to: Option<Placement>,
}

/// Moves that are planned and not handed over. What is left when it is dropped is undone, though a future be dropped while it waits.
struct Planned<'a> {
    memory: &'a Memory,
    device: &'a Inner,
    moves: Vec<Moving>,
}

impl Planned<'_> {
    fn new<'a>(memory: &'a Memory, device: &'a Inner) -> Result<Planned<'a>, VulkanError> {
        let mut planned = Planned { memory, device, moves: Vec::new() };
        let outcome = {
            let mut heaps = lock(&memory.heaps);
            let (moves, outcome) = heaps.plan(&device.calls);
            for made in moves {
                match made.owner.upgrade() {
                    Some(block) => {
                        planned.moves.push(Moving { block, from: made.from, taken: made.to, to: None });
                    }
                    // Its last handle goes just now; who drops it gives back its bytes.
                    None => heaps.give(made.to.piece),
                }
            }
            outcome
        };
        outcome.map(|()| planned)
    }

    /// A buffer where each one is to lie. What the device has no memory to describe stays.
    fn make_buffers(&mut self) -> Result<(), VulkanError> {
        for moving in &mut self.moves {
            // Buffers that are made alike need alike memory (maintenance4).
            let raw = match make_buffer(self.device, moving.block.raw.bytes) {
                Ok((raw, _)) => raw,
                Err(result) if is_full(result) => break,
                Err(result) => return Err(VulkanError::of(Call::CreateBuffer, result)),
            };
            match bind(self.device, raw, &moving.taken, Place::Device) {
                Ok(to) => moving.to = Some(to),
                Err(error) => {
                    // SAFETY: the buffer was just made, nothing uses it, and it is destroyed once.
                    unsafe { self.device.raw.destroy_buffer(raw, None) };
                    return Err(error);
                }
            }
        }
        let stays = |moving: &mut Moving| !moving.to.is_some_and(|to| moving.block.raw.may_move(&to));
        let stay: Vec<_> = self.moves.extract_if(.., stays).collect();
        for moving in stay {
            // Not again where what is there does not suit: it would be offered again.
            let again = moving.to.is_none();
            self.undo(moving, again);
        }
        Ok(())
    }

    /// The block stays where it is, and may be planned for `again`.
    fn undo(&self, moving: Moving, again: bool) {
        if let Some(to) = moving.to {
            // SAFETY: nothing uses the buffer: it was never handed over.
            unsafe { self.device.raw.destroy_buffer(to.raw, None) };
        }
        // Gone before the block is, whose end needs it.
        let mut heaps = lock(&self.memory.heaps);
        heaps.give(moving.taken.piece);
        if again {
            heaps.belongs_to(moving.from, Arc::downgrade(&moving.block));
        }
    }
}

impl Drop for Planned<'_> {
    fn drop(&mut self) {
        for moving in std::mem::take(&mut self.moves) {
            self.undo(moving, true);
        }
    }
}

impl Memory {
    /// Moves what is planned until nothing is. Of the staging ring so many blocks of each direction stay. Its callers wait; other threads do what they like meanwhile, this too: what one moves the others
    /// leave alone.
    pub(crate) async fn defragment(&self, device: &Inner, ring: usize) -> Result<Defragmented, VulkanError> {
        let before = lock(&self.heaps).reserved();
        let mut all = Defragmented::default();
        self.staging.trim(self, device, ring);
        let retired = lock(&self.retired).iter().fold(Uses::default(), |all, of| all.and(&of.last_uses));
        device.done(&retired).await?;
        for _ in 0..PLANS {
            self.collect(device);
            let made = self.make_moves(device, &mut all).await?;
            if !made {
                break;
            }
        }
        all.freed = before.saturating_sub(lock(&self.heaps).reserved());
        Ok(all)
    }

    /// Plans once, and makes the moves. Whether there were any.
    async fn make_moves(&self, device: &Inner, all: &mut Defragmented) -> Result<bool, VulkanError> {
        let mut planned = Planned::new(self, device)?;
        planned.make_buffers()?;
        let work = planned.moves.iter().filter_map(|moving| {
            Some(Work::Move { block: Operand::whole(moving.block.clone()), to: moving.to? })
        });
        let work: Vec<_> = work.collect();
        if work.is_empty() {
            return Ok(false);
        }
        // Nobody else moves them, so they are where they were when they were planned for.
        let old: Vec<_> = planned.moves.iter().map(|moving| moving.block.raw.raw()).collect();
        let done = device.queue.submit_async(device, std::slice::from_ref(&work)).await?;
        for (moving, raw) in std::mem::take(&mut planned.moves).into_iter().zip(old) {
            all.moved += 1;
            all.bytes += moving.block.raw.bytes;
            lock(&self.heaps).belongs_to(moving.taken.piece, Arc::downgrade(&moving.block));
            // The copy has waited for what the other queue did.
            let retired = Retired { raw, lies: Lies::Lent(moving.from), bytes: None, last_uses: done.uses() };
            lock(&self.retired).push(retired);
        }
        drop(work);
        done.await?;
        self.collect(device);
        Ok(true)
    }
}
