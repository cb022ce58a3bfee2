//! What a scope promises: every task has run when it returns, whoever spawned it and whatever panicked; and its tasks may
//! borrow what outlives it.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use support::{message, panic_of, watched, Counted, Grenade};
use upbeat::{Runtime, Scope};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

#[test]
fn tasks_borrow_and_write_what_outlives_the_scope() {
    for workers in [1, 2, 8] {
        let mut squares = vec![0; 1000];
        let returned = runtime(workers).scope(|scope| {
            for (i, square) in squares.iter_mut().enumerate() {
                scope.spawn(move |_| *square = i * i);
            }
            "result"
        });
        assert_eq!(returned, "result");
        assert!(squares.iter().enumerate().all(|(i, &square)| square == i * i));
    }
}

#[test]
fn one_worker_runs_tasks_in_the_order_they_were_spawned() {
    let order = Mutex::new(Vec::new());
    runtime(1).scope(|scope| {
        for i in 0..100 {
            let order = &order;
            scope.spawn(move |_| order.lock().unwrap().push(i));
        }
        assert!(order.lock().unwrap().is_empty(), "the only worker is busy with the scope's own closure");
    });
    assert_eq!(order.into_inner().unwrap(), (0..100).collect::<Vec<_>>());
}

/// Fault 15: each task is the last one when it spawns the next.
#[test]
fn a_task_spawned_while_the_scope_ends_is_waited_for() {
    fn chain<'env>(scope: &Scope<'_, 'env>, count: &'env AtomicUsize, left: usize) {
        count.fetch_add(1, Ordering::Relaxed);
        if left > 0 {
            scope.spawn(move |scope| chain(scope, count, left - 1));
        }
    }
    watched("chains", || {
        for workers in [1, 2, 8] {
            let runtime = runtime(workers);
            for _ in 0..200 {
                let count = AtomicUsize::new(0);
                runtime.scope(|scope| scope.spawn(|scope| chain(scope, &count, 20)));
                assert_eq!(count.into_inner(), 21);
            }
        }
    });
}

#[test]
fn tasks_spawn_trees_of_tasks() {
    fn tree<'env>(scope: &Scope<'_, 'env>, count: &'env AtomicUsize, depth: u32) {
        count.fetch_add(1, Ordering::Relaxed);
        for _ in 0..if depth > 0 { 3 } else { 0 } {
            scope.spawn(move |scope| tree(scope, count, depth - 1));
        }
    }
    for workers in [1, 2, 8] {
        let count = AtomicUsize::new(0);
        runtime(workers).scope(|scope| tree(scope, &count, 8));
        assert_eq!(count.into_inner(), (3usize.pow(9) - 1) / 2);
    }
}

#[test]
fn scopes_and_joins_nest_in_each_other() {
    fn count(depth: u32) -> usize {
        if depth == 0 {
            return 1;
        }
        let counts = [(); 3].map(|()| AtomicUsize::new(0));
        upbeat::scope(|scope| {
            for half in counts.chunks(2) {
                scope.spawn(move |_| {
                    let put = |slot: usize| {
                        let Some(slot) = half.get(slot) else { return };
                        slot.store(count(depth - 1), Ordering::Relaxed);
                    };
                    upbeat::join(|| put(0), || put(1));
                });
            }
        });
        counts.into_iter().map(AtomicUsize::into_inner).sum()
    }
    watched("scopes in joins in scopes", || {
        for workers in [1, 2, 8] {
            assert_eq!(runtime(workers).install(|_| count(7)), 3usize.pow(7));
        }
    });
}

#[test]
fn a_scope_works_from_a_thread_that_is_no_worker() {
    let mut halves = [0; 2];
    upbeat::scope(|scope| {
        for half in &mut halves {
            scope.spawn(|_| *half = upbeat::current_num_workers());
        }
    });
    assert!(halves[0] > 0 && halves[0] == halves[1]);
}

/// Fault 10.
#[test]
fn one_panic_among_many_arrives_after_all_others_ran() {
    const TASKS: usize = 100_000;
    for workers in [1, 2, 8] {
        let (ran, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let payload = panic_of(|| {
            runtime(workers).scope(|scope| {
                for i in 0..TASKS {
                    let (ran, counted) = (&ran, Counted(&dropped));
                    scope.spawn(move |_| {
                        let _counted = counted;
                        assert!(i != TASKS / 2, "task {i}");
                        ran.fetch_add(1, Ordering::Relaxed);
                    });
                }
            })
        });
        assert_eq!(message(payload), format!("task {}", TASKS / 2));
        assert_eq!((ran.into_inner(), dropped.into_inner()), (TASKS - 1, TASKS));
    }
}

#[test]
fn a_panic_of_the_closure_wins_over_those_of_tasks() {
    for workers in [1, 2] {
        let ran = AtomicUsize::new(0);
        let payload = panic_of(|| {
            runtime(workers).scope(|scope| {
                for _ in 0..100 {
                    scope.spawn(|_| {
                        ran.fetch_add(1, Ordering::Relaxed);
                        panic!("a task");
                    });
                }
                panic!("the closure");
            })
        });
        assert_eq!((message(payload).as_str(), ran.into_inner()), ("the closure", 100));
    }
}

/// Faults 4 and 5: payloads that are not passed on, and a result that nobody gets, panic when dropped.
#[test]
fn destructors_that_panic_are_contained() {
    let runtime = runtime(2);
    for _ in 0..100 {
        let payload = panic_of(|| {
            runtime.scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(|_| std::panic::panic_any(Grenade));
                }
                Grenade
            })
        });
        assert!(payload.is::<Grenade>());
        std::mem::forget(payload);
        let payload = panic_of(|| runtime.scope(|scope| scope.spawn(|_| drop(Grenade))));
        assert_eq!(message(payload), "a destructor");
    }
}
