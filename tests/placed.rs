//! What the runtime promises of loops and scopes whose data lie on several memory nodes, on machines that are described: each part runs where its
//! data are while work is balanced, and everything is run once wherever they are.
//!
//! Nothing here depends on who is faster: items wait for each other, so which worker can take which is given.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use support::{message, panic_of, until, watched};
use upbeat::topology::Machine;
use upbeat::{par, CancelToken, Cancelled, Mode, Priority, Runtime, Spawn};

fn runtime(description: &str) -> Runtime {
    Runtime::builder().topology(Machine::synthetic(description).unwrap()).build().unwrap()
}

fn current_node(runtime: &Runtime) -> usize {
    runtime.topology().cpu(upbeat::current_worker_index().expect("a worker")).node
}

/// Bytes that are spread over all nodes in equal parts, in the order of the nodes.
fn spread(runtime: &Runtime, nodes: usize) -> Vec<u8> {
    let data = vec![0_u8; nodes << 22];
    for (node, part) in data.chunks(1 << 22).enumerate() {
        runtime.memory().bind(part, node).unwrap();
    }
    data
}

/// Runs `f` on worker 0 while all others are held up until `is_begun`.
fn with_others_held(runtime: &Runtime, is_begun: impl Fn() -> bool + Sync, f: impl Fn() + Sync) {
    let all = Barrier::new(runtime.num_workers());
    runtime.broadcast(|worker| {
        all.wait();
        if worker.index() == 0 {
            f();
        } else {
            until(&is_begun);
        }
    });
}

/// What a loop does with an index.
type Item<'a> = &'a (dyn Fn(usize) + Sync);
/// A loop over all bytes, whichever.
type AnyLoop = dyn Fn(&mut [u8], Item<'_>) + Sync;

/// A worker on each of four nodes, and rounds in which all four run an item before the next one is begun: each of the nodes is as fast as the
/// others, so all items are run where their data are.
#[test]
fn a_loop_runs_where_its_data_are_while_work_is_balanced() {
    watched("a balanced loop", || {
        const NODES: usize = 4;
        const EACH: usize = 32;
        let loops: [&AnyLoop; 3] = [
            &|data, f| par::for_each_near(0..NODES * EACH, &*data, f),
            &|data, f| par::chunks_mut(data, (1 << 22) / EACH, |i, _| f(i)),
            &|data, f| par::chunks(data, (1 << 22) / EACH, |i, _| f(i)),
        ];
        for run in loops {
            let runtime = runtime("node:4 core:1");
            let data = Mutex::new(spread(&runtime, NODES));
            let (begun, right) = (AtomicUsize::new(0), AtomicUsize::new(0));
            with_others_held(
                &runtime,
                || begun.load(Ordering::Acquire) > 0,
                || {
                    run(&mut data.lock().unwrap(), &|i| {
                        let round = begun.fetch_add(1, Ordering::AcqRel) / NODES;
                        until(|| begun.load(Ordering::Acquire) >= (round + 1) * NODES);
                        right.fetch_add(usize::from(current_node(&runtime) == i / EACH), Ordering::Relaxed);
                    });
                },
            );
            let (all, right) = (NODES * EACH, right.into_inner());
            assert_eq!(begun.into_inner(), all);
            assert!(right * 100 >= all * 95, "{right} of {all}");
            let total = runtime.metrics().total();
            assert_eq!(
                total.on_node + total.off_node,
                NODES as u64 - 1,
                "worker 0 has its own part from the scope"
            );
        }
    });
}

/// The same of a scope's tasks.
#[test]
fn a_scope_s_tasks_run_near_their_data_while_work_is_balanced() {
    watched("a balanced scope", || {
        const NODES: usize = 4;
        const EACH: usize = 32;
        let runtime = runtime("node:4 core:1");
        let data = spread(&runtime, NODES);
        let (begun, right) = (AtomicUsize::new(0), AtomicUsize::new(0));
        with_others_held(
            &runtime,
            || begun.load(Ordering::Acquire) > 0,
            || {
                upbeat::scope(|scope| {
                    for task in 0..NODES * EACH {
                        let (begun, right, runtime) = (&begun, &right, &runtime);
                        let node = task % NODES;
                        let near = Spawn::new().near(&data[(node << 22) + task * 4096..][..4096]);
                        scope.spawn_with(near, move |_| {
                            let round = begun.fetch_add(1, Ordering::AcqRel) / NODES;
                            until(|| begun.load(Ordering::Acquire) >= (round + 1) * NODES);
                            right.fetch_add(usize::from(current_node(runtime) == node), Ordering::Relaxed);
                        });
                    }
                });
            },
        );
        let (all, right) = (NODES * EACH, right.into_inner());
        assert_eq!(begun.into_inner(), all);
        assert!(right * 100 >= all * 95, "{right} of {all}");
    });
}

/// All data are on node 1, whose worker waits for a task that another one must run.
#[test]
fn no_worker_idles_for_where_data_are() {
    watched("all on one node", || {
        let runtime = runtime("node:3 core:1");
        let data = vec![0_u8; 3 << 22];
        runtime.memory().bind(&data[..], 1).unwrap();
        let running = AtomicUsize::new(0);
        runtime.install(|_| {
            upbeat::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn_with(Spawn::new().near(&data[..]), |_| {
                        running.fetch_add(1, Ordering::AcqRel);
                        until(|| running.load(Ordering::Acquire) == 3);
                    });
                }
            });
        });
        assert_eq!(running.into_inner(), 3);
    });
}

/// Numbers that look random, the same in each run.
fn numbers() -> impl FnMut(usize) -> usize {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

#[test]
fn wherever_data_are_each_index_is_run_once() {
    watched("data anywhere", || {
        let mut random = numbers();
        for description in ["node:4 core:2", "node:7", "package:2 node:2 core:1", "core:3"] {
            let runtime = runtime(description);
            let nodes = runtime.topology().nodes().len();
            for _ in 0..30 {
                let mut data = vec![0_u8; (nodes << 20) + random(nodes << 22)];
                // Many pieces or few, some nowhere, some of them spread over all nodes.
                for _ in 0..random(12) {
                    let (a, b) = (random(data.len()), random(data.len()));
                    let part = &data[a.min(b)..a.max(b)];
                    let _small = match random(4) {
                        0 => runtime.memory().interleave(part),
                        _ => runtime.memory().bind(part, random(nodes)),
                    };
                }
                let most = [1 << 21, 5000][random(2)];
                let size = 1 + random(most);
                runtime.install(|_| par::chunks_mut(&mut data, size, |i, part| part.fill(i as u8 ^ 1)));
                assert!(data
                    .chunks(size)
                    .enumerate()
                    .all(|(i, part)| part.iter().all(|&x| x == i as u8 ^ 1)));
                let count = random(10_000);
                let visits: Vec<_> = (0..count).map(|_| AtomicU8::new(0)).collect();
                runtime.install(|_| {
                    par::for_each_near(0..count, &data[..], |i| {
                        visits[i].fetch_add(1, Ordering::Relaxed);
                    })
                });
                assert!(visits.iter().all(|visits| visits.load(Ordering::Relaxed) == 1));
            }
        }
    });
}

#[test]
fn panics_and_cancellation_arrive_from_every_node() {
    watched("panics and cancellation", || {
        let runtime = runtime("node:3 core:1");
        let data = spread(&runtime, 3);
        for bad in [0, 150, 299] {
            let payload = panic_of(|| {
                runtime.install(|_| par::for_each_near(0..300, &data[..], |i| assert!(i != bad, "item {i}")))
            });
            assert_eq!(message(payload), format!("item {bad}"));
        }
        let (token, ran) = (CancelToken::new(), AtomicUsize::new(0));
        let cancelled = runtime.install(|_| {
            token.run(|| {
                // Seconds of work, if nothing stops it.
                par::for_each_near(0..3_000_000, &data[..], |i| {
                    if ran.fetch_add(1, Ordering::Relaxed) == 500 {
                        token.cancel();
                    }
                    std::hint::black_box((0..i % 1000 + 1000).map(std::hint::black_box).sum::<usize>());
                });
            })
        });
        assert!(cancelled.is_err() && ran.into_inner() < 3_000_000);
        // A panic at one node stops the others, too.
        let ran = AtomicUsize::new(0);
        let payload = panic_of(|| {
            runtime.install(|_| {
                par::for_each_near(0..3_000_000, &data[..], |i| {
                    assert!(i != 100, "item 100");
                    ran.fetch_add(1, Ordering::Relaxed);
                    std::hint::black_box((0..i % 1000 + 1000).map(std::hint::black_box).sum::<usize>());
                })
            })
        });
        assert!(message(payload) == "item 100" && ran.into_inner() < 3_000_000);
        assert_eq!(runtime.install(|_| 7), 7);
    });
}

/// What a scope's options mean on one worker, where all is in order.
#[test]
fn a_scope_s_options_are_kept() {
    watched("options", || {
        let runtime = runtime("core:1");
        let (order, token) = (Mutex::new(Vec::new()), CancelToken::new());
        let dropped = Arc::new(AtomicBool::new(false));
        let seen = support::SharedCount(Arc::new(AtomicUsize::new(0)));
        let counts = seen.0.clone();
        runtime.scope(|scope| {
            let note = |name: &'static str| order.lock().unwrap().push(name);
            scope.spawn_with(Spawn::new(), move |_| note("usual"));
            scope.spawn_with(Spawn::new().on_node(0), move |_| note("one node is no wish"));
            scope.spawn_with(Spawn::new().priority(Priority::High), move |scope| {
                note("high");
                scope.spawn_with(Spawn::new().priority(Priority::High), move |_| note("high, nested"));
                scope.spawn(move |_| note("nested"));
            });
            let run = dropped.clone();
            scope.spawn_with(Spawn::new().cancel(&token), move |_| {
                let _seen = seen;
                run.store(true, Ordering::Relaxed);
            });
            token.cancel();
        });
        let order = order.into_inner().unwrap();
        assert_eq!(order, ["high", "high, nested", "usual", "one node is no wish", "nested"]);
        assert!(!dropped.load(Ordering::Relaxed), "a cancelled task does not run");
        assert_eq!(counts.load(Ordering::Relaxed), 1, "it is dropped");
        let payload = panic_of(|| {
            runtime.scope(|scope| {
                scope.spawn_with(Spawn::new().priority(Priority::High), |_| panic!("as planned"))
            })
        });
        assert_eq!(message(payload), "as planned");
        // That of another token is nobody's wish.
        let (own, other) = (CancelToken::new(), CancelToken::new());
        other.cancel();
        let payload = panic_of(|| {
            runtime.scope(|scope| {
                scope.spawn_with(Spawn::new().cancel(&own), |_| {
                    let refused = runtime.spawn_with(Spawn::new().cancel(&other), || 1).join();
                    refused.map(drop).unwrap_or_else(|payload| std::panic::resume_unwind(payload));
                });
            })
        });
        assert!(payload.is::<Cancelled>());
    });
}

/// The promise of the mode: one worker, in order.
#[test]
fn a_loop_that_is_never_promoted_is_not_placed() {
    let machine = Machine::synthetic("node:4 core:1").unwrap();
    let runtime = Runtime::builder().topology(machine).mode(Mode::NeverPromote).build().unwrap();
    let data = spread(&runtime, 4);
    let order = Mutex::new(Vec::new());
    runtime.install(|worker| {
        let caller = worker.index();
        par::for_each_near(0..1000, &data[..], |i| {
            order.lock().unwrap().push((upbeat::current_worker_index() == Some(caller), i));
        })
    });
    assert!(order.into_inner().unwrap().into_iter().eq((0..1000).map(|i| (true, i))));
}
