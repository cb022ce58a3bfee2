//! Models as a user writes them: the public functions inside `upbeat::loom::model`. Each comes twice, with a bug that the model
//! must find and without it. Then: what such a model promises.
#![cfg(upbeat_loom)]

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::Mutex;
use loom::thread;
use upbeat::loom::{model, Builder};
use upbeat_loom_tests::{CountedDrop, Datum, Tally};

/// The message of the panic that ends the model; checks that one does.
fn failure(model: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(model)).expect_err("the model must find the bug");
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).expect("a panic with a message")
}

/// A hand-made cell that is written once, and read by whoever finds it written.
struct OnceCell {
    written: AtomicBool,
    value: Datum,
    publish: Ordering,
    observe: Ordering,
}

impl OnceCell {
    fn new(publish: Ordering, observe: Ordering) -> Self {
        Self { written: AtomicBool::new(false), value: Datum::new(0), publish, observe }
    }

    fn set(&self, value: usize) {
        self.value.write(value);
        self.written.store(true, self.publish);
    }

    fn get(&self) -> Option<usize> {
        self.written.load(self.observe).then(|| self.value.read())
    }
}

/// One side of a join fills the cell, the other one looks.
fn fill_and_look(publish: Ordering, observe: Ordering) {
    model(move || {
        let cell = OnceCell::new(publish, observe);
        let ((), seen) = upbeat::join(|| cell.set(42), || cell.get());
        assert!(matches!(seen, None | Some(42)));
        assert_eq!(cell.get(), Some(42));
    });
}

#[test]
fn a_flag_that_publishes_nothing_is_found() {
    let message = failure(|| fill_and_look(Ordering::Relaxed, Ordering::Relaxed));
    assert!(message.contains("Causality violation"), "{message}");
}

#[test]
fn a_flag_that_publishes_is_right() {
    fill_and_look(Ordering::Release, Ordering::Acquire);
}

/// Two tasks of a scope count; the sum is what the scope's owner sees.
fn count_in_a_scope(add: impl Fn(&AtomicUsize) + Copy + Send + Sync + 'static) {
    model(move || {
        let count = AtomicUsize::new(0);
        upbeat::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|_| add(&count));
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 2, "an addition is lost");
    });
}

#[test]
fn a_lost_update_is_found() {
    let message = failure(|| {
        count_in_a_scope(|count| {
            let before = count.load(Ordering::Relaxed);
            count.store(before + 1, Ordering::Relaxed);
        });
    });
    assert!(message.contains("an addition is lost"), "{message}");
}

#[test]
fn an_atomic_addition_is_not_lost() {
    count_in_a_scope(|count| {
        count.fetch_add(1, Ordering::Relaxed);
    });
}

/// Two spawned tasks move something from one account to the other.
fn transfer(locks: impl Fn([&Mutex<u32>; 2], usize) -> [&Mutex<u32>; 2] + Copy + Send + Sync + 'static) {
    model(move || {
        let accounts = Arc::new([Mutex::new(5), Mutex::new(5)]);
        let tasks: [_; 2] = std::array::from_fn(|from| {
            let accounts = accounts.clone();
            upbeat::spawn(move || {
                let [first, second] = locks([&accounts[0], &accounts[1]], from);
                let (_first, _second) = (first.lock().unwrap(), second.lock().unwrap());
            })
        });
        for task in tasks {
            task.join().unwrap();
        }
    });
}

#[test]
fn locks_taken_in_two_orders_are_found() {
    let message = failure(|| transfer(|[a, b], from| if from == 0 { [a, b] } else { [b, a] }));
    assert!(message.contains("deadlock"), "{message}");
}

#[test]
fn locks_taken_in_one_order_are_right() {
    transfer(|both, _| both);
}

/// Counts the runs in which something happened.
#[derive(Default)]
struct Runs {
    all: Tally,
    some: Tally,
}

impl Runs {
    fn note(&self, happened: bool) {
        self.all.hit();
        if happened {
            self.some.hit();
        }
    }

    fn assert_some_but_not_all(&self) {
        assert!((1..self.all.get()).contains(&self.some.get()), "{} of {}", self.some.get(), self.all.get());
    }
}

/// Checks that both calls of `access` in `model` are on one worker in some runs and on two in others.
fn is_shared_in_some_runs(model: impl Fn(&(dyn Fn() + Sync)) + Send + Sync + 'static) {
    let runs = Arc::new(Runs::default());
    let inner = runs.clone();
    Builder::new().preemption_bound(1).check(move || {
        let workers = std::sync::Mutex::new(Vec::new());
        model(&|| workers.lock().unwrap().push(upbeat::current_worker_index().expect("a worker")));
        let workers = workers.into_inner().unwrap();
        assert_eq!(workers.len(), 2, "each runs once");
        inner.note(workers[0] != workers[1]);
    });
    runs.assert_some_but_not_all();
}

#[test]
fn the_sides_of_a_join_are_shared_in_some_runs() {
    is_shared_in_some_runs(|access| {
        upbeat::join(access, access);
    });
}

#[test]
fn the_tasks_of_a_scope_are_shared_in_some_runs() {
    is_shared_in_some_runs(|access| {
        upbeat::scope(|scope| {
            scope.spawn(|_| access());
            scope.spawn(|_| access());
        });
    });
}

#[test]
fn the_indices_of_a_loop_are_shared_in_some_runs() {
    is_shared_in_some_runs(|access| upbeat::par::for_each(0..2, |_| access()));
}

#[test]
fn a_future_awaits_a_task_and_is_awaited_itself() {
    Builder::new().preemption_bound(1).check(|| {
        let future = upbeat::spawn_future(async { upbeat::spawn(|| 20).await.unwrap() + 1 });
        assert_eq!(upbeat::block_on(future).unwrap(), 21);
    });
}

#[test]
fn a_cancelled_task_runs_in_some_runs_and_is_dropped_in_others() {
    let runs = Arc::new(Runs::default());
    let inner = runs.clone();
    Builder::new().preemption_bound(1).check(move || {
        let (token, ran) = (upbeat::CancelToken::new(), Arc::new(Tally::new()));
        let in_task = ran.clone();
        let handle = upbeat::spawn_with(upbeat::Spawn::new().cancel(&token), move || in_task.hit());
        token.cancel();
        assert_eq!(handle.join().is_ok(), ran.get() == 1);
        inner.note(ran.get() == 1);
    });
    runs.assert_some_but_not_all();
}

#[test]
fn a_thread_that_is_no_worker_uses_the_model_s_runtime() {
    Builder::new().preemption_bound(1).check(|| {
        let other =
            thread::spawn(|| upbeat::join(upbeat::current_worker_index, upbeat::current_worker_index));
        assert_eq!(upbeat::current_worker_index(), Some(0));
        let (a, b) = other.join().unwrap();
        assert!(a.is_some() && b.is_some());
    });
}

#[test]
fn a_model_may_build_a_runtime_of_its_own() {
    Builder::new().workers(1).preemption_bound(1).check(|| {
        let runtime = upbeat::Runtime::builder().workers(1).build().unwrap();
        let spawned = runtime.spawn(|| 3);
        assert_eq!(runtime.join(|| 1, || 2), (1, 2));
        assert_eq!(spawned.join().unwrap(), 3);
        runtime.shutdown();
    });
}

#[test]
fn a_runtime_in_a_model_has_two_workers_unless_told_otherwise() {
    Builder::new().workers(1).preemption_bound(0).check(|| {
        assert_eq!(upbeat::current_num_workers(), 1);
        assert_eq!(upbeat::Runtime::new().unwrap().num_workers(), 2);
    });
}

#[test]
fn what_was_spawned_has_run_when_a_run_ends() {
    for workers in [1, 2] {
        let (runs, ran) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        let (all_runs, all_ran) = (runs.clone(), ran.clone());
        Builder::new().workers(workers).check(move || {
            runs.hit();
            let dropped = CountedDrop(ran.clone());
            drop(upbeat::spawn(move || drop(dropped)));
        });
        assert_eq!(all_ran.get(), all_runs.get());
    }
}

#[test]
fn a_future_that_still_waits_is_dropped_when_a_run_ends() {
    for workers in [1, 2] {
        let (runs, dropped) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        let (all_runs, all_dropped) = (runs.clone(), dropped.clone());
        Builder::new().workers(workers).preemption_bound(1).check(move || {
            runs.hit();
            let held = CountedDrop(dropped.clone());
            drop(upbeat::spawn_future(async move {
                let _held = held;
                std::future::pending::<()>().await;
            }));
        });
        assert_eq!(all_dropped.get(), all_runs.get());
    }
}

#[test]
fn a_panic_that_nobody_waits_for_fails_the_model() {
    let message = failure(|| model(|| drop(upbeat::spawn(|| panic!("unheard")))));
    assert_eq!(message, "unheard");
}

#[test]
fn a_panic_of_the_model_comes_out_and_leaves_nothing_behind() {
    for side in 0..2 {
        let message = failure(move || {
            model(move || {
                upbeat::join(|| assert_ne!(side, 0, "side 0"), || assert_ne!(side, 1, "side 1"));
            });
        });
        assert!(message.contains(&format!("side {side}")), "{message}");
        model(|| assert_eq!(upbeat::join(|| 1, || 2), (1, 2)));
    }
}
