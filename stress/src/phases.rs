//! What the stress runs: fine trees that are rarely stolen from, single joins whose owner and thief race for one task, and
//! oversubscribed random trees that yield at random points.
//!
//! A phase builds its runtime, works until `until`, and asserts that each closure ran exactly once: from sums that a lost or
//! repeated one would change, and from a mark a task.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use upbeat::{Generator, Mode, Runtime, Stealing, Worker};

use crate::{batches, outside, placed, Counts};

/// A phase, its name first.
pub type Phase = (&'static str, fn(u64, Instant) -> Counts);

/// All phases. Each takes a seed and the time at which to stop.
pub const ALL: [Phase; 11] = [
    ("fine trees, shared on request", trees),
    ("one task at a time, owner against thieves", races),
    ("two tasks at a time, owner against thieves", pairs),
    ("chains of public tasks, thieves on the one end, the owner on the other", chains),
    ("random trees on four times the cores, forks drawn", oversubscribed),
    ("random trees on four times the cores, all public", all_public),
    ("callers from outside, in seats and handed over", outside::guests),
    ("scopes of callers from outside", outside::scopes),
    ("futures that wait for each other, some of them cancelled", outside::futures),
    ("batches of items from threads and tasks", batches::batches),
    ("scopes and loops whose data are on four nodes", placed::placed),
];

pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(2, usize::from).max(2)
}

pub(crate) fn runtime(workers: usize, mode: Mode, seed: u64) -> Runtime {
    let stealing = if seed.is_multiple_of(2) { Stealing::Nearest } else { Stealing::Random };
    let builder = Runtime::builder().workers(workers).mode(mode).stealing(stealing);
    builder.seed(seed).build().unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn fib(worker: &Worker, n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = worker.join(|w| fib(w, n - 1), |w| fib(w, n - 2));
    a + b
}

/// Joins at full speed: hundreds of millions, from which thieves take what they ask for.
fn trees(seed: u64, until: Instant) -> Counts {
    let runtime = runtime(cores(), Mode::OnRequest, seed);
    let mut joins = 0;
    while Instant::now() < until {
        // fib(27) = 196,418 from 317,810 joins, one less than fib(28).
        assert_eq!(runtime.install(|w| fib(w, 27)), 196_418, "seed {seed}");
        joins += 317_810;
    }
    Counts::of(&runtime, joins)
}

/// Marks of tasks that must run once each.
pub(crate) struct Marks(Vec<AtomicU8>);

impl Marks {
    pub(crate) fn new(tasks: usize) -> Self {
        Self((0..tasks).map(|_| AtomicU8::new(0)).collect())
    }

    pub(crate) fn mark(&self, task: usize) -> u64 {
        self.0[task].fetch_add(1, Ordering::Relaxed);
        task as u64
    }

    pub(crate) fn assert_each_once(&self, what: &str) {
        let wrong = self.0.iter().position(|mark| mark.swap(0, Ordering::Relaxed) != 1);
        assert_eq!(wrong, None, "{what}: a task that did not run exactly once");
    }
}

pub(crate) fn spin(rounds: usize) {
    (0..rounds).for_each(|_| std::hint::spin_loop());
}

/// Each join is public, and its left side lasts about as long as a thief needs: who gets the right side is open every time.
fn races(seed: u64, until: Instant) -> Counts {
    let runtime = runtime(cores(), Mode::AlwaysPromote, seed);
    let mut generator = Generator::new(seed);
    const TASKS: usize = 10_000;
    let marks = Marks::new(TASKS);
    let mut joins = 0;
    while Instant::now() < until {
        let spins: Vec<u8> = (0..TASKS).map(|_| generator.below(128) as u8).collect();
        let sum: u64 = runtime.install(|worker| {
            let one = |task: usize| {
                let (left, right) = worker.join(
                    |_| {
                        spin(spins[task].into());
                        task as u64
                    },
                    |_| marks.mark(task),
                );
                left + right
            };
            (0..TASKS).map(one).sum()
        });
        assert_eq!(sum, TASKS as u64 * (TASKS as u64 - 1), "seed {seed}");
        marks.assert_each_once("races");
        joins += TASKS as u64;
    }
    Counts::of(&runtime, joins)
}

/// As above with two public tasks and a thief more than there are cores, so that thieves race for the older one too.
fn pairs(seed: u64, until: Instant) -> Counts {
    let runtime = runtime(cores() + 1, Mode::AlwaysPromote, seed);
    let mut generator = Generator::new(seed);
    const PAIRS: usize = 5_000;
    let marks = Marks::new(2 * PAIRS);
    let mut joins = 0;
    while Instant::now() < until {
        let spins: Vec<u8> = (0..2 * PAIRS).map(|_| generator.below(96) as u8).collect();
        let sum: u64 = runtime.install(|worker| {
            let pair = |pair: usize| {
                let (inner, outer) = worker.join(
                    |w| {
                        let (_, inner) = w.join(|_| spin(spins[2 * pair].into()), |_| marks.mark(2 * pair));
                        spin(spins[2 * pair + 1].into());
                        inner
                    },
                    |_| marks.mark(2 * pair + 1),
                );
                inner + outer
            };
            (0..PAIRS).map(pair).sum()
        });
        assert_eq!(sum, PAIRS as u64 * (2 * PAIRS as u64 - 1), "seed {seed}");
        marks.assert_each_once("pairs");
        joins += 2 * PAIRS as u64;
    }
    Counts::of(&runtime, joins)
}

/// The depth of a chain; less than a ring has room for.
const CHAIN: usize = 60;

/// Joins nested `depth` deep, all of them public. At the bottom the owner lets thieves take `until` tasks, or as many as they
/// take in the time of a thousand yields, and then meets them from the other end.
fn chain(worker: &Worker, marks: &Marks, depth: usize, begun: &AtomicUsize, until: usize) -> u64 {
    if depth == 0 {
        for _ in 0..1000 {
            if begun.load(Ordering::Relaxed) >= until {
                break;
            }
            thread::yield_now();
        }
        return 0;
    }
    let (inner, outer) = worker.join(
        |w| chain(w, marks, depth - 1, begun, until),
        |_| {
            begun.fetch_add(1, Ordering::Relaxed);
            marks.mark(depth - 1)
        },
    );
    inner + outer
}

/// Steals by the million: a thief that gets the processor finds dozens of tasks.
fn chains(seed: u64, until: Instant) -> Counts {
    let runtime = runtime(cores() + 1, Mode::AlwaysPromote, seed);
    let mut generator = Generator::new(seed);
    let marks = Marks::new(CHAIN);
    let mut joins = 0;
    while Instant::now() < until {
        runtime.install(|worker| {
            for _ in 0..100 {
                let (begun, until) = (AtomicUsize::new(0), generator.below(CHAIN + 1));
                let sum = chain(worker, &marks, CHAIN, &begun, until);
                assert_eq!(sum, (CHAIN * (CHAIN - 1) / 2) as u64, "seed {seed}");
                marks.assert_each_once("chains");
            }
        });
        joins += 100 * CHAIN as u64;
    }
    Counts::of(&runtime, joins)
}

/// A tree over the tasks from `first` on, cut at random places; leaves yield at random.
pub(crate) fn random_tree(
    worker: &Worker,
    marks: &Marks,
    first: usize,
    tasks: usize,
    mut generator: Generator,
) -> u64 {
    if tasks == 1 {
        if generator.below(256) == 0 {
            thread::yield_now();
        }
        spin(generator.below(64));
        return marks.mark(first);
    }
    let left = 1 + generator.below(tasks - 1);
    let (a, b) = (Generator::new(generator.next_u64()), generator);
    let (a, b) = worker.join(
        |w| random_tree(w, marks, first, left, a),
        |w| random_tree(w, marks, first + left, tasks - left, b),
    );
    a + b
}

fn random_trees(mode: Mode, seed: u64, until: Instant) -> Counts {
    let runtime = runtime(4 * cores(), mode, seed);
    let mut generator = Generator::new(seed);
    const MOST: usize = 20_000;
    let mut joins = 0;
    while Instant::now() < until {
        let tasks = 1 + generator.below(MOST);
        let marks = Marks::new(tasks);
        let tree = Generator::new(generator.next_u64());
        let sum = runtime.install(|worker| random_tree(worker, &marks, 0, tasks, tree));
        assert_eq!(sum, tasks as u64 * (tasks as u64 - 1) / 2, "seed {seed}");
        marks.assert_each_once("random trees");
        joins += tasks as u64 - 1;
    }
    Counts::of(&runtime, joins)
}

fn oversubscribed(seed: u64, until: Instant) -> Counts {
    random_trees(Mode::Seeded(seed), seed, until)
}

fn all_public(seed: u64, until: Instant) -> Counts {
    random_trees(Mode::AlwaysPromote, seed, until)
}
