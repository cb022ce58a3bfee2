//! Lists of work for the device: dispatches, copies and fills, with what each reads and writes.

mod hazards;
mod record;
mod steps;

pub(crate) use hazards::Hazards;
pub(crate) use record::{record, Recorded, Scope};
pub(crate) use steps::{pieces, Piece};

use std::ops::Range;
use std::sync::Arc;

use upbeat_kernels::ShapeError;

use crate::device::Device;
use crate::error::VulkanError;
use crate::memory::{Block, Placement, RawBlock};
use crate::pipeline::{Compiled, Constants, Kernel};
use crate::submit::{Done, Role};

/// What a command does to an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reads it.
    Read,
    /// Reads it where it may be the very numbers that are written: whoever writes one has read it before, and nobody else reads it.
    ReadInPlace,
    /// Writes it, or both.
    Write,
}

/// Who keeps an operand's memory.
#[derive(Clone)]
pub(crate) enum Owner {
    /// Handles of users.
    Buffer(Arc<Block>),
    /// The device itself.
    Staging(Arc<RawBlock>),
}

/// Bytes that a command reads or writes.
#[derive(Clone)]
pub(crate) struct Operand {
    pub(crate) owner: Owner,
    /// Bytes of the block.
    pub(crate) range: Range<u64>,
    pub(crate) access: Access,
}

impl Operand {
    /// All of a block, which is written.
    pub(crate) fn whole(block: Arc<Block>) -> Self {
        let range = 0..block.raw.bytes;
        Self { owner: Owner::Buffer(block), range, access: Access::Write }
    }

    pub(crate) fn block(&self) -> &RawBlock {
        match &self.owner {
            Owner::Buffer(block) => &block.raw,
            Owner::Staging(block) => block,
        }
    }

    /// Where it is at the moment: to be asked with the queue's lock, as blocks move.
    fn address(&self) -> u64 {
        self.block().address() + self.range.start
    }

    /// Which byte it begins at, wherever that lies.
    fn start(&self) -> (u64, u64) {
        (self.block().id, self.range.start)
    }

    /// Whether it begins at a multiple of `bytes`, 16 at most, wherever its block moves.
    pub(crate) fn is_aligned(&self, bytes: u64) -> bool {
        self.block().alignment().is_multiple_of(bytes) && self.range.start.is_multiple_of(bytes)
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.block().id == other.block().id && meet(&self.range, &other.range)
    }
}

/// Whether two ranges have a byte in common. An empty one has none, wherever it lies.
pub(crate) fn meet(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

/// Bytes of push constants that every device has.
pub(crate) const PUSH_BYTES: usize = 128;

/// One run of a kernel.
pub(crate) struct Dispatch {
    pub(crate) kernel: Kernel,
    pub(crate) constants: Constants,
    /// What runs in place of the kernel's own pipeline.
    pub(crate) program: Option<Arc<Compiled>>,
    pub(crate) groups: [u32; 3],
    pub(crate) operands: Vec<Operand>,
    /// Room for the operands' addresses, which are looked up when it is handed over; then the parameters, then zeros.
    pub(crate) push: [u8; PUSH_BYTES],
}

impl Dispatch {
    /// The push constants, with the addresses of the moment: with the queue's lock and the blocks' turns.
    fn push_constants(&self) -> [u8; PUSH_BYTES] {
        let mut push = self.push;
        for (operand, to) in self.operands.iter().zip(push.chunks_exact_mut(8)) {
            to.copy_from_slice(&operand.address().to_ne_bytes());
        }
        push
    }
}

pub(crate) enum Work {
    Dispatch(Dispatch),
    Copy {
        from: Operand,
        to: Operand,
    },
    Fill {
        to: Operand,
        word: u32,
    },
    /// A block as a whole is copied `to` where it lies from then on.
    Move {
        block: Operand,
        to: Placement,
    },
}

impl Work {
    pub(crate) fn operands(&self) -> impl Iterator<Item = &Operand> {
        let (many, two) = match self {
            Self::Dispatch(dispatch) => (&dispatch.operands[..], [None, None]),
            Self::Copy { from, to } => (&[][..], [Some(from), Some(to)]),
            Self::Fill { to, .. } | Self::Move { block: to, .. } => (&[][..], [Some(to), None]),
        };
        many.iter().chain(two.into_iter().flatten())
    }

    /// The submission `value` to the queue of `role` has it, and uses all that it needs. With the queue's lock and the blocks' turns.
    pub(crate) fn submitted(&self, role: Role, value: u64) {
        self.operands().for_each(|operand| operand.block().used_by(role, value));
        match self {
            Self::Dispatch(Dispatch { program: Some(program), .. }) => program.used_by(value),
            Self::Move { block, to } => block.block().place(to),
            _ => {}
        }
    }
}

/// A list of work, in order. Each of its methods checks its shapes and adds to it; nothing happens before it is
/// [submitted](Self::submit). Where one reads what another wrote, a barrier comes between them, and only there: the rest may run at once.
///
/// Arithmetic and ReLU over up to 1024 numbers which wait for each other run in one dispatch, up to twelve of them: a workgroup goes through
/// them in turn, without a dispatch and a barrier of the device for each. Results are the same ([`Options::merge_steps`](crate::Options::merge_steps)).
///
/// A method that gives back an error has added nothing.
#[must_use = "a list does nothing before it is submitted"]
pub struct Commands {
    device: Device,
    work: Vec<Work>,
}

impl Commands {
    pub(crate) fn new(device: &Device) -> Self {
        Self { device: device.clone(), work: Vec::new() }
    }

    /// The device that it is for.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How many pieces of work are in it.
    pub fn len(&self) -> usize {
        self.work.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.work.is_empty()
    }

    /// Each dispatch: its kernel, its constants and its groups.
    #[cfg(test)]
    pub(crate) fn dispatches(&self) -> Vec<(Kernel, Constants, [u32; 3])> {
        let dispatches = self.work.iter().filter_map(|work| match work {
            Work::Dispatch(dispatch) => Some((dispatch.kernel, dispatch.constants, dispatch.groups)),
            _ => None,
        });
        dispatches.collect()
    }

    /// Adds the work of `other`, after this one's.
    ///
    /// # Errors
    /// [`VulkanError::OtherDevice`].
    pub fn append(&mut self, other: Self) -> Result<&mut Self, VulkanError> {
        if !self.device.is(&other.device) {
            return Err(VulkanError::OtherDevice);
        }
        self.work.extend(other.work);
        Ok(self)
    }

    /// Hands the work to the device, in one submission. Gives back at once while fewer than [`Options::in_flight`](crate::Options::in_flight)
    /// submissions are under way; else it waits for the oldest, and a worker runs other tasks meanwhile: hold no lock that they might take.
    /// [`Done`] is a future of the work's end.
    ///
    /// # Errors
    /// [`VulkanError::DeviceLost`], and what submitting can fail with; then none of it runs.
    pub fn submit(self) -> Result<Done, VulkanError> {
        self.device.inner.queue.submit(&self.device.inner, std::slice::from_ref(&self.work))
    }

    /// [`submit`](Self::submit) for futures: where it would wait, the task does.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_async(self) -> Result<Done, VulkanError> {
        self.device.inner.queue.submit_async(&self.device.inner, std::slice::from_ref(&self.work)).await
    }

    /// [`submit`](Self::submit) for those who must not wait: `None` where it would, and the list is as it was;
    /// [`Device::room`](crate::Device::room) is what to wait for. Else the list is empty afterwards. It may be called with a lock held that tasks
    /// take when they are woken: it wakes nobody.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); the list is empty then, too.
    pub fn try_submit(&mut self) -> Result<Option<Done>, VulkanError> {
        let outcome =
            self.device.inner.queue.try_submit(&self.device.inner, std::slice::from_ref(&self.work));
        if !matches!(outcome, Ok(None)) {
            self.work.clear();
        }
        outcome
    }

    /// [`submit_async`](Self::submit_async) of copies between host and device: those of large ones, `bytes` in all, go to the queue for copies, where
    /// there is one.
    pub(crate) async fn submit_copies(self, bytes: usize) -> Result<Done, VulkanError> {
        let device = &self.device.inner;
        device.queue_for_copy(bytes).submit_async(device, std::slice::from_ref(&self.work)).await
    }

    pub(crate) fn into_work(self) -> Vec<Work> {
        self.work
    }

    /// Adds a run of `kernel` in `groups` workgroups. The kernel's push constants are the operands' addresses and then `parameters`.
    /// The caller has checked that the kernel stays within its operands.
    ///
    /// # Errors
    /// An operand of another device, or one that is written and overlaps another, unless it is the very same and read
    /// in place; more groups than there may be.
    pub(crate) fn dispatch(
        &mut self,
        kernel: Kernel,
        constants: &[u32],
        groups: [u32; 3],
        operands: &[Operand],
        parameters: &[u8],
    ) -> Result<&mut Self, VulkanError> {
        self.add_dispatch(kernel, Constants::new(constants), None, groups, operands, parameters)
    }

    /// The same with a user's program in place of `kernel`'s own pipeline.
    ///
    /// # Errors
    /// As [`dispatch`](Self::dispatch), and a program of another device.
    pub(crate) fn dispatch_program(
        &mut self,
        kernel: Kernel,
        program: &Arc<Compiled>,
        groups: [u32; 3],
        operands: &[Operand],
        parameters: &[u8],
    ) -> Result<&mut Self, VulkanError> {
        if !program.device().is(&self.device) {
            return Err(VulkanError::ProgramOfOtherDevice);
        }
        self.add_dispatch(kernel, Constants::default(), Some(program), groups, operands, parameters)
    }

    fn add_dispatch(
        &mut self,
        kernel: Kernel,
        constants: Constants,
        program: Option<&Arc<Compiled>>,
        groups: [u32; 3],
        operands: &[Operand],
        parameters: &[u8],
    ) -> Result<&mut Self, VulkanError> {
        for (at, operand) in operands.iter().enumerate() {
            if let Owner::Buffer(block) = &operand.owner {
                if !block.device.is(&self.device) {
                    return Err(VulkanError::OtherDevice);
                }
            }
            let aliased = operands[..at].iter().any(|other| {
                let written = operand.access == Access::Write || other.access == Access::Write;
                let in_place = operand.access == Access::ReadInPlace || other.access == Access::ReadInPlace;
                written && operand.overlaps(other) && !(in_place && operand.range == other.range)
            });
            if aliased {
                return Err(VulkanError::Aliased { kernel: kernel.name() });
            }
        }
        for (dimension, (&groups, &most)) in groups.iter().zip(&self.device.limits().groups).enumerate() {
            if groups > most {
                let what = [
                    "workgroups of the first dimension",
                    "workgroups of the second",
                    "workgroups of the third",
                ];
                let (size, most) = (u64::from(groups), u64::from(most));
                return Err(VulkanError::TooLarge { what: what[dimension], size, most });
            }
        }
        if groups.contains(&0) {
            return Ok(self);
        }
        let mut push = [0; PUSH_BYTES];
        let addresses = 8 * operands.len();
        push[addresses..addresses + parameters.len()].copy_from_slice(parameters);
        let (program, operands) = (program.cloned(), operands.to_vec());
        let dispatch = Dispatch { kernel, constants, program, groups, operands, push };
        self.work.push(Work::Dispatch(dispatch));
        Ok(self)
    }

    pub(crate) fn copy_bytes(&mut self, from: Operand, to: Operand) {
        if !from.range.is_empty() {
            self.work.push(Work::Copy { from, to });
        }
    }

    pub(crate) fn fill_bytes(&mut self, to: Operand, word: u32) {
        if !to.range.is_empty() {
            self.work.push(Work::Fill { to, word });
        }
    }

    /// That `found` is what `expected` says, of what is called `what`.
    pub(crate) fn check(what: &'static str, expected: usize, found: usize) -> Result<(), VulkanError> {
        if expected == found {
            Ok(())
        } else {
            Err(ShapeError::Mismatch { what, expected, found }.into())
        }
    }
}
