//! More work than a device gets done: who submits waits, bounded, and nobody waits for ever.

mod support;

use std::sync::mpsc::{channel, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use support::{numbers, open, options};
use upbeat_vulkan::{Batched, Buffer, Commands, Device, Done, VulkanError};

/// A list that adds `y` to `x`.
fn sum(x: &Buffer<f32>, y: &Buffer<f32>) -> Commands {
    let mut commands = x.device().commands();
    commands.add(x, y, x).unwrap();
    commands
}

/// Lists that take far longer than recording them does, submitted until no more fit.
fn fill_up(device: &Device, x: &Buffer<f32>) -> Done {
    let mut last = None;
    for _ in 0..10_000 {
        let mut commands = device.commands();
        for _ in 0..20 {
            commands.softmax(x, x.len(), x).unwrap();
        }
        match commands.try_submit().unwrap() {
            Some(done) => last = Some(done),
            None => {
                assert_eq!(commands.len(), 20, "a list that does not fit is as it was");
                return last.expect("the first one fits");
            }
        }
    }
    panic!("the device is never busy");
}

#[test]
fn ten_thousand_submissions_that_nobody_waits_for_keep_few_command_pools() {
    let Some(device) = open(options().in_flight(8)) else { return };
    let (x, one) = (device.upload(&[0.0_f32; 64]).unwrap(), device.upload(&[1.0_f32; 64]).unwrap());
    let mut most = 0;
    for round in 0..10_000 {
        drop(sum(&x, &one).submit().unwrap());
        if round % 100 == 0 {
            most = most.max(device.metrics().pools);
        }
    }
    assert_eq!(x.to_vec().unwrap(), [10_000.0; 64]);
    assert!(most <= 8, "{most} pools");
    // After a while of little work, those of the burst are gone.
    for _ in 0..3 {
        sum(&x, &one).submit().unwrap().wait().unwrap();
    }
    let metrics = device.metrics();
    assert!(metrics.pools <= 4, "{metrics:?}");
}

#[test]
fn who_may_not_wait_is_told_that_there_is_no_room() {
    let Some(device) = open(options().in_flight(3)) else { return };
    let x = device.upload(&numbers(1 << 16, 1)).unwrap();
    drop(fill_up(&device, &x));
    let waits = device.metrics().waits;
    let mut commands = device.commands();
    while commands.try_submit().unwrap().is_none() {
        device.room().wait().unwrap();
    }
    assert!(commands.is_empty(), "it was handed over");
    assert_eq!(device.metrics().waits, waits, "nobody waited without being asked");
    device.commands().submit().unwrap().wait().unwrap();
    assert!(device.room().is_finished());
}

#[test]
fn a_worker_that_waits_for_room_runs_other_tasks() {
    let Some(device) = open(options().in_flight(2)) else { return };
    // One worker: what it does while it waits has to wait for room, too.
    let runtime = upbeat::Runtime::builder().workers(1).build().unwrap();
    let one = device.upload(&[1.0_f32; 100]).unwrap();
    let sums: Vec<_> = (0..20).map(|_| device.buffer::<f32>(100).unwrap()).collect();
    let tasks: Vec<_> = sums
        .iter()
        .map(|x| {
            let (x, one) = (x.clone(), one.clone());
            runtime.spawn(move || (0..30).for_each(|_| drop(sum(&x, &one).submit().unwrap())))
        })
        .collect();
    let futures: Vec<_> = sums
        .iter()
        .map(|x| {
            let (x, one) = (x.clone(), one.clone());
            runtime.spawn_future(async move {
                for _ in 0..30 {
                    drop(sum(&x, &one).submit_async().await?);
                }
                Ok::<_, VulkanError>(())
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
    for future in futures {
        future.join().unwrap().unwrap();
    }
    for x in &sums {
        assert_eq!(x.to_vec().unwrap(), [60.0; 100]);
    }
    assert!(device.metrics().pools <= 2);
}

#[test]
fn batches_of_many_tasks_wait_for_room_as_well() {
    let Some(device) = open(options().in_flight(1)) else { return };
    let runtime = upbeat::Runtime::builder().workers(2).build().unwrap();
    let batched = Batched::on(&runtime, &device, 4).unwrap();
    let one = device.upload(&[1.0_f32; 100]).unwrap();
    let sums: Vec<_> = (0..50).map(|_| device.buffer::<f32>(100).unwrap()).collect();
    let pending: Vec<_> =
        (0..500).map(|i| batched.submit(sum(&sums[i % 50], &one)).expect("it is taken")).collect();
    for pending in pending {
        pending.wait().unwrap();
    }
    for x in &sums {
        assert_eq!(x.to_vec().unwrap(), [10.0; 100]);
    }
    assert_eq!(device.metrics().pools, 1);
}

/// A task that is run where it is woken: it submits more than may be under way, waits for it and reads.
struct Runs(Mutex<Option<(Buffer<f32>, Buffer<f32>)>>, Sender<Vec<f32>>);

impl Wake for Runs {
    fn wake(self: Arc<Self>) {
        let Some((x, one)) = self.0.lock().unwrap().take() else { return };
        for _ in 0..50 {
            drop(sum(&x, &one).submit().unwrap());
        }
        sum(&x, &one).submit().unwrap().wait().unwrap();
        self.1.send(x.to_vec().unwrap()).unwrap();
    }
}

#[test]
fn a_task_may_submit_and_wait_where_it_is_woken() {
    for stage in [false, true] {
        let Some(device) = open(options().in_flight(2).always_stage(stage)) else { return };
        let heavy = device.upload(&numbers(1 << 16, 1)).unwrap();
        let (x, one) = (device.upload(&[0.0_f32; 64]).unwrap(), device.upload(&[1.0_f32; 64]).unwrap());
        let (read, found) = channel();
        let waker = Waker::from(Arc::new(Runs(Mutex::new(Some((x, one))), read)));
        let mut last = Box::pin(fill_up(&device, &heavy));
        // Where it is done by now, nobody has to be woken.
        match std::future::Future::poll(last.as_mut(), &mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => {
                outcome.unwrap();
                waker.wake();
            }
            Poll::Pending => {}
        }
        assert_eq!(found.recv().unwrap(), [51.0; 64]);
    }
}
