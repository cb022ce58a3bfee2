//! Seats: who is worker `i` now, its own thread or a caller from outside that enrolled in place.
//!
//! Everything that belongs to worker `i` alone is in its [`WorkerThread`]. `Sleep` says by one bit who may use it: a thread gives
//! its seat up whenever it sleeps, and a caller may claim it then. So a region from outside costs two atomic operations and not two
//! hand-overs between threads, and never more threads compute than there are workers.

use std::cell::UnsafeCell;
use std::panic::resume_unwind;
use std::sync::Arc;

use super::current::with_current;
use super::regions::Region;
use super::registry::Registry;
use super::worker::WorkerThread;
use crate::heartbeat::sites::Key;
use crate::sync::{ticks, Local};
use crate::task::frame::Worker;
use crate::task::isolate;
use crate::task::job::InstallJob;
use crate::task::unwind::AbortOnUnwind;
use crate::task::Task;
use crate::topology::affinity;

/// The workers' own parts, one a seat.
pub(crate) struct Seats {
    registry: Arc<Registry>,
    workers: Box<[Seat]>,
    /// Whether callers from outside may take a seat.
    enrols: bool,
    /// Where workers are pinned, the seats of each CPU by its number. A caller takes a seat of the CPU, or the node, that it runs on: in
    /// another one it would keep that CPU from its worker, and leave the other CPU idle.
    of_cpu: Option<Box<[Vec<usize>]>>,
}

struct Seat(UnsafeCell<WorkerThread>);

// SAFETY: a worker's part is reached through `Seats::worker` only, whose caller holds the seat: one thread at a time, and claiming
// a seat acquires what its last holder released. What it owns (a ring's end, a queue's end, counters) may be used from any thread.
unsafe impl Sync for Seat {}
// SAFETY: as above; nothing in it is bound to the thread that made it.
unsafe impl Send for Seat {}

impl Seats {
    /// The seats of `registry`. With `masks` each worker stays on the CPUs of its own.
    pub(crate) fn new(
        registry: Arc<Registry>,
        queues: Vec<Local<Task>>,
        enrols: bool,
        masks: Option<&[Vec<usize>]>,
    ) -> Arc<Self> {
        let seat = |(index, queue)| Seat(UnsafeCell::new(WorkerThread::new(registry.clone(), index, queue)));
        let workers: Box<[Seat]> = queues.into_iter().enumerate().map(seat).collect();
        for index in 0..workers.len() {
            // SAFETY: nobody else knows of the seats yet.
            unsafe { &*workers[index].0.get() }.own_ring();
        }
        let of_cpu = masks.map(|masks| {
            let mut of_cpu = Vec::new();
            let all =
                masks.iter().enumerate().flat_map(|(index, mask)| mask.iter().map(move |cpu| (index, *cpu)));
            // A machine's numbers are what the caller made of them, and nobody runs on a CPU of such a number.
            for (index, cpu) in all.filter(|(_, cpu)| *cpu < affinity::LONGEST) {
                of_cpu.resize_with(of_cpu.len().max(cpu + 1), Vec::new);
                of_cpu[cpu].push(index);
            }
            of_cpu.into_boxed_slice()
        });
        Arc::new(Self { registry, workers, enrols, of_cpu })
    }

    /// The seats that the calling thread may take; `None` for any.
    #[inline]
    fn of_caller(&self) -> Option<&[usize]> {
        let seats = self.of_cpu.as_ref()?.get(affinity::current_cpu()?)?;
        Some(seats.as_slice()).filter(|seats| !seats.is_empty())
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// What belongs to worker `index`.
    ///
    /// # Safety
    /// The caller holds the seat whenever it uses the result.
    pub(crate) unsafe fn worker(&self, index: usize) -> &WorkerThread {
        // SAFETY: shared references only are ever made of it, and only the seat's holder uses them.
        unsafe { &*self.workers[index].0.get() }
    }

    /// What belongs to worker `index`, whose seat the calling thread has claimed and never gives back. Leaked: whoever has an
    /// address in its ring may come late.
    pub(super) fn keep(self: &Arc<Self>, index: usize) -> &'static WorkerThread {
        let seats: &'static Arc<Self> = Box::leak(Box::new(self.clone()));
        // SAFETY: the caller holds the seat for good.
        unsafe { seats.worker(index) }
    }

    /// Runs `f` on the calling thread, which has just claimed seat `index` and never gives it back.
    #[cfg(upbeat_loom)]
    pub(crate) fn enter_claimed<R>(&self, index: usize, f: impl FnOnce(&Worker) -> R) -> R {
        // SAFETY: the caller holds the seat.
        unsafe { self.worker(index) }.enter(f)
    }

    /// The end of a worker whose seat the caller has claimed. As with threads, the last one to leave runs what is left.
    #[cfg(upbeat_loom)]
    pub(crate) fn leave_claimed(&self, index: usize) {
        if self.registry.leave() {
            // SAFETY: the caller holds the seat.
            unsafe { self.worker(index) }.close();
        }
    }

    /// Runs `f` as a worker of this runtime: on the spot when this thread is one or can take a free seat, else handed over.
    pub(crate) fn install<F, R>(&self, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        enum Here<F, R> {
            Done(R),
            Outside(F),
            Elsewhere(R),
        }
        let here = with_current(|worker| match worker {
            Some(worker) if Arc::ptr_eq(worker.thread().registry(), &self.registry) => Here::Done(f(worker)),
            // A worker of another runtime goes on serving that one, which a guest does not.
            Some(worker) => {
                let foreign = Some(worker.thread()).filter(|thread| !thread.registry().is_left_behind());
                Here::Elsewhere(self.registry.hand_over(foreign, f))
            }
            None => Here::Outside(f),
        });
        match here {
            Here::Done(result) | Here::Elsewhere(result) => result,
            Here::Outside(f) => self.enrol(f),
        }
    }

    fn enrol<F, R>(&self, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        self.registry.require_workers();
        let sleep = self.registry.sleep();
        let Some(index) = self.enrols.then(|| sleep.claim_for_guest(self.of_caller())).flatten() else {
            return self.registry.hand_over(None, f);
        };
        // SAFETY: the seat is ours until `visit` is dropped, which is after the last use.
        let worker = unsafe { self.worker(index) };
        let (site, begun) = (Key::new(Self::enrol::<F, R> as *const ()), ticks());
        let mut visit = Visit { worker, region: worker.begin_region(site, begun) };
        worker.is_guest.set(true);
        self.registry.begin_busy_at(index, begun);
        if self.workers.len() > 1 {
            // One of many short regions may be long this time, so somebody watches, if only now and then; after a long pause nobody
            // does. And its first fork may be the only one, so it is offered.
            let (sites, latency) = (&self.registry.sites, sleep.wake_latency());
            if sites.is_worth_in(&worker.row, begun, site, latency) || !sleep.is_watched() {
                sleep.wake_watcher();
                visit.region.has_woken = true;
            }
            worker.offer_next();
        }
        let f = self.registry.inherit(f);
        let result = isolate::as_guest(worker, || worker.enter(f));
        drop(visit);
        result
    }
}

/// A caller's stay in a seat; it ends also when the caller's closure panics.
struct Visit<'a> {
    worker: &'a WorkerThread,
    region: Region,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let worker = self.worker;
        worker.touch();
        let (registry, index) = (&*worker.registry, worker.index);
        let sleep = registry.sleep();
        let ended = ticks();
        worker.end_region(&self.region, ended, std::thread::panicking());
        worker.row.leave(ended);
        registry.end_busy_at(index, ended);
        worker.is_guest.set(false);
        if sleep.is_terminating() {
            // The runtime was dropped in here: its threads have left or wait for this seat, and what is queued must run.
            while let Some(work) = worker.find_last_work() {
                sleep.begin_hunger();
                worker.run(work);
                sleep.end_hunger();
            }
        }
        // Only the seat's holder adds to its queue. Asked before, for others must ask with a fence.
        let leaves_tasks = worker.has_queued();
        sleep.release(index);
        // What came while no seat was free, and what the caller left in its queue, needs a worker now; and whoever is awake and not looking
        // for any a watcher: it may wait, not busy, for a task that it must not run itself.
        if !registry.peers[index].inbox.is_empty() || !worker.is_serving() {
            sleep.wake(index);
        } else if leaves_tasks
            || registry.has_common_tasks()
            || worker.has_batches()
            || sleep.leaves_unwatched(index)
        {
            sleep.wake_one();
        }
    }
}

impl Registry {
    /// As `Seats::install`, but never on a thread that is no worker's own.
    pub(crate) fn run_on_worker<F, R>(self: &Arc<Self>, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        with_current(|worker| match worker {
            Some(worker) if Arc::ptr_eq(worker.thread().registry(), self) => f(worker),
            other => self.hand_over(other.map(Worker::thread), f),
        })
    }

    /// Runs `f` on a worker's own thread and waits for it. `foreign` is the calling worker of another runtime.
    pub(crate) fn hand_over<F, R>(self: &Arc<Self>, foreign: Option<&WorkerThread>, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        self.require_workers();
        let job = InstallJob::new(self.inherit(f));
        // The job's frame is public until `done`: nothing between may unwind out of here.
        let guard = AbortOnUnwind("waiting for an installed task failed");
        // SAFETY: this frame stays until `done` is set, and the injector hands the reference to one worker, once.
        let reference = unsafe { job.publish() };
        // A wait goes first, and above all bounds of nesting: it may be what a stack of ours waits for. A tenant has its own order.
        let goes_first = foreign.is_some() || self.tenant().is_none();
        let queue = if goes_first { &self.urgent } else { &self.injector };
        queue.push(isolate::enclose(self, isolate::current(), Task::Install(reference)));
        self.sleep().wake_one();
        match foreign {
            // A worker of another runtime goes on serving that one: two runtimes may wait for each other.
            Some(thread) => thread.wait_running_anything(job.done()),
            None => self.wait_outside(job.done()),
        }
        std::mem::forget(guard);
        // SAFETY: `done` is set, and the result is taken here only.
        let result = unsafe { job.take_result() };
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }
}

#[cfg(all(test, target_os = "linux", not(upbeat_loom)))]
mod tests {
    use crate::sync::thread;
    use crate::topology::affinity;
    use crate::{Pin, Runtime};

    #[test]
    fn a_guest_of_pinned_workers_sits_where_it_runs() {
        for cpu in affinity::allowed() {
            // A thread of its own, whose mask ends with it. The runtime comes first: it deals out the CPUs of who builds it.
            let test = move || {
                let runtime = Runtime::builder().workers(5).pin(Pin::Cores).build().unwrap();
                assert!(affinity::pin(&[cpu]));
                for _ in 0..100 {
                    let (ran_on, index) = runtime.install(|worker| (thread::current().id(), worker.index()));
                    let is_guest = ran_on == thread::current().id();
                    let seats = (0..5).filter(|&seat| runtime.topology().cpu(seat).id == cpu).count();
                    let fits = runtime.topology().cpu(index).id == cpu || seats == 0;
                    assert!(!is_guest || fits, "on CPU {cpu} in the seat of worker {index}");
                }
            };
            std::thread::spawn(test).join().unwrap();
        }
    }
}
