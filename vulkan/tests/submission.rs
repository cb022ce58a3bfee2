//! Submitted work: barriers, futures, batches, many threads, and a device that is dropped while it works.

mod support;

use support::{device, numbers, open, options, told};
use upbeat_vulkan::{Batched, Device, VulkanError};

#[test]
fn barriers_come_only_where_one_needs_the_other() {
    let Some(device) = open(options().merge_steps(false)) else { return };
    let buffers: Vec<_> = (0..10).map(|_| device.upload(&numbers(1000, 1)).unwrap()).collect();
    let before = device.metrics().barriers;
    let mut commands = device.commands();
    for x in &buffers {
        commands.scale(x, 2.0, x).unwrap();
    }
    commands.submit().unwrap().wait().unwrap();
    assert_eq!(device.metrics().barriers - before, 0, "nothing depends on anything");
    let mut commands = device.commands();
    for pair in buffers.windows(2) {
        commands.add(&pair[0], &pair[1], &pair[1]).unwrap();
    }
    commands.submit().unwrap().wait().unwrap();
    assert_eq!(
        device.metrics().barriers - before,
        9,
        "each depends on the one before, the first on the last submission"
    );
}

#[test]
fn submissions_depend_on_each_other_like_the_work_in_them() {
    let Some(device) = device() else { return };
    let (x, one) = (device.buffer::<f32>(5000).unwrap(), device.upload(&[1.0_f32; 5000]).unwrap());
    for _ in 0..200 {
        let mut commands = device.commands();
        commands.add(&x, &one, &x).unwrap();
        drop(commands.submit().unwrap());
    }
    assert!(x.to_vec().unwrap().iter().all(|&x| x == 200.0));
}

#[test]
fn an_empty_list_is_done() {
    let Some(device) = device() else { return };
    device.commands().submit().unwrap().wait().unwrap();
}

#[test]
fn ends_are_futures_of_any_executor() {
    let Some(device) = device() else { return };
    let runtime = upbeat::Runtime::builder().workers(2).build().unwrap();
    let owned: Device = device.clone();
    let found = runtime.block_on(async move {
        let x = owned.upload(&[1.0_f32; 100]).unwrap();
        for _ in 0..10 {
            let mut commands = owned.commands();
            commands.scale(&x, 2.0, &x).unwrap();
            commands.submit().unwrap().await.unwrap();
        }
        x.to_vec_async().await.unwrap()
    });
    assert_eq!(found, [1024.0; 100]);
}

#[test]
fn many_tasks_share_submissions() {
    let Some(device) = device() else { return };
    let runtime = upbeat::Runtime::builder().workers(4).build().unwrap();
    let batched = Batched::on(&runtime, &device, 64).unwrap();
    let buffers: Vec<_> = (0..256).map(|i| device.upload(&[i as f32; 33]).unwrap()).collect();
    let before = device.metrics();
    let pending: Vec<_> = buffers
        .iter()
        .map(|x| {
            let mut commands = device.commands();
            commands.scale(x, 3.0, x).unwrap();
            batched.submit(commands).unwrap()
        })
        .collect();
    for pending in pending {
        pending.wait().unwrap();
    }
    for (i, x) in buffers.iter().enumerate() {
        assert_eq!(x.to_vec().unwrap(), [3.0 * i as f32; 33]);
    }
    let after = device.metrics();
    assert_eq!(after.dispatches - before.dispatches, 256);
    assert!(after.submissions - before.submissions <= 256);
}

#[test]
fn tasks_await_batched_work_without_a_worker_blocking() {
    let Some(device) = device() else { return };
    // One worker: were it to block on the device, nobody would submit for the others.
    let runtime = upbeat::Runtime::builder().workers(1).build().unwrap();
    let batched = Batched::on(&runtime, &device, 16).unwrap();
    let x: Vec<_> = (0..100).map(|i| device.upload(&[i as f32]).unwrap()).collect();
    let tasks: Vec<_> = x
        .iter()
        .map(|x| {
            let (batched, device, x) = (batched.clone(), device.clone(), x.clone());
            runtime.spawn_future(async move {
                for _ in 0..3 {
                    let mut commands = device.commands();
                    commands.scale(&x, 2.0, &x)?;
                    batched.submit(commands)?.await?;
                }
                Ok::<_, VulkanError>(())
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap().unwrap();
    }
    for (i, x) in x.iter().enumerate() {
        assert_eq!(x.to_vec().unwrap(), [8.0 * i as f32]);
    }
}

#[test]
fn an_ended_runtime_refuses_batches() {
    let Some(device) = device() else { return };
    let runtime = upbeat::Runtime::builder().workers(1).build().unwrap();
    let batched = Batched::on(&runtime, &device, 16).unwrap();
    runtime.shutdown();
    let refused = batched.submit(device.commands()).expect_err("it is refused");
    assert_eq!(refused, VulkanError::Refused(upbeat::batch::Refusal::ShutDown));
}

#[test]
fn threads_submit_at_once() {
    for stage in [false, true] {
        let Some(device) = open(options().always_stage(stage).staging(64 << 10)) else { return };
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let device: &Device = &device;
                scope.spawn(move || {
                    for round in 0..30 {
                        let a = numbers(10_000 + round, thread);
                        let x = device.upload(&a).unwrap();
                        let mut commands = device.commands();
                        commands.mul(&x, &x, &x).unwrap();
                        drop(commands.submit().unwrap());
                        let squares: Vec<f32> = a.iter().map(|a| a * a).collect();
                        assert_eq!(x.to_vec().unwrap(), squares, "thread {thread}, round {round}");
                    }
                });
            }
        });
        assert_eq!(device.memory().buffers, if stage { device.memory().buffers.min(8) } else { 0 });
    }
}

#[test]
fn a_device_dropped_while_it_works_ends_in_order() {
    for _ in 0..5 {
        let Some(device) = device() else { return };
        let x = device.upload(&numbers(1 << 20, 1)).unwrap();
        let mut commands = device.commands();
        for _ in 0..10 {
            commands.scale(&x, 1.5, &x).unwrap();
        }
        let done = commands.submit().unwrap();
        drop((x, device));
        done.wait().unwrap();
    }
}

/// A task that holds a buffer until it is woken, and the word that it is gone.
struct Holds(std::sync::Mutex<Option<upbeat_vulkan::Buffer<f32>>>, std::sync::mpsc::Sender<()>);

impl std::task::Wake for Holds {
    fn wake(self: std::sync::Arc<Self>) {
        let held = self.0.lock().unwrap().take();
        drop(held);
        self.1.send(()).unwrap();
    }
}

#[test]
fn the_last_buffer_may_go_where_a_task_is_woken() {
    use std::future::Future;
    for _ in 0..5 {
        let _turn = support::turn();
        let Some(gpu) = device() else { return };
        // Its messages are taken now: the device ends on the waiter's thread.
        let owned: Device = gpu.clone();
        drop(gpu);
        let x = owned.upload(&numbers(1 << 20, 1)).unwrap();
        let mut commands = owned.commands();
        for _ in 0..10 {
            commands.scale(&x, 1.5, &x).unwrap();
        }
        let mut done = Box::pin(commands.submit().unwrap());
        drop(owned);
        let (gone, told) = std::sync::mpsc::channel();
        let waker = std::sync::Arc::new(Holds(std::sync::Mutex::new(Some(x)), gone)).into();
        assert!(done.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        told.recv().unwrap();
        assert!(done.is_finished(), "the device has ended with all its work done");
        (*std::pin::Pin::into_inner(done)).wait().unwrap();
    }
}

#[test]
fn fifty_devices_in_turn_leave_nothing_behind() {
    let _turn = support::turn();
    let open = || {
        let Ok(device) = Device::open(&options()) else { return false };
        let x = device.upload(&numbers(1000, 1)).unwrap();
        let mut commands = device.commands();
        commands.scale(&x, 2.0, &x).unwrap();
        commands.submit().unwrap().wait().unwrap();
        true
    };
    // Drivers keep some things for good when they are first used.
    if !(0..3).all(|_| open()) || !cfg!(target_os = "linux") {
        return;
    }
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let before = (count("/proc/self/fd"), count("/proc/self/task"));
    assert!((0..50).all(|_| open()));
    let after = (count("/proc/self/fd"), count("/proc/self/task"));
    // Other tests of this process may have begun or ended meanwhile.
    assert!(
        after.0 <= before.0 + 8 && after.1 <= before.1 + 12,
        "files and threads: {before:?}, then {after:?}"
    );
}

#[test]
fn dispatches_are_measured_where_asked_for() {
    let Some(device) = open(options().timestamps(true)) else { return };
    if device.limits().tick_ns == 0.0 {
        return;
    }
    let x = device.upload(&numbers(1 << 20, 1)).unwrap();
    for _ in 0..3 {
        let mut commands = device.commands();
        for _ in 0..100 {
            commands.scale(&x, 1.0, &x).unwrap();
        }
        commands.submit().unwrap().wait().unwrap();
    }
    let metrics = device.metrics();
    let [map] = &metrics.kernels[..] else { panic!("{metrics:?}") };
    assert_eq!((map.name, map.dispatches), ("map", 300));
    assert!(map.time.as_nanos() > 0);
}

#[test]
fn runs_of_kernels_are_traced_on_the_clock_of_the_runtime() {
    let Some(device) = open(options().timestamps(true)) else { return };
    if device.limits().tick_ns == 0.0 {
        return;
    }
    let x = device.upload(&[1.0_f32; 1000]).unwrap();
    let run = || {
        let mut commands = device.commands();
        commands.add(&x, &x, &x).unwrap();
        commands.softmax(&x, 100, &x).unwrap();
        commands.submit().unwrap().wait().unwrap();
    };
    run();
    device.start_trace().unwrap();
    let before = upbeat::trace_clock();
    run();
    run();
    let after = upbeat::trace_clock();
    let spans = device.stop_trace(7).unwrap();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["map", "softmax", "map", "softmax"]);
    for span in &spans {
        assert_eq!(span.row, 7);
        // The clocks are set by each other: as near as handing over takes at least.
        assert!(span.start >= before && span.start <= after, "{span:?} in {before:?}..{after:?}");
    }
    for pair in spans.windows(2) {
        assert!(pair[1].start >= pair[0].start + pair[0].length, "one after the other: {pair:?}");
    }
    run();
    assert!(device.stop_trace(7).unwrap().is_empty(), "it was stopped");
    let metrics = device.metrics();
    let runs = |name| metrics.kernels.iter().find(|kernel| kernel.name == name).unwrap().dispatches;
    assert_eq!((runs("map"), runs("softmax")), (4, 4));
    let Some(device) = open(options()) else { return };
    assert!(told(device.start_trace()).contains("timestamps"));
}
