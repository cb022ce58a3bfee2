//! What workers run: tasks that a program makes up when they are needed, so that a tree of 10^7 nodes is never stored.
//!
//! A program is pure: the same task gives the same step, whoever asks and when. So what was run can be checked against a walk by one.

use std::num::NonZeroU32;

/// A part of a program; what its fields mean is the program's affair, but that loops are `lo..hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Which of the program's kinds of task.
    pub kind: NonZeroU32,
    /// Which phase, job or layer it belongs to.
    pub job: u32,
    /// The first index.
    pub lo: u32,
    /// The index after the last one.
    pub hi: u32,
    /// State of its random numbers.
    pub seed: u64,
}

impl Task {
    /// A task of a kind above 0.
    pub const fn new(kind: u32, job: u32, lo: u32, hi: u32, seed: u64) -> Self {
        match NonZeroU32::new(kind) {
            Some(kind) => Self { kind, job, lo, hi, seed },
            None => panic!("kinds begin at 1"),
        }
    }

    /// The same for other indices.
    pub const fn over(self, lo: u32, hi: u32) -> Self {
        Self { lo, hi, ..self }
    }
}

/// How long something takes a worker whose memory is near and not busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// ns.
    pub ns: u64,
    /// The share of it that waits for memory, in 1/1024.
    pub memory: u32,
    /// The NUMA node that has the data.
    pub home: u32,
}

impl Cost {
    /// Computation alone.
    pub const fn compute(ns: u64) -> Self {
        Self { ns, memory: 0, home: 0 }
    }
}

/// A parallel region: what a [`Chooser`](crate::settings::Chooser) chooses settings for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// The place in the source that it begins at.
    pub site: u32,
    /// Tasks or iterations in it, as far as the program knows.
    pub size: u64,
}

/// What running a task means.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What comes first.
    pub cost: Cost,
    /// What it leads to.
    pub next: Next,
    /// What follows when all of that is done.
    pub then: Option<Task>,
    /// The region that begins with `next` and ends with it.
    pub region: Option<Region>,
}

/// What a task leads to.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// Nothing.
    Done,
    /// A join: the first runs here, the second here or with a thief.
    Fork(Task, Task),
    /// A loop over `lo..hi`, which thieves halve; [`Program::stretch`] knows what its items cost.
    Loop(Task),
}

impl Step {
    /// A leaf.
    pub const fn leaf(cost: Cost) -> Self {
        Self { cost, next: Next::Done, then: None, region: None }
    }

    /// A join after `ns` of computation.
    pub const fn fork(ns: u64, left: Task, right: Task) -> Self {
        Self { cost: Cost::compute(ns), next: Next::Fork(left, right), then: None, region: None }
    }
}

/// How a program begins.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// With one task on worker 0.
    Root(Task),
    /// With jobs that come from outside, so many.
    Jobs(u32),
}

/// A program that can be simulated.
pub trait Program: Sync {
    /// How it begins.
    fn start(&self) -> Start;

    /// What a task does.
    fn step(&self, task: Task) -> Step;

    /// What the items `lo..hi` of a loop cost together.
    fn stretch(&self, of: Task) -> Cost {
        unreachable!("{of:?} is no loop of this program")
    }

    /// The NUMA node that has most of a task's data; `None` if it has none worth going to.
    fn home(&self, _task: Task) -> Option<u32> {
        None
    }

    /// When job `index` of [`Start::Jobs`] comes, ns, not before its predecessor; and what it is.
    fn job(&self, index: u32) -> (u64, Task) {
        unreachable!("there is no job {index}")
    }

    /// Whether loops are dealt out to the workers when they begin, whatever the settings say.
    fn is_placed(&self) -> bool {
        false
    }
}

/// What a walk by one worker meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Leaves and loop items.
    pub leaves: u64,
    /// Joins.
    pub forks: u64,
    /// Work, ns.
    pub ns: u64,
    /// The longest chain of work that must follow one another, ns: no number of workers is faster. Loops count their dearest item.
    pub span: u64,
}

impl Total {
    fn then(self, next: Total) -> Total {
        Total {
            leaves: self.leaves + next.leaves,
            forks: self.forks + next.forks,
            ns: self.ns + next.ns,
            span: self.span + next.span,
        }
    }
}

/// Walks the whole program: the slow twin of every simulation, which must run the same leaves and the same work. The recursion is as deep
/// as the program's joins.
pub fn walk(program: &dyn Program) -> Total {
    match program.start() {
        Start::Root(task) => walk_task(program, task),
        Start::Jobs(jobs) => (0..jobs)
            .map(|job| walk_task(program, program.job(job).1))
            .fold(Total::default(), |all, job| Total { span: all.span.max(job.span), ..all.then(job) }),
    }
}

fn walk_task(program: &dyn Program, first: Task) -> Total {
    let mut total = Total::default();
    let mut next = Some(first);
    while let Some(task) = next {
        let step = program.step(task);
        let own = Total { ns: step.cost.ns, span: step.cost.ns, ..Total::default() };
        let below = match step.next {
            Next::Done => Total { leaves: 1, ..Total::default() },
            Next::Fork(left, right) => {
                let (left, right) = (walk_task(program, left), walk_task(program, right));
                let both = left.then(right);
                Total { forks: both.forks + 1, span: left.span.max(right.span), ..both }
            }
            Next::Loop(task) => {
                let items = (task.lo..task.hi).map(|i| program.stretch(task.over(i, i + 1)).ns);
                let (ns, span) = items.fold((0, 0), |(sum, most), ns| (sum + ns, most.max(ns)));
                Total { leaves: u64::from(task.hi - task.lo), forks: 0, ns, span }
            }
        };
        total = total.then(own).then(below);
        next = step.then;
    }
    total
}
