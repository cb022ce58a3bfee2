//! The device's memory as `gpu-allocator` lends it out, and a book of what lies where: whose it is, and what may be moved.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Weak;

use ash::vk::{self, Handle};
use gpu_allocator::vulkan::{Allocation, AllocationCreateDesc, AllocationScheme, Allocator};
use gpu_allocator::{AllocationError, AllocatorReport, MemoryLocation};

use super::budget::{Budget, MemoryBudget};
use super::plan::{plan, Layout, Lender, Lent, Piece};
use super::{is_full, Block, Place};
use crate::calls::{Call, Calls};
use crate::error::VulkanError;

/// Where the host finds bytes of the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped(pub(super) NonNull<u8>);

// SAFETY: it is an address; who reads or writes there says why that may be.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

/// Bytes for a buffer.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) piece: Piece,
    pub(super) memory: vk::DeviceMemory,
    pub(super) mapped: Option<Mapped>,
    pub(super) properties: vk::MemoryPropertyFlags,
}

/// Why there are no bytes.
#[derive(Debug)]
pub(super) enum Refused {
    /// The budget, where the device was not even asked.
    Full(Option<MemoryBudget>),
    Failed(VulkanError),
}

impl Refused {
    pub(super) fn of(result: vk::Result) -> Self {
        if is_full(result) {
            Self::Full(None)
        } else {
            Self::Failed(VulkanError::of(Call::AllocateMemory, result))
        }
    }
}

/// How the bytes of all memories are used.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Use {
    pub(super) reserved: u64,
    pub(super) free: u64,
    pub(super) largest_free: u64,
    /// Of memories in use: free bytes, and those of them before the last byte that is lent.
    pub(super) room: u64,
    pub(super) between: u64,
}

impl Use {
    fn of(report: &AllocatorReport) -> Self {
        let mut all = Self { reserved: report.total_capacity_bytes, ..Self::default() };
        for block in &report.blocks {
            let mut lent: Vec<_> =
                report.allocations[block.allocations.clone()].iter().map(|of| (of.offset, of.size)).collect();
            lent.sort_unstable();
            let mut end = 0;
            for (at, size) in lent.iter().copied().chain([(block.size, 0)]) {
                all.largest_free = all.largest_free.max(at.saturating_sub(end));
                end = at + size;
            }
            let bytes: u64 = lent.iter().map(|(_, size)| size).sum();
            let free = block.size.saturating_sub(bytes);
            all.free += free;
            if let Some((at, size)) = lent.last() {
                all.room += free;
                all.between += (at + size).saturating_sub(bytes);
            }
        }
        all
    }
}

/// What was lent.
struct Loan {
    allocation: Allocation,
    needs: vk::MemoryRequirements,
    /// Who is asked to move; `None` where nobody may be.
    owner: Option<Weak<Block>>,
}

/// Memory that was taken from the device in one call.
struct Reserve {
    size: u64,
    /// Bytes of it that are lent.
    used: u64,
    properties: vk::MemoryPropertyFlags,
    /// By offset.
    lent: BTreeMap<u64, Loan>,
}

impl Reserve {
    /// Whether so many bytes at a multiple of `align` are free and lie together.
    fn fits(&self, size: u64, align: u64) -> bool {
        if size > self.size - self.used {
            return false;
        }
        // From the end, where the most is free as a rule.
        let mut end = self.size;
        let mut starts = self.lent.iter().rev().map(|(&at, loan)| (at, at + loan.allocation.size()));
        loop {
            let before = starts.next();
            let from = before.map_or(0, |(_, end)| end).next_multiple_of(align);
            if from + size <= end {
                return true;
            }
            let Some((at, _)) = before else { return false };
            end = at;
        }
    }
}

/// A move that was planned: what it is to get is lent, and nobody is asked to move what it moves until
/// [`belongs_to`](Heaps::belongs_to) says whose it is again.
pub(super) struct Planned {
    pub(super) from: Piece,
    pub(super) to: Taken,
    pub(super) owner: Weak<Block>,
}

/// A device's memory.
pub(super) struct Heaps {
    /// `None` once it is closed.
    allocator: Option<Allocator>,
    /// By the bits of their handles.
    reserves: BTreeMap<u64, Reserve>,
    /// Of the heap that buffers lie in, where it is told.
    budget: Option<Budget>,
    keeps_to_budget: bool,
}

/// The most that the allocator takes from the device at once for several buffers.
pub(super) const LARGEST: u64 = 256 << 20;

impl Heaps {
    pub(super) fn new(allocator: Allocator, budget: Option<Budget>, keeps_to_budget: bool) -> Self {
        Self { allocator: Some(allocator), reserves: BTreeMap::new(), budget, keeps_to_budget }
    }

    pub(super) fn budget(&self) -> Option<MemoryBudget> {
        self.budget.as_ref().map(|budget| budget.ask(self.reserved()))
    }

    /// How a buffer is to get its bytes: among others, or for itself where there is not room in the budget for what is taken for several.
    fn scheme(&self, needs: &vk::MemoryRequirements, raw: vk::Buffer) -> Result<AllocationScheme, Refused> {
        let Some(budget) = self.budget.as_ref().filter(|_| self.keeps_to_budget) else {
            return Ok(AllocationScheme::GpuAllocatorManaged);
        };
        let fits = |of: &Reserve| of.properties == budget.properties && of.fits(needs.size, needs.alignment);
        if self.reserves.values().rev().any(fits) {
            return Ok(AllocationScheme::GpuAllocatorManaged);
        }
        let now = budget.ask(self.reserved());
        if needs.size > now.left() {
            Err(Refused::Full(Some(now)))
        } else if LARGEST > now.left() {
            Ok(AllocationScheme::DedicatedBuffer(raw))
        } else {
            Ok(AllocationScheme::GpuAllocatorManaged)
        }
    }

    /// Bytes, nobody's until [`belongs_to`](Self::belongs_to) says whose they are. For the buffer `raw` the heap's budget counts, as new memory may
    /// stay.
    pub(super) fn take(
        &mut self,
        needs: vk::MemoryRequirements,
        place: Place,
        raw: Option<vk::Buffer>,
    ) -> Result<Taken, Refused> {
        let allocation_scheme = match (raw, place) {
            (Some(raw), Place::Device) => self.scheme(&needs, raw)?,
            // What numbers travel through is little, and there is none where buffers are reached directly.
            _ => AllocationScheme::GpuAllocatorManaged,
        };
        let allocator = self.allocator.as_mut().expect("open while its device is");
        let before = allocator.capacity();
        let description = AllocationCreateDesc {
            name: "upbeat",
            requirements: needs,
            location: match place {
                Place::Device => MemoryLocation::GpuOnly,
                Place::Upload => MemoryLocation::CpuToGpu,
                Place::Readback => MemoryLocation::GpuToCpu,
            },
            linear: true,
            allocation_scheme,
        };
        let allocation = allocator.allocate(&description).map_err(|error| match error {
            AllocationError::OutOfMemory => Refused::Full(None),
            error => {
                Refused::Failed(VulkanError::Call { call: Call::AllocateMemory, result: error.to_string() })
            }
        })?;
        let new = allocator.capacity() - before;
        // SAFETY: buffers are bound to it while the allocation lasts, and nobody frees it.
        let memory = unsafe { allocation.memory() };
        let taken = Taken {
            piece: Piece { memory: memory.as_raw(), at: allocation.offset() },
            memory,
            mapped: allocation.mapped_ptr().map(|host| Mapped(host.cast())),
            properties: allocation.memory_properties(),
        };
        let reserve = self.reserves.entry(taken.piece.memory);
        let properties = taken.properties;
        let reserve =
            reserve.or_insert_with(|| Reserve { size: new, used: 0, properties, lent: BTreeMap::new() });
        reserve.used += allocation.size();
        reserve.lent.insert(taken.piece.at, Loan { allocation, needs, owner: None });
        Ok(taken)
    }

    /// Takes bytes back. The allocator gives a memory back that is empty then, unless it is the last of its type.
    pub(super) fn give(&mut self, piece: Piece) {
        let Some(allocator) = &mut self.allocator else { return };
        let reserve = self.reserves.get_mut(&piece.memory).expect("it was lent");
        let loan = reserve.lent.remove(&piece.at).expect("it was lent");
        reserve.used -= loan.allocation.size();
        let before = allocator.capacity();
        allocator.free(loan.allocation).expect("the allocation is this allocator's");
        if allocator.capacity() < before {
            self.reserves.remove(&piece.memory);
        }
    }

    /// The bytes are `owner`'s, and may be moved.
    pub(super) fn belongs_to(&mut self, piece: Piece, owner: Weak<Block>) {
        let loan = self.reserves.get_mut(&piece.memory).and_then(|reserve| reserve.lent.get_mut(&piece.at));
        loan.expect("it was lent").owner = Some(owner);
    }

    /// What to move where. Where asking for memory fails with more than that there is none, the error comes with what was planned by then.
    pub(super) fn plan(&mut self, calls: &Calls) -> (Vec<Planned>, Result<(), VulkanError>) {
        let layouts: Vec<_> = self.reserves.iter().map(|(&memory, of)| layout(memory, of)).collect();
        // Buffers that are made alike may lie in the same types of memory, says Vulkan; the allocator takes the first of those.
        let owned = |loan: &&Loan| loan.owner.is_some();
        let bits = self.reserves.values().flat_map(|of| of.lent.values()).find(owned);
        let Some(bits) = bits.map(|loan| loan.needs.memory_type_bits) else { return (Vec::new(), Ok(())) };
        let mut asking = Asking { heaps: self, calls, bits, taken: BTreeMap::new(), outcome: Ok(()) };
        let moves = plan(&layouts, &mut asking);
        let Asking { taken, outcome, .. } = asking;
        let planned = moves.into_iter().map(|made| {
            let reserve = self.reserves.get_mut(&made.from.memory);
            let loan = reserve.and_then(|of| of.lent.get_mut(&made.from.at)).expect("it is lent");
            let owner = loan.owner.take().expect("it may be moved");
            Planned { from: made.from, to: taken[&(made.to.memory, made.to.at)], owner }
        });
        (planned.collect(), outcome)
    }

    pub(super) fn usage(&self) -> Use {
        self.allocator.as_ref().map(|allocator| Use::of(&allocator.generate_report())).unwrap_or_default()
    }

    /// Bytes that are taken from the device.
    pub(super) fn reserved(&self) -> u64 {
        self.allocator.as_ref().map_or(0, Allocator::capacity)
    }

    /// Gives everything back. Nothing is taken any more.
    pub(super) fn close(&mut self) {
        self.allocator = None;
    }

    /// Forgets everything: the device may still write to it.
    pub(super) fn abandon(&mut self) {
        std::mem::forget(self.allocator.take());
    }
}

fn layout(memory: u64, reserve: &Reserve) -> Layout {
    let lent = |(&at, loan): (&u64, &Loan)| {
        let (size, align) = (loan.allocation.size(), loan.needs.alignment);
        // What has a memory for itself has nothing to leave to others.
        let is_movable = loan.owner.is_some() && !loan.allocation.is_dedicated() && size < reserve.size;
        Lent { at, size, align, is_movable }
    };
    Layout { memory, size: reserve.size, lent: reserve.lent.iter().map(lent).collect() }
}

/// A plan's allocator.
struct Asking<'a> {
    heaps: &'a mut Heaps,
    calls: &'a Calls,
    /// Types of memory, as bits.
    bits: u32,
    taken: BTreeMap<(u64, u64), Taken>,
    outcome: Result<(), VulkanError>,
}

impl Lender for Asking<'_> {
    fn ask(&mut self, size: u64, align: u64) -> Option<Piece> {
        let needs = vk::MemoryRequirements { size, alignment: align, memory_type_bits: self.bits };
        let made = self.calls.make(Call::AllocateMemory, || Ok(()));
        match made.map_err(Refused::of).and_then(|()| self.heaps.take(needs, Place::Device, None)) {
            Ok(taken) => {
                self.taken.insert((taken.piece.memory, taken.piece.at), taken);
                Some(taken.piece)
            }
            Err(Refused::Full(_)) => None,
            Err(Refused::Failed(error)) => {
                self.outcome = Err(error);
                None
            }
        }
    }

    fn give(&mut self, piece: Piece) {
        self.taken.remove(&(piece.memory, piece.at));
        self.heaps.give(piece);
    }
}
