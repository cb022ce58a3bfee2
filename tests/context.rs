//! What closures learn of where they run: `join_context`, `run_on_worker`, `yield_now`.

use std::sync::mpsc;
use std::sync::Barrier;

use upbeat::{Runtime, Yield};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).thread_name(|i| format!("context-{i}")).build().unwrap()
}

#[test]
fn nothing_migrates_with_one_worker() {
    let (a, b) = runtime(1).run_on_worker(|w| w.join_context(|_, a| a.migrated(), |_, b| b.migrated()));
    assert_eq!((a, b), (false, false));
}

#[test]
fn a_right_closure_that_another_worker_runs_has_migrated() {
    let meet = &Barrier::new(2);
    let (a, b) = runtime(2).run_on_worker(|w| {
        w.join_context(
            |_, a| {
                meet.wait();
                a.migrated()
            },
            |_, b| {
                meet.wait();
                b.migrated()
            },
        )
    });
    assert_eq!((a, b), (false, true));
}

#[test]
fn a_joins_own_worker_runs_the_right_closure_unmigrated_at_any_depth() {
    fn descend(worker: &upbeat::Worker, depth: u32) -> u32 {
        if depth == 0 {
            return 0;
        }
        let index = worker.index();
        let (a, b) = worker.join_context(
            |w, _| descend(w, depth - 1),
            move |w, b| {
                assert_eq!(b.migrated(), w.index() != index);
                descend(w, depth - 1) + u32::from(b.migrated())
            },
        );
        a + b
    }
    runtime(3).run_on_worker(|worker| descend(worker, 14));
}

#[test]
fn run_on_worker_never_uses_the_callers_thread() {
    let runtime = runtime(1);
    for _ in 0..100 {
        let name = runtime.run_on_worker(|_| std::thread::current().name().map(str::to_owned));
        assert_eq!(name.as_deref(), Some("context-0"));
    }
}

#[test]
fn run_on_worker_stays_on_a_worker_of_the_same_runtime() {
    let runtime = runtime(1);
    assert!(runtime.run_on_worker(|_| runtime.run_on_worker(|_| true)));
}

#[test]
fn run_on_worker_passes_a_panic_on() {
    let runtime = runtime(2);
    let result =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.run_on_worker(|_| panic!("seven"))));
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&"seven"));
}

#[test]
fn two_runtimes_of_one_worker_run_on_each_other() {
    let (one, two) = (runtime(1), runtime(1));
    assert!(one.run_on_worker(|_| two.run_on_worker(|_| one.run_on_worker(|_| true))));
}

#[test]
fn yielding_runs_one_task_at_a_time() {
    let runtime = runtime(1);
    let (sender, receiver) = mpsc::channel();
    runtime.run_on_worker(move |_| {
        for i in 0..2 {
            let sender = sender.clone();
            drop(upbeat::spawn(move || sender.send(i).unwrap()));
        }
        for i in 0..2 {
            assert_eq!(upbeat::yield_now(), Some(Yield::Ran));
            assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [i]);
        }
        assert_eq!(upbeat::yield_now(), Some(Yield::Idle));
    });
}

#[test]
fn only_workers_yield() {
    assert_eq!(upbeat::yield_now(), None);
}
