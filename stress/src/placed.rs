//! Scopes and loops that name their data under stress, on a machine that is described with four nodes: bound tasks, urgent ones and usual ones
//! that spawn more of each kind, with joins inside, and loops over data that lie anywhere. Each task and each index is run once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use upbeat::topology::Machine;
use upbeat::{par, Generator, Priority, Runtime, Scope, Spawn};

use crate::phases::{cores, spin, Marks};
use crate::Counts;

const NODES: usize = 4;
/// Tasks of a round.
const TASKS: usize = 4_000;
/// Joins of `fib(8)`, one less than fib(9).
const JOINS: u64 = 33;

/// The phase.
pub(crate) fn placed(seed: u64, until: Instant) -> Counts {
    let workers = 2 * cores().max(NODES / 2);
    let machine = Machine::synthetic(&format!("node:{NODES} core:{}", workers.div_ceil(NODES)));
    let machine = machine.unwrap_or_else(|error| panic!("{error}"));
    let runtime = Runtime::builder().topology(machine).workers(workers).seed(seed).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
    let mut random = Generator::new(seed);
    let (marks, joins) = (Marks::new(TASKS), AtomicU64::new(0));
    let mut data = vec![0_u64; NODES << 18];
    while Instant::now() < until {
        let round = Round { seed: random.next_u64(), marks: &marks, joins: &joins };
        runtime.scope(|scope| round.spawn(scope, 0..TASKS));
        marks.assert_each_once("placed tasks");
        for _ in 0..random.below(5) {
            let from = random.below(data.len());
            let length = random.below(data.len() - from);
            // Less than a page has no place.
            let _small = runtime.memory().bind(&data[from..from + length], random.below(NODES));
        }
        let size = 1 + random.below(20_000);
        runtime.install(|_| {
            par::chunks_mut(&mut data, size, |i, part| part.iter_mut().for_each(|x| *x += i as u64 + 1));
        });
        let wrong = data.iter().enumerate().position(|(i, x)| *x != (i / size) as u64 + 1);
        assert_eq!(wrong, None, "seed {seed}: each element once");
        data.fill(0);
    }
    Counts::of(&runtime, joins.into_inner())
}

/// Tasks that are numbered.
#[derive(Clone, Copy)]
struct Round<'a> {
    seed: u64,
    marks: &'a Marks,
    joins: &'a AtomicU64,
}

impl<'a> Round<'a> {
    /// Spawns `tasks`, or a task that spawns half of them and others that do the rest.
    fn spawn(self, scope: &Scope<'_, 'a>, tasks: std::ops::Range<usize>) {
        let mut random = Generator::new(self.seed ^ tasks.start as u64 ^ (tasks.end as u64) << 32);
        let mut rest = tasks;
        while !rest.is_empty() {
            let many = 1 + random.below(rest.len().min(64));
            let some = rest.start..rest.start + many;
            rest.start = some.end;
            let options = match random.below(6) {
                0 => Spawn::new(),
                1 => Spawn::new().priority(Priority::High),
                _ => Spawn::new().on_node(random.below(NODES)),
            };
            let spins = random.below(200);
            scope.spawn_with(options, move |scope| {
                self.marks.mark(some.start);
                spin(spins);
                if spins < 20 {
                    assert_eq!(fib(8), 21);
                    self.joins.fetch_add(JOINS, Ordering::Relaxed);
                }
                self.spawn(scope, some.start + 1..some.end);
            });
        }
    }
}

/// As `phases::fib`, on whatever worker this thread is.
fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = upbeat::join(|| fib(n - 1), || fib(n - 2));
    a + b
}
