//! What a waiting join or scope promises: it runs only what descends from what it waits for. So the stack stays within
//! the program's own depth (fault 17), and a lock that is held across a join is not met again on the same stack (fault 18).

mod support;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use support::watched;
use upbeat::{Generator, Runtime};

/// Chances to put the outer task on offer, and for the holder to take it.
const CHANCES: u32 = 200_000;

thread_local! {
    /// The tasks that this thread is in the middle of, the innermost last.
    static RUNNING: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// Whether this thread holds the lock of `a_lock_held_across_a_join_is_not_met_again`.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// A task and all that it descends from.
struct Lineage<'a> {
    id: u64,
    parent: Option<&'a Lineage<'a>>,
}

impl Lineage<'_> {
    fn descends_from(&self, id: u64) -> bool {
        self.id == id || self.parent.is_some_and(|parent| parent.descends_from(id))
    }

    /// Runs `f` as this task, on a stack that may belong to ancestors only.
    fn run(&self, f: impl FnOnce()) {
        RUNNING.with_borrow_mut(|running| {
            if let Some(&below) = running.last() {
                assert!(self.descends_from(below), "task {} runs on top of task {below}", self.id);
            }
            running.push(self.id);
        });
        f();
        RUNNING.with_borrow_mut(|running| assert_eq!(running.pop(), Some(self.id)));
    }
}

/// A tree of joins and scopes, its shape drawn from `seed`.
fn grow(seed: u64, depth: u32, parent: Option<&Lineage<'_>>, ids: &AtomicU64) {
    let this = &Lineage { id: ids.fetch_add(1, Ordering::Relaxed), parent };
    this.run(|| {
        let mut random = Generator::new(seed);
        if depth == 0 {
            return (0..random.below(2000)).for_each(|_| std::hint::spin_loop());
        }
        let (left, right) = (random.next_u64(), random.next_u64());
        if random.below(3) > 0 {
            upbeat::join(
                || grow(left, depth - 1, Some(this), ids),
                || grow(right, depth - 1, Some(this), ids),
            );
        } else {
            upbeat::scope(|scope| {
                for task in 0..1 + random.below(4) as u64 {
                    scope.spawn(move |_| grow(left ^ task, depth - 1, Some(this), ids));
                }
                grow(right, depth - 1, Some(this), ids);
            });
        }
    });
}

/// Fault 17.
#[test]
fn a_waiter_runs_descendants_only() {
    watched("random trees", || {
        for workers in [2, 3, 8] {
            let runtime = Runtime::builder().workers(workers).build().unwrap();
            for seed in 0..30 {
                let ids = AtomicU64::new(0);
                runtime.install(|_| grow(seed, 7, None, &ids));
            }
        }
    });
}

/// Fault 18, in the corner where it is hard: one worker waits for a scope whose task runs on the other, helps there with the
/// right half of a join, and has an outer task of its own on offer. The other holds the lock and waits for that half; if it
/// helped with the outer task, it would meet its own lock.
#[test]
fn a_lock_held_across_a_join_is_not_met_again() {
    let wait_for = |flag: &AtomicBool| {
        while !flag.load(Ordering::Acquire) {
            thread::yield_now();
        }
    };
    watched("a lock held across a join", || {
        let runtime = Runtime::builder().workers(2).build().unwrap();
        for _ in 0..20 {
            let (occupied, open) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let (entered, gate) = (occupied.clone(), open.clone());
            let occupant = runtime.spawn(move || {
                entered.store(true, Ordering::Release);
                wait_for(&gate);
            });
            wait_for(&occupied);
            let (held, helped) = (&AtomicBool::new(false), &AtomicBool::new(false));
            let hold_and_join = || {
                HOLDS.set(true);
                held.store(true, Ordering::Release);
                while !helped.load(Ordering::Acquire) {
                    let help = || {
                        if !HOLDS.get() {
                            helped.store(true, Ordering::Release);
                            (0..CHANCES).for_each(|_| {
                                upbeat::join(|| (), || ());
                            });
                        }
                    };
                    upbeat::join(|| (0..500).for_each(|_| std::hint::spin_loop()), help);
                }
                HOLDS.set(false);
            };
            let (_, met) = runtime.install(|w| {
                w.join(
                    |w| {
                        w.scope(|scope| {
                            scope.spawn(|_| hold_and_join());
                            open.store(true, Ordering::Release);
                            wait_for(held);
                        })
                    },
                    |_| HOLDS.get(),
                )
            });
            occupant.join().unwrap();
            assert!(!met, "the outer task ran on the stack that holds the lock");
        }
    });
}
