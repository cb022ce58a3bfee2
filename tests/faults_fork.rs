//! What a child of `fork` may expect: the free functions work, a runtime of the parent is refused with a message, and nothing
//! hangs, whatever the parent's threads were doing.
#![cfg(target_os = "linux")]
// Processes are the operating system's to fork and to wait for.
#![allow(unsafe_code)]

mod support;

use std::io::Write;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{message, panic_of, Meeting};
use upbeat::batch::{BatchOptions, Batcher};
use upbeat::{Mode, Runtime};

const REFUSED: &str = "workers are in the process that called fork()";

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Forks; the child runs `f` and ends. Returns how it ended. A child that hangs is killed after a while.
fn in_child(f: impl FnOnce()) -> libc::c_int {
    // SAFETY: the child runs `f` and leaves; the C library makes its allocator usable there.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        let failed = catch_unwind(AssertUnwindSafe(f)).is_err();
        // SAFETY: ends the process at once; destructors and buffers are the parent's.
        unsafe { libc::_exit(failed.into()) }
    }
    let mut status = 0;
    let end = Instant::now() + Duration::from_secs(120);
    // SAFETY: `status` is an integer to write to.
    while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > end {
            // SAFETY: it is our own child, not yet waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    status
}

/// Runs the test `name` in a process of its own, for only the forking thread survives in a child.
fn alone(name: &str, test: impl FnOnce()) {
    if support::role().is_none() {
        return support::assert_passed(&support::rerun(name, "fork").output().unwrap());
    }
    // Without backtraces, which take a second in each child.
    std::panic::set_hook(Box::new(|panic| drop(writeln!(std::io::stderr(), "{panic}"))));
    test();
}

fn assert_refused<R>(what: &str, f: impl FnOnce() -> R) {
    let message = message(panic_of(f));
    assert!(message.contains(REFUSED), "{what}: {message}");
}

fn assert_free_functions_work() {
    assert_eq!(upbeat::join(|| 1, || 2), (1, 2));
    assert_eq!(upbeat::spawn(|| 3).join().unwrap(), 3);
    let mut parts = [0; 50];
    upbeat::scope(|scope| parts.iter_mut().for_each(|part| scope.spawn(|_| *part = 4)));
    assert_eq!(parts, [4; 50]);
    assert_eq!(upbeat::par::map_reduce(0..10_000, |i| i, |a, b| a + b, || 0), 49_995_000);
}

/// Fault 39: the global runtime.
#[test]
fn a_child_has_a_global_runtime_of_its_own() {
    alone("a_child_has_a_global_runtime_of_its_own", || {
        let meet = || {
            if upbeat::current_num_workers() > 1 {
                // Both sides run at once, so there are workers.
                let meeting = Meeting::of(2);
                upbeat::join(|| meeting.arrive(0), || meeting.arrive(1));
            }
        };
        let child = |depth| {
            fn nested(depth: u32, test: &dyn Fn()) {
                test();
                if depth > 0 {
                    assert_eq!(in_child(|| nested(depth - 1, test)), 0);
                    test();
                }
            }
            nested(depth, &|| {
                assert_free_functions_work();
                meet();
            });
        };
        // Before there is one, and after.
        assert_eq!(in_child(|| child(2)), 0);
        assert_free_functions_work();
        assert_eq!(in_child(|| child(2)), 0);
        assert_free_functions_work();
    });
}

/// Fault 40: a child that has its parent's batcher. Its waits say what is wrong, and it may drop what it has.
#[test]
fn a_child_is_refused_its_parents_batches() {
    alone("a_child_is_refused_its_parents_batches", || {
        let parents = runtime(2);
        let executor = |items: &mut Vec<u64>, results: &mut Vec<u64>| results.append(items);
        let batcher = Batcher::on(&parents, &BatchOptions::new(8), executor).unwrap();
        let reply = batcher.submit(1).unwrap();
        let mut producer = batcher.producer();
        producer.push(2).unwrap();
        let status = in_child(|| {
            assert!(catch_unwind(AssertUnwindSafe(|| reply.wait())).is_err());
            assert!(catch_unwind(AssertUnwindSafe(|| batcher.submit(3))).is_err());
            batcher.flush();
            drop(producer);
            drop(batcher);
        });
        assert_eq!(status, 0);
    });
}

/// Fault 39: a runtime that the parent built.
#[test]
fn a_child_is_refused_its_parents_runtime() {
    alone("a_child_is_refused_its_parents_runtime", || {
        let parents = runtime(2);
        let waited_for = parents.spawn(|| 7);
        let status = in_child(|| {
            assert_refused("install", || parents.install(|_| ()));
            assert_refused("join", || parents.join(|| (), || ()));
            assert_refused("scope", || parents.scope(|_| ()));
            assert_refused("spawn", || parents.spawn(|| ()));
            assert_refused("start_trace", || parents.start_trace());
            assert_refused("stop_trace", || parents.stop_trace());
            assert!(!waited_for.is_finished());
            assert_refused("JoinHandle::join", || waited_for.join());
            assert_eq!(parents.metrics().workers.len(), 2);
            drop(parents);
            let own = runtime(2);
            assert_eq!(own.join(|| 1, || 2), (1, 2));
            assert_eq!(own.spawn(|| 3).join().unwrap(), 3);
            own.shutdown();
        });
        assert_eq!(status, 0);
    });
}

/// Fault 39: a worker that forks. Its child is no worker; coming back into the parent's runtime is refused.
#[test]
fn a_worker_may_fork() {
    alone("a_worker_may_fork", || {
        for mode in [Mode::OnRequest, Mode::NeverPromote, Mode::AlwaysPromote] {
            let parents = Runtime::builder().workers(3).mode(mode).build().unwrap();
            let fork = || in_child(assert_free_functions_work);
            assert_eq!(parents.install(|_| fork()), 0);
            assert_eq!(parents.join(fork, fork), (0, 0));
            assert_eq!(parents.spawn(fork).join().unwrap(), 0);
            // Around the fork are joins with private and public sides: they are the parent's to run.
            let nested = parents.install(|worker| {
                worker.join(|w| w.join(|w| w.join(|_| fork(), |_| 1), |_| fork()), |_| fork())
            });
            assert_eq!(nested, (((0, 1), 0), 0));
            // The child runs its copies of the joins' right sides itself as long as no thief had them.
            let returned = parents.install(|worker| {
                // SAFETY: the child only joins and leaves.
                worker.join(|w| w.join(|_| unsafe { libc::fork() }, |_| 1), |_| 2)
            });
            let ((child, one), two) = returned;
            assert_eq!((one, two), (1, 2));
            assert_ne!(child, 0, "only the parent comes back to the caller");
            let mut status = 0;
            // SAFETY: `status` is an integer to write to.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert!(libc::WIFSIGNALED(status), "{status:#x}");
            assert_eq!(libc::WTERMSIG(status), libc::SIGABRT, "the child's worker is stopped");
        }
    });
}

/// Fault 40: whoever holds a lock at the fork will never release it in the child.
#[test]
fn a_fork_at_any_moment_leaves_a_child_that_works() {
    alone("a_fork_at_any_moment_leaves_a_child_that_works", || {
        // Many threads that sleep, wake and finish tasks all the time, so that some lock is held at most forks.
        let busy = runtime(6);
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        busy.scope(|scope| (0..10).for_each(|_| scope.spawn(|_| ())));
                        let handles: Vec<_> = (0..10).map(|i| busy.spawn(move || i)).collect();
                        assert!(handles.into_iter().map(|handle| handle.join().unwrap()).eq(0..10));
                        assert_free_functions_work();
                    }
                });
            }
            for round in 0..40 {
                let handle = busy.spawn(move || round);
                let status = in_child(|| {
                    assert_refused("install", || busy.install(|_| ()));
                    assert_eq!(handle.is_finished(), handle.is_finished());
                    drop(handle);
                    assert_free_functions_work();
                });
                assert_eq!(status, 0, "fork {round}");
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}
