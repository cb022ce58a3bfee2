//! The simulation: one event at a time, the earliest first, until the program is done.
//!
//! Each worker has one next event. What happens between two events of a worker concerns nobody else; everything that others can see
//! happens at an event. Time is whole nanoseconds, and nothing depends on addresses, hashes or the host, so a seed has one answer.
//! What workers do: `run` (tasks), `share` (making them public), `search` (finding some), `wait` (for a thief). The model is described
//! in `sim/README.md`.

mod lines;
mod run;
mod search;
mod share;
mod wait;
mod worker;

use crate::machine::{Layout, Machine};
use crate::outcome::Outcome;
use crate::policy::Orders;
use crate::program::{Program, Region, Start};
use crate::queue::{Queue, NEVER};
use crate::rate::{self, Rule, Sight};
use crate::settings::{Chooser, Idling, Settings};
use lines::Lines;
use worker::{Below, Current, Frame, Home, Inbox, Kind, Sent, State, Worker, NO_TASK};

/// What to simulate, besides the program.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Number of workers.
    pub workers: usize,
    /// What workers do before they sleep.
    pub idling: Idling,
    /// Seed of the choices among victims.
    pub seed: u64,
}

/// Nobody.
const NONE: usize = usize::MAX;
/// The region that is the whole program.
const WHOLE: Region = Region { site: 0, size: 0 };

/// Runs `program` to its end.
///
/// # Panics
/// When the plan has no worker, or more than the runtime allows; and when a task was lost, which is an error of the simulator.
pub fn simulate(program: &dyn Program, plan: Plan<'_>, chooser: &mut dyn Chooser) -> Outcome {
    assert!(
        (1..=upbeat::MAX_WORKERS).contains(&plan.workers),
        "between 1 and {} workers",
        upbeat::MAX_WORKERS
    );
    let mut engine = Engine::new(program, plan, chooser);
    engine.begin();
    engine.run_events();
    engine.outcome()
}

struct Engine<'a> {
    program: &'a dyn Program,
    chooser: &'a mut dyn Chooser,
    machine: &'a Machine,
    layout: Layout,
    /// The workers of each node.
    members: Vec<Vec<usize>>,
    idling: Idling,
    settings: Settings,
    rule: Rule,
    /// When the region that was last chosen for is late.
    limit: (u64, Region),
    queue: Queue,
    now: u64,
    workers: Vec<Worker>,
    /// A row a thief.
    sights: Vec<Sight>,
    lines: Lines,
    orders: Orders,
    /// One a node, the injector, and one a worker for what it took beyond what it runs.
    inboxes: Vec<Inbox>,
    /// What is to be had in all of them.
    live: u32,
    /// Load on each node's memory, in 1/1024 of a stream.
    streams: Vec<u64>,
    /// Workers without work, asleep or not.
    hungry: usize,
    /// Those of them that may run anything: who waits for a thief may not.
    free: usize,
    /// Since when there are any such.
    free_since: u64,
    asleep: Vec<bool>,
    sleepers: usize,
    watcher: usize,
    tickets: u64,
    next_job: u32,
    jobs: u32,
    jobs_left: u32,
    is_done: bool,
    tally: Outcome,
}

impl<'a> Engine<'a> {
    fn new(program: &'a dyn Program, plan: Plan<'a>, chooser: &'a mut dyn Chooser) -> Self {
        let workers = plan.workers;
        let layout = Layout::new(plan.machine, workers);
        let settings = chooser.choose(WHOLE, 0);
        let limit = (chooser.limit(), WHOLE);
        let wake = plan.machine.wake[0] + plan.machine.wake[1];
        let seed = |worker| plan.seed.wrapping_mul(0x9e37_79b9).wrapping_add(worker as u64);
        Self {
            program,
            chooser,
            machine: plan.machine,
            members: (0..plan.machine.nodes)
                .map(|node| (0..workers).filter(|&worker| layout.node(worker) == node).collect())
                .collect(),
            idling: plan.idling,
            settings,
            rule: rate::rule(settings.sharing.beat()),
            limit,
            queue: Queue::new(workers + 1),
            now: 0,
            workers: (0..workers)
                .map(|worker| Worker::new(layout.node(worker), wake, seed(worker)))
                .collect(),
            sights: vec![Sight::default(); workers * workers],
            lines: Lines::new(workers),
            orders: Orders::new(workers),
            inboxes: vec![Inbox::default(); plan.machine.nodes as usize + 1 + workers],
            live: 0,
            streams: vec![0; plan.machine.nodes as usize],
            hungry: 0,
            free: 0,
            free_since: 0,
            asleep: vec![false; workers],
            sleepers: 0,
            watcher: NONE,
            tickets: 0,
            next_job: 0,
            jobs: 0,
            jobs_left: 0,
            is_done: false,
            tally: Outcome::default(),
            layout,
        }
    }

    /// Everybody else has just run out of work when the program begins.
    fn begin(&mut self) {
        let mut idle_from = 0;
        match self.program.start() {
            Start::Root(task) => {
                let root = Kind::Root { home: Home::Main, victim: NONE, began: 0, below: Below::default() };
                let worker = &mut self.workers[0];
                worker.frames.push(Frame::new(root, NO_TASK));
                worker.above.first_private = 1;
                worker.current = Current::Task(task);
                worker.state = State::Running;
                worker.busy_since = Some(0);
                self.queue.set(0, 0);
                idle_from = 1;
            }
            Start::Jobs(jobs) => {
                (self.jobs, self.jobs_left) = (jobs, jobs);
                self.is_done = jobs == 0;
                let first = if jobs == 0 { NEVER } else { self.program.job(0).0 };
                self.queue.set(self.workers.len(), first);
            }
        }
        for worker in idle_from..self.workers.len() {
            let next = self.idle(worker, 0);
            self.queue.set(worker, next);
        }
    }

    fn run_events(&mut self) {
        while !self.is_done {
            let (now, slot) =
                self.queue.next().expect("as long as the program is not done, somebody will do something");
            debug_assert!(now >= self.now, "time goes on");
            self.now = now;
            self.tally.events += 1;
            if now > self.limit.0 {
                let region = self.limit.1;
                self.limit.0 = u64::MAX;
                let settings = self.chooser.late(region);
                self.set(settings);
            }
            let next = if slot == self.workers.len() { self.arrive(now) } else { self.event(slot, now) };
            debug_assert!(next >= now, "slot {slot} goes back in time");
            self.queue.set(slot, next);
        }
    }

    /// These settings hold from now on.
    fn set(&mut self, settings: Settings) {
        let before = std::mem::replace(&mut self.settings, settings);
        if settings.sharing != before.sharing {
            self.rule = rate::rule(settings.sharing.beat());
            self.lines.forget_due();
        }
    }

    /// What worker `w` does at `now`; when it is on again.
    #[inline]
    fn event(&mut self, w: usize, now: u64) -> u64 {
        match self.workers[w].state {
            State::Running => self.run(w, now),
            State::Searching => self.search(w, now),
            State::Waiting => self.poll(w, now),
            State::Dozing => {
                self.workers[w].state = State::Waiting;
                self.poll(w, now)
            }
            State::Napping => self.end_nap(w, now),
            State::Waking => self.wake_up(w, now),
            State::Parked => unreachable!("who is parked has no event"),
        }
    }

    /// The next job comes from outside.
    fn arrive(&mut self, now: u64) -> u64 {
        let (_, task) = self.program.job(self.next_job);
        let home = self.program.home(task).filter(|_| self.settings.push).map(|home| self.layout.host(home));
        let inbox = home.map_or(self.injector(), |node| node as usize);
        self.put(inbox, Sent::Job { task, arrived: now });
        self.wake_one(now, home);
        self.next_job += 1;
        match self.next_job < self.jobs {
            true => self.program.job(self.next_job).0.max(now),
            false => NEVER,
        }
    }

    /// `w` has written to what thieves look at.
    #[inline]
    fn changed(&mut self, w: usize) {
        self.lines.change(w);
    }

    /// `w` has nothing to run; what it is doing instead says whether it may run anything.
    fn begin_hunger(&mut self, w: usize, instead: State) {
        self.workers[w].state = instead;
        self.hungry += 1;
        if instead == State::Searching {
            if self.free == 0 {
                self.free_since = self.now;
            }
            self.free += 1;
        }
    }

    fn end_hunger(&mut self, w: usize) {
        self.hungry -= 1;
        if !matches!(self.workers[w].state, State::Waiting | State::Dozing) {
            self.free -= 1;
        }
        self.workers[w].state = State::Running;
    }

    /// The time that `w` spends on what is not the program.
    fn overhead(&mut self, w: usize, ns: u64) -> u64 {
        self.workers[w].spent.overhead += ns;
        ns
    }

    fn outcome(mut self) -> Outcome {
        let mut tally = std::mem::take(&mut self.tally);
        tally.makespan = self.now;
        tally.workers = self.workers.len() as u64;
        for worker in &self.workers {
            tally.useful += worker.spent.useful;
            tally.inflated += worker.spent.inflated;
            tally.overhead += worker.spent.overhead;
        }
        if self.jobs == 0 {
            self.chooser.ended(WHOLE, self.now);
            if tally.times.is_empty() {
                tally.times.push(self.now);
            }
        }
        tally.times.sort_unstable();
        tally
    }
}
