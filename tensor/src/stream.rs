//! The order of a Vulkan device's work: what was recorded and not handed over yet, and what became of it.
//!
//! Everything recorded runs in the order in which it was recorded, whichever thread did. So memory that a dropped tensor leaves can be
//! written again by what is recorded next, without waiting: whoever still reads it was recorded before (`spare.rs`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use upbeat_kernels::elementwise::{Builder, Op};
use upbeat_vulkan::{Buffer, Commands, DeviceProgram, Done, VulkanError};

use crate::spare::Spare;
use crate::Device;

/// Pieces of work that are handed over without being asked for: the device has begun while the next ones are recorded, and what a submission
/// costs is divided by as many.
const MOST_WORK: usize = 64;
/// The same in bytes of results, which intermediate ones keep until then.
const MOST_BYTES: usize = 64 << 20;
/// Submissions that a device is ahead of: beyond that, who records waits. A device that lags behind for its time-out would be taken for one
/// that hangs.
const MOST_AHEAD: usize = 16;

/// What was or will be handed over together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Why none of it ran.
    failed: OnceLock<VulkanError>,
}

impl Batch {
    /// That nothing is known to be wrong with its results.
    pub(crate) fn check(&self) -> Result<(), VulkanError> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

struct Pending {
    commands: Commands,
    /// Of the results in it.
    bytes: usize,
    /// Shared by the results in it.
    batch: Arc<Batch>,
    /// The ends of what was handed over and not waited for, oldest first.
    ahead: VecDeque<Done>,
}

/// An opened device with its pending work.
pub(crate) struct Stream {
    place: usize,
    device: upbeat_vulkan::Device,
    pending: Mutex<Pending>,
    spare: Spare,
    /// Set once, when the device was lost or given up.
    lost: OnceLock<()>,
    /// Blocks of numbers that tensors hold.
    live: AtomicUsize,
    /// Operations that were compiled for the device: few, and asked for by comparing.
    programs: Mutex<Vec<(Op, DeviceProgram)>>,
}

impl Stream {
    pub(crate) fn new(place: usize, device: upbeat_vulkan::Device) -> Self {
        let commands = device.commands();
        let pending = Pending { commands, bytes: 0, batch: Arc::default(), ahead: VecDeque::new() };
        let pending = Mutex::new(pending);
        Self {
            place,
            device,
            pending,
            spare: Spare::default(),
            lost: OnceLock::new(),
            live: AtomicUsize::new(0),
            programs: Mutex::default(),
        }
    }

    pub(crate) fn place(&self) -> Device {
        Device::Vulkan(self.place)
    }

    pub(crate) fn device(&self) -> &upbeat_vulkan::Device {
        &self.device
    }

    pub(crate) fn spare(&self) -> &Spare {
        &self.spare
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Notes what an outcome says of the device.
    pub(crate) fn note<T>(&self, outcome: Result<T, VulkanError>) -> Result<T, VulkanError> {
        if let Err(VulkanError::DeviceLost | VulkanError::Timeout { .. }) = outcome {
            self.lost.get_or_init(|| ());
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of numbers, whose memory is made room for where there is none: by what waits, and by what is spare.
    pub(crate) fn make<B>(&self, make: impl Fn() -> Result<B, VulkanError>) -> Result<B, VulkanError> {
        let outcome = match make() {
            Err(VulkanError::OutOfMemory { .. }) => {
                // What is recorded keeps its operands until it is handed over. The device's memory then waits for it by itself. What handing
                // over fails with is told to whoever asks for its results.
                let _ = self.flush();
                self.spare.clear();
                make()
            }
            outcome => outcome,
        };
        self.note(outcome)
    }

    /// `op` as a kernel, compiled when it is asked for first. Two who come at once may both compile it.
    pub(crate) fn program(&self, op: Op) -> Result<DeviceProgram, VulkanError> {
        let programs = || self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, program)) = programs().iter().find(|(known, _)| *known == op) {
            return Ok(program.clone());
        }
        let mut builder = Builder::default();
        let inputs: Vec<_> = (0..op.arity()).map(|_| builder.input()).collect();
        let built =
            builder.step(op, &inputs).and_then(|value| builder.output(value)).and_then(|()| builder.build());
        let program =
            self.note(self.device.program(&built.expect("one step with as many inputs as it takes")))?;
        programs().push((op, program.clone()));
        Ok(program)
    }

    /// Adds to the pending work what `add` records, from results of `sources`. Gives back the batch that it is in. `add` is called again where
    /// what it needs besides its results found no memory, once room was made.
    pub(crate) fn record<'a>(
        &self,
        sources: impl Iterator<Item = &'a Arc<Batch>>,
        bytes: usize,
        add: impl Fn(&mut Commands) -> Result<(), VulkanError>,
    ) -> Result<Arc<Batch>, VulkanError> {
        // Before the lock: what needs memory besides its result may wait for the device, and a worker that waits runs other tasks, which
        // may record.
        let own = self.make(|| {
            let mut own = self.device.commands();
            add(&mut own).map(|()| own)
        })?;
        let mut pending = self.lock();
        for batch in sources {
            batch.check()?;
        }
        pending.commands.append(own)?;
        pending.bytes += bytes;
        let batch = pending.batch.clone();
        let is_much = pending.commands.len() >= MOST_WORK || pending.bytes >= MOST_BYTES;
        let handed_over = !is_much || self.submit(&mut pending)?;
        let too_far = pending.ahead.len().saturating_sub(MOST_AHEAD);
        let due: Vec<_> = pending.ahead.drain(..too_far).collect();
        // A worker runs other tasks while it waits, and they may record.
        drop(pending);
        due.into_iter().try_for_each(|done| self.note(done.wait()))?;
        if !handed_over {
            self.flush_while(|pending| Arc::ptr_eq(&pending.batch, &batch))?;
        }
        Ok(batch)
    }

    /// Hands over what is pending; where that fails, its results are told why. `false` where others have so many submissions under way that the
    /// device takes none: what is pending stays so, as nobody waits with the lock held.
    fn submit(&self, pending: &mut Pending) -> Result<bool, VulkanError> {
        if pending.commands.is_empty() {
            return Ok(true);
        }
        let outcome = self.note(pending.commands.try_submit());
        if matches!(outcome, Ok(None)) {
            return Ok(false);
        }
        let batch = std::mem::take(&mut pending.batch);
        pending.bytes = 0;
        match outcome {
            // Errors of the device itself come to whoever reads.
            Ok(done) => pending.ahead.extend(done),
            Err(error) => {
                batch.failed.get_or_init(|| error.clone());
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Hands over what is pending, while `wanted`; waits without the lock where the device takes none.
    fn flush_while(&self, wanted: impl Fn(&Pending) -> bool) -> Result<(), VulkanError> {
        loop {
            let mut pending = self.lock();
            if !wanted(&pending) || self.submit(&mut pending)? {
                return Ok(());
            }
            drop(pending);
            self.note(self.device.room().wait())?;
        }
    }

    pub(crate) fn flush(&self) -> Result<(), VulkanError> {
        self.flush_while(|_| true)
    }

    /// Hands over what is pending if `batch` is.
    pub(crate) fn flush_if(&self, batch: &Arc<Batch>) -> Result<(), VulkanError> {
        self.flush_while(|pending| Arc::ptr_eq(&pending.batch, batch))?;
        batch.check()
    }

    pub(crate) fn finish(&self) -> Result<(), VulkanError> {
        self.flush()?;
        // Behind everything, uploads too.
        self.note(self.device.commands().submit().and_then(Done::wait))
    }

    /// A tensor has taken a block.
    pub(crate) fn taken(&self) {
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    /// No tensor has `block` any more.
    pub(crate) fn given_back(&self, block: Option<Buffer<f32>>) {
        if let Some(block) = block {
            self.spare.put(block);
        }
        // The last one sees what the others put.
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.throw_away();
        }
    }

    /// Frees what nobody can ask for, if no tensor has a block.
    fn throw_away(&self) {
        let mut pending = self.lock();
        // Who records has a block for the result since before it took the lock: none now, and nobody can ask for what is pending.
        if self.live.load(Ordering::Acquire) == 0 {
            pending.commands = self.device.commands();
            pending.bytes = 0;
            self.spare.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Opened, Tensor};

    /// Between the last tensor's end and the lock another thread may have made one and recorded.
    #[test]
    fn who_comes_between_the_two_looks_loses_nothing() {
        let place = upbeat_vulkan::Options::from_env().device(upbeat_vulkan::Choice::Any).place();
        let device = match place {
            Ok(place) => Device::Vulkan(place),
            Err(error) if upbeat_vulkan::is_required() => panic!("UPBEAT_REQUIRE_VULKAN=1, but {error}"),
            Err(error) => return eprintln!("SKIPPED: a test that needs Vulkan, because {error}"),
        };
        let stream = Opened::of(device).unwrap().into_stream().unwrap();
        let x = Tensor::from_slice(&[1.0, 2.0], &[2], &device).unwrap();
        let y = x.scale(2.0).unwrap();
        stream.throw_away();
        assert_eq!(y.to_vec(), Ok(vec![2.0, 4.0]));
        let before = stream.device().metrics().dispatches;
        drop((x.scale(3.0).unwrap(), x, y));
        stream.finish().unwrap();
        assert_eq!(stream.device().metrics().dispatches, before, "what nobody can ask for is not run");
    }
}
