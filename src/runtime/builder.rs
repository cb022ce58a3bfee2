//! Configuring and starting a runtime.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use super::fork;
use super::handle::Runtime;
use super::mode::Mode;
use super::pinning::{self, Pin};
use super::registry::{PanicHandler, Parts, Registry};
use super::search::serve;
use super::seat::Seats;
use crate::error::BuildError;
use crate::sleep::polling::Polling;
use crate::steal::learned::{Learning, Weights};
use crate::steal::{StealPolicy, Stealing};
use crate::sync::{lock, thread, wait, Condvar, Mutex};
use crate::task::inherit::Inheritance;
use crate::task::unwind::{abort, catch, discard};
use crate::topology::{affinity, machine, Machine, Topology, TopologyError};

/// The most workers a runtime may have.
pub const MAX_WORKERS: usize = 1 << 10;
const STACK_SIZE: usize = 8 << 20;
const STACK_SIZES: std::ops::RangeInclusive<usize> = 64 << 10..=64 << 30;

type Hook = Arc<dyn Fn(usize) + Send + Sync>;

/// Configures a [`Runtime`]; made by [`Runtime::builder`].
///
/// ```
/// use std::time::Duration;
/// use upbeat::{Runtime, Stealing};
///
/// let runtime = Runtime::builder()
///     .workers(2)
///     .heartbeat(Duration::from_micros(50))
///     .stealing(Stealing::Random)
///     .thread_name(|i| format!("compute-{i}"))
///     .build()?;
/// assert_eq!(runtime.num_workers(), 2);
/// # Ok::<(), upbeat::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    workers: usize,
    heartbeat: Duration,
    stealing: Box<dyn StealPolicy>,
    pin: Pin,
    machine: Option<Machine>,
    seed: u64,
    mode: Option<Mode>,
    learning: Option<Learning>,
    weights: Option<Weights>,
    policy_log: usize,
    stack_size: Option<usize>,
    enrol_callers: Option<bool>,
    thread_name: Box<dyn Fn(usize) -> String>,
    on_start: Option<Hook>,
    on_exit: Option<Hook>,
    on_panic: Option<PanicHandler>,
    inheritance: Option<Inheritance>,
    polling: Polling,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            workers: 0,
            heartbeat: Duration::from_micros(100),
            stealing: Box::new(Stealing::default()),
            pin: Pin::default(),
            machine: None,
            seed: 0x5eed,
            mode: None,
            learning: None,
            weights: None,
            policy_log: 0,
            stack_size: None,
            enrol_callers: None,
            thread_name: Box::new(|index| format!("upbeat-{index}")),
            on_start: None,
            on_exit: None,
            on_panic: None,
            inheritance: None,
            polling: Polling::default(),
        }
    }
}

impl Builder {
    /// How many workers; 0, the default, means `UPBEAT_WORKERS`, and without that as many as the affinity mask and the
    /// cgroup's CPU quota allow.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// The shortest time between two wake-ups of sleeping workers by one busy worker; 100 µs by default.
    ///
    /// A wake-up costs the waker about 5 µs, so this bounds the cost of sharing work to a small share of the work.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Whom a thief asks first: one of [`Stealing`], [`Stealing::Nearest`] by default, or a [`StealPolicy`] of one's own.
    pub fn stealing(mut self, policy: impl StealPolicy + 'static) -> Self {
        self.stealing = Box::new(policy);
        self
    }

    /// Whether workers stay where they are dealt to; [`Pin::Auto`] by default.
    pub fn pin(mut self, pin: Pin) -> Self {
        self.pin = pin;
        self
    }

    /// The machine that the workers are dealt over; by default the one that `UPBEAT_TOPOLOGY` describes
    /// ([`Machine::synthetic`]), and without that [`machine`], the one that this runs on.
    ///
    /// That one with fewer CPUs ([`Machine::retain`]) is for running on a part of it. Any other is for looking at what is decided there:
    /// who is asked for work, and where tasks with a wish go. Unless their number is given, it gets a worker a CPU, at most
    /// [`MAX_WORKERS`]; none is pinned.
    ///
    /// ```
    /// use upbeat::topology::Machine;
    /// use upbeat::Runtime;
    ///
    /// let machine = Machine::synthetic("node:4 core:2")?;
    /// let runtime = Runtime::builder().topology(machine).workers(8).build()?;
    /// assert_eq!(runtime.topology().workers_of(3), [6, 7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topology(mut self, machine: Machine) -> Self {
        self.machine = Some(machine);
        self
    }

    /// Seed of the random choices among victims.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// When joins and loops share their work: [`Mode::OnRequest`] unless `UPBEAT_MODE` says otherwise. See [`Mode`] for those
    /// that help to find races.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Whether the settings of parallel regions are learned, call site by call site: [`Learning::Static`] unless `UPBEAT_POLICY` says
    /// `bandit` or `learned`. [`Metrics::sites`](crate::Metrics::sites) tells what was chosen and what it gained.
    pub fn learning(mut self, learning: Learning) -> Self {
        self.learning = Some(learning);
        self
    }

    /// The weights that [`Learning::Learned`] begins with, in place of those that come with this version.
    pub fn weights(mut self, weights: Weights) -> Self {
        self.weights = Some(weights);
        self
    }

    /// Keeps what the policy sees and chooses in the first `regions` regions of each call site, for [`Runtime::policy_log`]; 0, the
    /// default, keeps nothing. A region takes about 300 bytes. Where nothing is learned there is nothing to keep.
    pub fn policy_log(mut self, regions: usize) -> Self {
        self.policy_log = regions;
        self
    }

    /// Names the worker threads; `upbeat-{index}` by default. A name with a NUL in it is refused by [`build`](Self::build).
    pub fn thread_name(mut self, name: impl Fn(usize) -> String + 'static) -> Self {
        self.thread_name = Box::new(name);
        self
    }

    /// Stack of each worker in bytes; 8 MiB by default.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Whether a thread that calls [`Runtime::install`], [`join`](crate::join) and the like takes the place of a sleeping worker and
    /// runs its closure itself, which saves two hand-overs between threads (10 to 20 µs), instead of waiting for a worker thread to run
    /// it. By default it does, unless a [`stack_size`](Self::stack_size) or a hook for the threads' start or end is set, which would not
    /// hold for the caller's thread.
    pub fn enrol_callers(mut self, enrol: bool) -> Self {
        self.enrol_callers = Some(enrol);
        self
    }

    /// How long the watcher polls while nobody else is awake, for comparisons (`upbeat bench idle`). No part of the promised interface.
    #[doc(hidden)]
    pub fn polling(mut self, polling: Polling) -> Self {
        self.polling = polling;
        self
    }

    /// Called on each worker thread before it takes work. A panic makes [`build`](Self::build) fail.
    pub fn on_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_start = Some(Arc::new(hook));
        self
    }

    /// Called on each worker thread as it ends. A panic aborts the process.
    pub fn on_exit(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_exit = Some(Arc::new(hook));
        self
    }

    /// Gets the payload when a task panics whose handle was dropped. Without it such a panic aborts the process, and so
    /// does a panic of the handler.
    pub fn on_panic(
        mut self,
        handler: impl Fn(Box<dyn std::any::Any + Send>) + Send + Sync + 'static,
    ) -> Self {
        self.on_panic = Some(Box::new(handler));
        self
    }

    /// A context that tasks inherit from whoever makes them, such as a span of `tracing`. `capture` is called where a task is spawned,
    /// added to a scope, or installed from outside; `enter` wherever it then runs. It must call what it is given, once, and may set
    /// something up before and take it down afterwards; that may unwind.
    ///
    /// A future has its context in each poll. A part of a join, a loop or a scope's body that another worker takes over has the
    /// context of the task that it is a part of; what that task has entered by itself since it began is not carried along. Joins that
    /// nobody steals from pay nothing for this.
    ///
    /// ```
    /// use tracing::Span;
    ///
    /// let runtime = upbeat::Runtime::builder()
    ///     .task_context(Span::current, |span, run| span.in_scope(run))
    ///     .build()?;
    /// let request = tracing::info_span!("request");
    /// let inside = request.in_scope(|| runtime.spawn(|| Span::current().id())).join();
    /// assert_eq!(inside.unwrap(), request.id());
    /// # Ok::<(), upbeat::BuildError>(())
    /// ```
    pub fn task_context<C: Send + Sync + 'static>(
        mut self,
        capture: impl Fn() -> C + Send + Sync + 'static,
        enter: impl Fn(&C, &mut dyn FnMut()) + Send + Sync + 'static,
    ) -> Self {
        self.inheritance = Some(Inheritance::new(capture, enter));
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// See [`BuildError`]. When one thread cannot be started, those before it are stopped and joined first.
    pub fn build(self) -> Result<Runtime, BuildError> {
        let machine = match self.machine {
            // The machine of a model has no CPUs to tell apart.
            _ if cfg!(upbeat_loom) => Machine::default(),
            None => described(std::env::var_os("UPBEAT_TOPOLOGY"))?.unwrap_or_else(machine),
            Some(machine) if machine.cpus.is_empty() => {
                return Err(BuildError::Topology { value: None, source: TopologyError::NoCpus })
            }
            Some(machine) => machine,
        };
        let workers = match self.workers {
            0 => default_workers(std::env::var_os("UPBEAT_WORKERS"), &machine)?,
            workers => workers,
        };
        let mode = match self.mode {
            None => Mode::from_environment(std::env::var_os("UPBEAT_MODE"))?,
            Some(mode) => mode,
        };
        let learning = match self.learning {
            // A model is told apart by what is in it, not by what happened before.
            _ if cfg!(upbeat_loom) => Learning::Static,
            None => Learning::from_environment(std::env::var_os("UPBEAT_POLICY"))?,
            Some(learning) => learning,
        };
        let seed = if let Mode::Seeded(seed) = mode { seed } else { self.seed };
        if workers > MAX_WORKERS {
            return Err(BuildError::TooManyWorkers { asked: workers });
        }
        let stack_size = self.stack_size.unwrap_or(STACK_SIZE);
        if !STACK_SIZES.contains(&stack_size) {
            return Err(BuildError::StackSize { asked: stack_size });
        }
        if self.heartbeat.is_zero() || self.heartbeat > Duration::from_secs(1) {
            return Err(BuildError::Heartbeat);
        }
        let names: Vec<String> = (0..workers).map(&self.thread_name).collect();
        if let Some(index) = names.iter().position(|name| name.contains('\0')) {
            return Err(BuildError::ThreadName { index });
        }
        fork::watch();
        let topology = Topology::dealt(&machine, workers);
        let masks = pinning::masks(self.pin, &machine, &topology);
        let (registry, queues) = Registry::new(Parts {
            topology,
            policy: self.stealing,
            heartbeat: self.heartbeat,
            seed,
            mode,
            on_panic: self.on_panic,
            inheritance: self.inheritance,
            tenant: None,
            learning,
            weights: self.weights.map(Weights::into_network),
            policy_log: self.policy_log,
            polling: self.polling,
        });
        let is_plain = self.stack_size.is_none() && self.on_start.is_none() && self.on_exit.is_none();
        let enrols = self.enrol_callers.unwrap_or(is_plain);
        let seats = Seats::new(registry.clone(), queues, enrols, masks.as_deref());
        let mut masks = masks.into_iter().flatten();
        let mut runtime = Runtime::new_with(seats.clone());
        let starts = Arc::new(Starts::default());
        for (index, name) in names.into_iter().enumerate() {
            let seats = seats.clone();
            let starts = starts.clone();
            let (on_start, on_exit) = (self.on_start.clone(), self.on_exit.clone());
            let mask = masks.next();
            let body = move || {
                if let Some(mask) = mask {
                    affinity::pin(&mask);
                }
                let outcome = on_start.map_or(Ok(()), |hook| catch(|| hook(index)));
                let failed = outcome.is_err();
                discard(outcome);
                starts.report(index, failed);
                if failed {
                    return;
                }
                serve(&seats, index);
                if let Some(Err(_)) = on_exit.map(|hook| catch(|| hook(index))) {
                    abort(&format!("the on_exit hook of worker {index} panicked"));
                }
            };
            match thread::spawn(name, stack_size, body) {
                Ok(thread) => runtime.threads.push(thread),
                // Dropping the runtime stops and joins the workers before this one.
                Err(source) => return Err(BuildError::Spawn { index, source }),
            }
        }
        match starts.wait_for(workers) {
            Some(index) => Err(BuildError::StartHook { index }),
            None => Ok(runtime),
        }
    }
}

/// What the threads say of their start hooks.
#[derive(Default)]
struct Starts {
    reports: Mutex<Reports>,
    changed: Condvar,
}

#[derive(Default)]
struct Reports {
    count: usize,
    /// The first worker whose hook panicked.
    failed: Option<usize>,
}

impl Starts {
    fn report(&self, index: usize, failed: bool) {
        let mut reports = lock(&self.reports);
        reports.count += 1;
        if failed {
            reports.failed = reports.failed.or(Some(index));
        }
        self.changed.notify_one();
    }

    /// Blocks until a hook has failed or all `workers` have reported; says which one failed.
    fn wait_for(&self, workers: usize) -> Option<usize> {
        let mut reports = lock(&self.reports);
        while reports.failed.is_none() && reports.count < workers {
            reports = wait(&self.changed, reports, None);
        }
        reports.failed
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// The machine that `UPBEAT_TOPOLOGY` describes, if it is set and not empty.
fn described(variable: Option<OsString>) -> Result<Option<Machine>, BuildError> {
    let Some(value) = variable.filter(|value| !value.is_empty()) else { return Ok(None) };
    let value = value.to_string_lossy().into_owned();
    match Machine::synthetic(&value) {
        Ok(machine) => Ok(Some(machine)),
        Err(source) => Err(BuildError::Topology { value: Some(value), source }),
    }
}

/// `UPBEAT_WORKERS` if it is set and not empty; else the machine's CPUs, on this machine within the affinity mask and the cgroup quota (the
/// standard library reads both).
fn default_workers(variable: Option<OsString>, machine: &Machine) -> Result<usize, BuildError> {
    match variable.filter(|value| !value.is_empty()) {
        None => {
            let here = || thread::available_parallelism().map_or(1, usize::from);
            let cpus = machine.cpus.len();
            Ok(match (machine.is_here(), cpus) {
                (_, 0) => here(),
                (true, _) => here().min(cpus),
                (false, _) => cpus,
            }
            .min(MAX_WORKERS))
        }
        Some(value) => match value.to_str().and_then(|text| text.trim().parse().ok()) {
            Some(workers @ 1..=MAX_WORKERS) => Ok(workers),
            _ => Err(BuildError::Environment { value: value.to_string_lossy().into_owned() }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 50.
    #[test]
    fn garbage_in_the_environment_is_named() {
        for garbage in ["-1", "9e99", "0", "two", "99999999999999999999", "1025"] {
            match default_workers(Some(garbage.into()), &machine()) {
                Err(BuildError::Environment { value }) => assert_eq!(value, garbage),
                other => panic!("{garbage}: {other:?}"),
            }
        }
        assert_eq!(default_workers(Some(" 3 ".into()), &machine()).unwrap(), 3);
        assert!(default_workers(Some("".into()), &machine()).unwrap() >= 1);
    }

    /// Fault 50, of the other variable.
    #[test]
    fn garbage_that_describes_a_machine_is_named() {
        for garbage in ["4", "core:0", "node:2 core", "core:99999", " "] {
            match described(Some(garbage.into())) {
                Err(BuildError::Topology { value: Some(value), .. }) => assert_eq!(value, garbage),
                other => panic!("{garbage}: {other:?}"),
            }
        }
        assert_eq!(described(None).unwrap(), None);
        assert_eq!(described(Some("".into())).unwrap(), None);
    }

    #[test]
    fn a_described_machine_gets_a_worker_a_cpu_and_this_one_no_more_than_it_may_use() {
        let workers = |machine: &Machine| default_workers(None, machine).unwrap();
        assert_eq!(workers(&Machine::synthetic("node:2 core:3 pu:2").unwrap()), 12);
        assert_eq!(workers(&Machine::synthetic("core:2000").unwrap()), MAX_WORKERS);
        assert!(workers(&Machine::synthetic("core:2000").unwrap().made_ours()) <= workers(&machine()));
        assert_eq!(workers(&Machine::synthetic("core:1").unwrap().made_ours()), 1);
    }
}
