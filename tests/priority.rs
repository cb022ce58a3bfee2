//! What priorities promise: of the tasks that wait, those of high priority begin first, in turn.

mod support;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use support::watched;
use upbeat::{Priority, Runtime, Spawn};

#[test]
fn high_goes_before_normal_and_each_in_turn() {
    watched("priorities", || {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        for from_inside in [false, true] {
            let (release, gate) = channel::<()>();
            let (entered, occupied) = channel();
            // The only worker is busy until all are spawned.
            let occupant = runtime.spawn(move || {
                entered.send(()).unwrap();
                assert!(gate.recv().is_err());
            });
            occupied.recv().unwrap();
            let spawn_all = {
                let order = order.clone();
                move |spawn: &dyn Fn(Priority, Box<dyn FnOnce() + Send>)| {
                    for i in 0..50 {
                        let priority = if i % 2 == 0 { Priority::Normal } else { Priority::High };
                        let order = order.clone();
                        spawn(priority, Box::new(move || order.lock().unwrap().push((priority, i))));
                    }
                }
            };
            if from_inside {
                let spawner = runtime.spawn(move || {
                    spawn_all(&|priority, f| drop(upbeat::spawn_with(Spawn::new().priority(priority), f)))
                });
                drop(release);
                spawner.join().unwrap();
            } else {
                spawn_all(&|priority, f| drop(runtime.spawn_with(Spawn::new().priority(priority), f)));
                drop(release);
            }
            occupant.join().unwrap();
            // The last of the normal ones.
            while order.lock().unwrap().len() < 50 {
                std::thread::yield_now();
            }
            let expected: Vec<_> = (1..50)
                .step_by(2)
                .map(|i| (Priority::High, i))
                .chain((0..50).step_by(2).map(|i| (Priority::Normal, i)))
                .collect();
            assert_eq!(std::mem::take(&mut *order.lock().unwrap()), expected, "{from_inside}");
        }
    });
}

/// A worker that waits for a handle looks for urgent tasks first, too.
#[test]
fn a_waiting_worker_takes_the_urgent_first() {
    watched("priorities while waiting", || {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let other = Runtime::builder().workers(1).build().unwrap();
        let first = runtime.install(|_| {
            let (sender, receiver) = channel();
            for (name, priority) in [("normal", Priority::Normal), ("high", Priority::High)] {
                let sender = sender.clone();
                // The receiver may be gone by the time that the second one runs.
                drop(upbeat::spawn_with(Spawn::new().priority(priority), move || sender.send(name).is_ok()));
            }
            // The other runtime blocks until one of the two has run, on the waiting worker.
            other.install(move |_| receiver.recv().unwrap())
        });
        assert_eq!(first, "high");
    });
}

#[test]
fn urgent_tasks_wake_sleepers_and_run_before_the_runtime_ends() {
    watched("urgent tasks", || {
        for workers in [1, 2, 8] {
            let runtime = Runtime::builder().workers(workers).build().unwrap();
            let (sender, receiver) = channel();
            let urgent = Spawn::new().priority(Priority::High);
            for i in 0..100 {
                let handle = runtime.spawn_with(urgent.clone(), move || i);
                assert_eq!(handle.join().unwrap(), i);
                let sender = sender.clone();
                drop(runtime.spawn_with(urgent.clone(), move || sender.send(i).unwrap()));
            }
            drop((runtime, sender));
            assert_eq!(receiver.iter().sum::<usize>(), 4950);
        }
    });
}
