//! A queue of the device: lists of work become submissions, command pools are used again.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ash::vk;
use upbeat::Span;

use super::metrics::{Counts, Metrics};
use super::role::Role;
use super::semaphore::{block_on, Done, Semaphore, Timelines};
use super::timeline::{Counter as _, Timeline};
use super::trace::Trace;
use crate::calls::Call;
use crate::commands::{pieces, record, Hazards, Operand, Owner, Piece, Recorded, Work};
use crate::device::Inner;
use crate::error::VulkanError;
use crate::limits::Limits;
use crate::memory::RawBlock;
use crate::options::Options;
use crate::pipeline::Kernel;

/// A command buffer with the pool that it comes from, used for one submission at a time.
struct Slot {
    pool: vk::CommandPool,
    buffer: vk::CommandBuffer,
    /// Ticks, and how many there may be.
    queries: Option<(vk::QueryPool, u32)>,
    measured: Vec<Kernel>,
    /// When it was handed over, on the clock of traces.
    handed_over: Duration,
}

impl Slot {
    /// Ends it. No work uses its command buffer.
    fn destroy(self, raw: &ash::Device) {
        if let Some((queries, _)) = self.queries {
            // SAFETY: what wrote it is done.
            unsafe { raw.destroy_query_pool(queries, None) };
        }
        // SAFETY: what was recorded in it is done; its buffer goes with it.
        unsafe { raw.destroy_command_pool(self.pool, None) };
    }
}

/// Slots that are kept though nothing is under way.
const KEPT: usize = 4;

#[derive(Default)]
struct State {
    hazards: Hazards,
    free: Vec<Slot>,
    /// Under way, by submission.
    running: VecDeque<(u64, Slot)>,
    /// The most that were under way since none was.
    most_running: usize,
    counts: Counts,
    trace: Trace,
}

/// What came of a try to submit.
enum Attempt {
    Submitted(Done),
    /// So many are under way that this one has to end before.
    Full(Done),
}

/// The blocks of `lists` that the host touches as well, each once, in the order of their numbers.
fn reached_by_host(lists: &[Vec<Work>]) -> Vec<&RawBlock> {
    // Nobody but the list has a block of the staging ring.
    let of_users = |operand: &&Operand| matches!(operand.owner, Owner::Buffer(_));
    let operands = lists.iter().flatten().flat_map(Work::operands).filter(of_users);
    let mut blocks: Vec<_> = operands.map(Operand::block).filter(|block| block.has_host_access()).collect();
    blocks.sort_unstable_by_key(|block| block.id);
    blocks.dedup_by_key(|block| block.id);
    blocks
}

/// A queue of the device. The numbers of its submissions are its own.
pub(crate) struct Queue {
    raw: vk::Queue,
    family: u32,
    role: Role,
    timelines: Arc<Timelines>,
    state: Mutex<State>,
    /// Submissions that may be under way.
    most: u64,
    /// Nanoseconds of a tick where dispatches are measured, and the bits of their counter.
    tick_ns: Option<f32>,
    tick_bits: u32,
}

impl Queue {
    pub(crate) fn new(
        device: &ash::Device,
        family: u32,
        role: Role,
        timelines: &Arc<Timelines>,
        options: &Options,
        limits: &Limits,
    ) -> Self {
        // SAFETY: the device was made with one queue of this family.
        let raw = unsafe { device.get_device_queue(family, 0) };
        let measures = options.timestamps && limits.tick_ns > 0.0 && role == Role::Compute;
        let (tick_ns, tick_bits) = (measures.then_some(limits.tick_ns), limits.tick_bits);
        let (timelines, state, most) = (timelines.clone(), Mutex::default(), options.in_flight as u64);
        Self { raw, family, role, timelines, state, most, tick_ns, tick_bits }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn family(&self) -> u32 {
        self.family
    }

    fn timeline(&self) -> &Arc<Timeline<Semaphore>> {
        self.timelines.of(self.role)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last submission that is known to be done.
    pub(crate) fn completed(&self) -> u64 {
        self.timeline().completed()
    }

    /// As [`completed`](Self::completed), without asking the device or waking anybody.
    pub(crate) fn known(&self) -> u64 {
        self.timeline().known()
    }

    /// The end of submission `value`.
    pub(crate) fn done(&self, value: u64) -> Done {
        Done::new(&self.timelines, self.role, value)
    }

    /// The end of the submission that has to be over before another one is taken; it is over where there is room.
    pub(crate) fn room(&self) -> Done {
        self.done(self.timeline().before_next(self.most))
    }

    /// [`upbeat::block_on`], on whichever thread.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        block_on(&self.timelines, future)
    }

    /// Waits for everything that was submitted.
    pub(crate) fn finish(&self) -> Result<(), VulkanError> {
        self.done(self.timeline().next() - 1).wait()
    }

    pub(crate) fn metrics(&self, device: &Inner) -> Metrics {
        let completed = self.completed();
        let mut state = self.lock();
        // What this fails with, a lost device, the next submission is told.
        let _ = self.reclaim(device, &mut state, completed);
        state.counts.metrics((state.free.len() + state.running.len()) as u64)
    }

    /// Forgets what a trace has, and keeps what comes. Whether runs are measured at all.
    pub(crate) fn start_trace(&self, device: &Inner) -> Result<bool, VulkanError> {
        let completed = self.completed();
        let mut state = self.lock();
        // What has ended is not in it.
        self.reclaim(device, &mut state, completed)?;
        state.trace.start();
        Ok(self.tick_ns.is_some())
    }

    /// The runs that have ended since the trace was started.
    pub(crate) fn stop_trace(&self, device: &Inner, row: usize) -> Result<Vec<Span>, VulkanError> {
        let completed = self.completed();
        let mut state = self.lock();
        self.reclaim(device, &mut state, completed)?;
        Ok(state.trace.stop(row, f64::from(self.tick_ns.unwrap_or(0.0))))
    }

    /// Submits `lists`, one after the other, as one. Where enough are under way it waits for the oldest, with no lock held; a worker runs other
    /// tasks meanwhile.
    pub(crate) fn submit(&self, device: &Inner, lists: &[Vec<Work>]) -> Result<Done, VulkanError> {
        loop {
            self.completed();
            match self.attempt(device, lists)? {
                Attempt::Submitted(done) => return Ok(done),
                Attempt::Full(before) => self.waited(before.wait())?,
            }
        }
    }

    /// [`submit`](Self::submit) for futures.
    pub(crate) async fn submit_async(
        &self,
        device: &Inner,
        lists: &[Vec<Work>],
    ) -> Result<Done, VulkanError> {
        loop {
            self.completed();
            match self.attempt(device, lists)? {
                Attempt::Submitted(done) => return Ok(done),
                Attempt::Full(before) => self.waited(before.await)?,
            }
        }
    }

    /// [`submit`](Self::submit), or `None` where it would wait. Wakes nobody: it does not ask the device what has ended meanwhile.
    pub(crate) fn try_submit(
        &self,
        device: &Inner,
        lists: &[Vec<Work>],
    ) -> Result<Option<Done>, VulkanError> {
        Ok(match self.attempt(device, lists)? {
            Attempt::Submitted(done) => Some(done),
            Attempt::Full(_) => None,
        })
    }

    fn waited(&self, outcome: Result<(), VulkanError>) -> Result<(), VulkanError> {
        self.lock().counts.waited();
        outcome
    }

    fn attempt(&self, device: &Inner, lists: &[Vec<Work>]) -> Result<Attempt, VulkanError> {
        if let Some(error) = self.timelines.lost() {
            return Err(error);
        }
        let outcome = self.hand_in(device, lists);
        if let Err(VulkanError::DeviceLost) = outcome {
            // Who submits may hold a lock of his own.
            self.timeline().lose_quietly(VulkanError::DeviceLost);
        }
        outcome
    }

    fn hand_in(&self, device: &Inner, lists: &[Vec<Work>]) -> Result<Attempt, VulkanError> {
        // Where dispatches are measured, each is one.
        let pieces = pieces(lists, device.options.merge_steps && self.tick_ns.is_none());
        // With no lock held: a driver may take seconds to compile one.
        let pipelines = device.pipelines.of(device, &pieces)?;
        // In the order in which everybody takes several, and before the queue's lock: while the host copies, other work goes on.
        let blocks = reached_by_host(lists);
        let _turns: Vec<_> = blocks.iter().map(|block| block.turn()).collect();
        // Before the queue's lock, too: numbers of the other queue are read and ours written with it.
        let _order = device.order();
        let after = self.after_other(device, lists);
        let mut state = self.lock();
        // Once: what ends between the two would be room for one more, and its command pool not yet taken back.
        let known = self.known();
        self.reclaim(device, &mut state, known)?;
        // With the lock that who comes before us has held until its submission was counted.
        let before = self.timeline().before_next(self.most);
        if before > known {
            return Ok(Attempt::Full(self.done(before)));
        }
        let mut slot = match state.free.pop() {
            Some(slot) => slot,
            None => self.slot(device)?,
        };
        let recorded = self.fill(device, &mut slot, &pieces, &pipelines, &mut state.hazards);
        slot.handed_over = upbeat::trace_clock();
        let submitted = recorded.and_then(|recorded| Ok((self.hand_over(device, &slot, after)?, recorded)));
        match submitted {
            Ok((value, recorded)) => {
                state.counts.submitted(&recorded, after.is_some());
                slot.measured = recorded.measured;
                state.running.push_back((value, slot));
                state.most_running = state.most_running.max(state.running.len());
                lists.iter().flatten().for_each(|work| work.submitted(self.role, value));
                Ok(Attempt::Submitted(self.done(value)))
            }
            Err(error) => {
                state.hazards.forget();
                state.free.push(slot);
                Err(error)
            }
        }
    }

    /// Takes back the command buffers of what is done, and their ticks. Where nothing is under way then, those that the last burst of work
    /// did not need are destroyed.
    fn reclaim(&self, device: &Inner, state: &mut State, completed: u64) -> Result<(), VulkanError> {
        while state.running.front().is_some_and(|(value, _)| *value <= completed) {
            let Some((_, slot)) = state.running.pop_front() else { break };
            let measured = self.ticks(device, &slot).map(|ticks| {
                let tick_ns = self.tick_ns.unwrap_or(0.0);
                state.counts.measured(&slot.measured, &ticks, tick_ns);
                if state.trace.is_recording() {
                    let clock = (self.tick_bits, f64::from(tick_ns));
                    state.trace.measured(&slot.measured, &ticks, slot.handed_over, clock);
                }
            });
            state.free.push(slot);
            measured?;
        }
        if state.running.is_empty() {
            let kept = state.most_running.max(KEPT).min(state.free.len());
            state.free.drain(kept..).for_each(|slot| slot.destroy(&device.raw));
            state.most_running = 0;
        }
        Ok(())
    }

    fn ticks(&self, device: &Inner, slot: &Slot) -> Result<Vec<u64>, VulkanError> {
        let mut ticks = vec![0_u64; 2 * slot.measured.len()];
        if let (Some((queries, _)), false) = (slot.queries, ticks.is_empty()) {
            // SAFETY: the queries were written by work that is done.
            let outcome = device.calls.make(Call::QueryResults, || unsafe {
                device.raw.get_query_pool_results(queries, 0, &mut ticks, vk::QueryResultFlags::TYPE_64)
            });
            outcome.map_err(|result| VulkanError::of(Call::QueryResults, result))?;
        }
        Ok(ticks)
    }

    fn slot(&self, device: &Inner) -> Result<Slot, VulkanError> {
        let create = vk::CommandPoolCreateInfo::default()
            .queue_family_index(self.family)
            .flags(vk::CommandPoolCreateFlags::TRANSIENT);
        // SAFETY: the device is alive and has the family.
        let pool = device
            .calls
            .make(Call::CreateCommandPool, || unsafe { device.raw.create_command_pool(&create, None) });
        let pool = pool.map_err(|result| VulkanError::of(Call::CreateCommandPool, result))?;
        let allocate = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(1);
        // SAFETY: the pool is alive and used by nobody else.
        let buffers = device
            .calls
            .make(Call::AllocateCommandBuffers, || unsafe { device.raw.allocate_command_buffers(&allocate) });
        match buffers {
            Ok(buffers) => Ok(Slot {
                pool,
                buffer: buffers[0],
                queries: None,
                measured: Vec::new(),
                handed_over: Duration::ZERO,
            }),
            Err(result) => {
                // SAFETY: nothing of it is in use.
                unsafe { device.raw.destroy_command_pool(pool, None) };
                Err(VulkanError::of(Call::AllocateCommandBuffers, result))
            }
        }
    }

    /// Makes room for the ticks of `dispatches`, all reset.
    fn queries(
        &self,
        device: &Inner,
        slot: &mut Slot,
        dispatches: u32,
    ) -> Result<Option<vk::QueryPool>, VulkanError> {
        if self.tick_ns.is_none() || dispatches == 0 {
            return Ok(None);
        }
        let needed = 2 * dispatches;
        if slot.queries.is_none_or(|(_, room)| room < needed) {
            let room = needed.next_power_of_two().max(64);
            let create =
                vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(room);
            // SAFETY: the device is alive.
            let pool = device
                .calls
                .make(Call::CreateQueryPool, || unsafe { device.raw.create_query_pool(&create, None) });
            let pool = pool.map_err(|result| VulkanError::of(Call::CreateQueryPool, result))?;
            if let Some((old, _)) = slot.queries.replace((pool, room)) {
                // SAFETY: what wrote it is done: the slot was free.
                unsafe { device.raw.destroy_query_pool(old, None) };
            }
        }
        let Some((pool, room)) = slot.queries else { return Ok(None) };
        // SAFETY: no work uses the pool, and hostQueryReset is enabled where there are ticks.
        unsafe { device.raw.reset_query_pool(pool, 0, room) };
        Ok(Some(pool))
    }

    fn fill(
        &self,
        device: &Inner,
        slot: &mut Slot,
        pieces: &[Piece<'_>],
        pipelines: &[vk::Pipeline],
        hazards: &mut Hazards,
    ) -> Result<Recorded, VulkanError> {
        slot.measured.clear();
        // SAFETY: the slot was free: no work uses its command buffer.
        let reset = device.calls.make(Call::ResetCommandPool, || unsafe {
            device.raw.reset_command_pool(slot.pool, vk::CommandPoolResetFlags::empty())
        });
        reset.map_err(|result| VulkanError::of(Call::ResetCommandPool, result))?;
        let queries = self.queries(device, slot, pipelines.len() as u32)?;
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: the buffer was reset with its pool.
        let begun = device.calls.make(Call::BeginCommandBuffer, || unsafe {
            device.raw.begin_command_buffer(slot.buffer, &begin)
        });
        begun.map_err(|result| VulkanError::of(Call::BeginCommandBuffer, result))?;
        let recorded = record(device, self.role.scope(), slot.buffer, pieces, pipelines, hazards, queries);
        // SAFETY: it is being recorded.
        let ended = device
            .calls
            .make(Call::EndCommandBuffer, || unsafe { device.raw.end_command_buffer(slot.buffer) });
        ended.map_err(|result| VulkanError::of(Call::EndCommandBuffer, result))?;
        Ok(recorded)
    }

    /// The submission to the other queue that has to end before `lists` may run, with its semaphore.
    fn after_other(&self, device: &Inner, lists: &[Vec<Work>]) -> Option<(vk::Semaphore, u64)> {
        let other = device.other_queue(self.role)?;
        let uses = lists.iter().flatten().flat_map(Work::operands).map(|operand| operand.block().last_uses());
        let last = uses.map(|uses| uses.of(other.role)).max()?;
        (last > other.known()).then(|| (other.timeline().counter().raw(), last))
    }

    /// Hands a recorded command buffer over, to run when what comes before it in the other queue is done. Only with the lock held: submissions have
    /// numbers in their order.
    fn hand_over(
        &self,
        device: &Inner,
        slot: &Slot,
        after: Option<(vk::Semaphore, u64)>,
    ) -> Result<u64, VulkanError> {
        let value = self.timeline().next();
        let buffers = [vk::CommandBufferSubmitInfo::default().command_buffer(slot.buffer)];
        let signals = [vk::SemaphoreSubmitInfo::default()
            .semaphore(self.timeline().counter().raw())
            .value(value)
            .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
        let wait = after.map(|(semaphore, value)| {
            vk::SemaphoreSubmitInfo::default()
                .semaphore(semaphore)
                .value(value)
                .stage_mask(self.role.scope().stages)
        });
        let submit = [vk::SubmitInfo2::default()
            .wait_semaphore_infos(wait.as_slice())
            .command_buffer_infos(&buffers)
            .signal_semaphore_infos(&signals)];
        // SAFETY: the queue's lock is held, the command buffer is recorded, and what it uses is kept until `value` is reached.
        let submitted = device
            .calls
            .make(Call::Submit, || unsafe { device.raw.queue_submit2(self.raw, &submit, vk::Fence::null()) });
        submitted.map_err(|result| VulkanError::of(Call::Submit, result))?;
        self.timeline().submitted(value);
        Ok(value)
    }

    /// Waits for everything. Gives back whether the device is at rest with it.
    pub(super) fn close(&self) -> bool {
        self.timeline().stop()
    }

    /// Ends what it has, once the device is at rest.
    pub(super) fn destroy(&self, raw: &ash::Device) {
        self.timeline().counter().destroy();
        let mut state = self.lock();
        let state = &mut *state;
        for slot in state.free.drain(..).chain(state.running.drain(..).map(|(_, slot)| slot)) {
            slot.destroy(raw);
        }
    }
}
