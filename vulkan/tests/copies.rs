//! A queue of its own for copies: nobody notices, but who measures. Where the device has but one queue it serves as both; the validation layer (1.4 at
//! least) tells where one does not wait for the other.

mod support;

use std::future::Future;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Wake, Waker};

use support::{numbers, open, options};
use upbeat_vulkan::{Buffer, Device, Options};

/// Copies of any size go beside, through a ring of small blocks.
fn beside() -> Options {
    options().always_stage(true).staging(64 << 10).pretend_copy_queue()
}

#[test]
fn writes_kernels_and_reads_give_what_they_give_in_order() {
    let Some(device) = open(beside()) else { return };
    let mut state = 3_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    const LEN: usize = 10_000;
    let mut twins: Vec<Vec<f32>> = (0..3).map(|i| numbers(LEN, i)).collect();
    let buffers: Vec<_> = twins.iter().map(|twin| device.upload(twin).unwrap()).collect();
    for round in 0..200 {
        let (a, b) = (random(3), random(3));
        match random(6) {
            0 => {
                let start = random(LEN);
                let part = numbers(1 + random(LEN - start), round);
                buffers[a].slice(start..start + part.len()).write(&part).unwrap();
                twins[a][start..start + part.len()].copy_from_slice(&part);
            }
            1 => {
                let mut commands = device.commands();
                commands.add(&buffers[a], &buffers[b], &buffers[a]).unwrap();
                drop(commands.submit().unwrap());
                let other = twins[b].clone();
                twins[a].iter_mut().zip(other).for_each(|(a, b)| *a += b);
            }
            2 => {
                let mut commands = device.commands();
                commands.scale(&buffers[a], -0.5, &buffers[b]).unwrap();
                drop(commands.submit().unwrap());
                twins[b] = twins[a].iter().map(|a| -0.5 * a).collect();
            }
            3 => {
                let mut commands = device.commands();
                commands.fill(&buffers[a], round as f32).unwrap();
                drop(commands.submit().unwrap());
                twins[a].fill(round as f32);
            }
            4 if a != b => {
                let mut commands = device.commands();
                commands.copy(&buffers[a], &buffers[b]).unwrap();
                drop(commands.submit().unwrap());
                twins[b] = twins[a].clone();
            }
            _ => {
                let start = random(LEN);
                let found = buffers[a].slice(start..LEN).to_vec().unwrap();
                assert!(found == twins[a][start..], "round {round}");
            }
        }
    }
    for (buffer, twin) in buffers.iter().zip(&twins) {
        assert!(buffer.to_vec().unwrap() == *twin);
    }
    let metrics = device.metrics();
    assert!(metrics.transfers_beside > 100 && metrics.transfers_beside < metrics.transfers, "{metrics:?}");
}

/// Submits some kernels on `x`, and fills `y`: kernels find their buffers by addresses, which the validation layer does not see; a fill it does.
fn fill_late(device: &Device, x: &Buffer<f32>, y: &Buffer<f32>) {
    let mut commands = device.commands();
    for _ in 0..100 {
        commands.softmax(x, 10, x).unwrap();
    }
    commands.fill(y, 5.0).unwrap();
    drop(commands.submit().unwrap());
}

#[test]
fn each_queue_waits_for_the_other_where_both_use_a_buffer() {
    let Some(device) = open(beside()) else { return };
    let x = device.upload(&numbers(1000, 1)).unwrap();
    // What ended early need not be waited for: until it had not. Each time with a new buffer, so that no barrier of one queue orders what the other has
    // done where they are one.
    let crosses = |work: &dyn Fn(Buffer<f32>)| {
        let before = device.metrics().crossings;
        (0..1000).any(|_| {
            work(device.unspecified(1000).unwrap());
            device.metrics().crossings > before
        })
    };
    let copies_wait = crosses(&|y| {
        fill_late(&device, &x, &y);
        y.write(&[1.0; 1000]).unwrap();
        assert_eq!(y.to_vec().unwrap(), [1.0; 1000]);
    });
    let kernels_wait = crosses(&|y| {
        y.write(&[1.0; 1000]).unwrap();
        let mut commands = device.commands();
        commands.fill(&y, 2.0).unwrap();
        drop(commands.submit().unwrap());
        assert_eq!(y.to_vec().unwrap(), [2.0; 1000]);
    });
    assert!(copies_wait && kernels_wait);
}

#[test]
fn queues_with_nothing_in_common_do_not_wait() {
    let Some(device) = open(beside()) else { return };
    let [x, y, z] = [1, 2, 3].map(|seed| device.upload(&numbers(1000, seed)).unwrap());
    fill_late(&device, &x, &y);
    device.commands().submit().unwrap().wait().unwrap();
    let before = device.metrics().crossings;
    for _ in 0..20 {
        fill_late(&device, &x, &y);
        z.write(&[3.0; 1000]).unwrap();
    }
    assert_eq!(device.metrics().crossings, before);
    assert_eq!(z.to_vec().unwrap(), [3.0; 1000]);
}

#[test]
fn only_large_copies_go_beside_and_only_where_there_is_a_queue_for_them() {
    let large = vec![1.0_f32; 1 << 19];
    for wanted in [true, false] {
        let Some(device) = open(options().always_stage(true).copy_queue(wanted)) else { return };
        let has = device.limits().copy_queue;
        assert!(wanted || !has);
        let small = device.upload(&large[..1000]).unwrap();
        assert_eq!(small.to_vec().unwrap(), large[..1000]);
        assert_eq!(device.metrics().transfers_beside, 0);
        assert_eq!(device.upload(&large).unwrap().to_vec().unwrap(), large);
        assert_eq!(device.metrics().transfers_beside > 0, has);
    }
}

#[test]
fn threads_may_copy_and_compute_at_once() {
    let Some(device) = open(beside()) else { return };
    let shared = device.upload(&vec![1.0_f32; 20_000]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (shared, device): (_, &Device) = (&shared, &device);
            scope.spawn(move || {
                for round in 0..10 {
                    let own = numbers(20_000, thread * 10 + round);
                    let x = device.upload(&own).unwrap();
                    let mut commands = device.commands();
                    commands.add(&x, shared, &x).unwrap();
                    drop(commands.submit().unwrap());
                    // Its handle goes while the device works on it.
                    let y = device.unspecified::<f32>(own.len()).unwrap();
                    let mut commands = device.commands();
                    commands.scale(&x, 1.0, &y).unwrap();
                    drop((commands.submit().unwrap(), x));
                    let found = y.to_vec().unwrap();
                    assert!(found.iter().zip(&own).all(|(found, own)| *found == own + 1.0), "round {round}");
                }
            });
        }
    });
    drop(shared);
    device.commands().submit().unwrap().wait().unwrap();
    assert_eq!(device.metrics().dispatches, 80);
}

#[test]
fn a_device_may_go_with_work_in_both_queues() {
    for _ in 0..20 {
        let Some(device) = open(beside()) else { return };
        let x = device.upload(&numbers(5000, 1)).unwrap();
        let mut commands = device.commands();
        commands.scale(&x, 2.0, &x).unwrap();
        drop(commands.submit().unwrap());
        x.write(&numbers(5000, 2)).unwrap();
    }
}

/// A task that is run where it is woken, once.
struct Runs(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Runs {
    fn waker(task: impl FnOnce() + Send + 'static) -> Waker {
        Waker::from(Arc::new(Self(Mutex::new(Some(Box::new(task))))))
    }
}

impl Wake for Runs {
    fn wake(self: Arc<Self>) {
        if let Some(task) = self.0.lock().unwrap().take() {
            task();
        }
    }
}

/// What the waiter of each queue wakes waits for the other queue, at once.
#[test]
fn tasks_woken_by_either_queue_may_wait_for_the_other() {
    let Some(device) = open(beside()) else { return };
    let [x, y, z] = [1, 2, 3].map(|seed| device.upload(&numbers(1000, seed)).unwrap());
    let both = Arc::new(Barrier::new(2));
    let (tell, told) = channel();
    let copies = {
        let (z, both, tell) = (z.clone(), both.clone(), tell.clone());
        Runs::waker(move || {
            both.wait();
            z.write(&[4.0; 1000]).unwrap();
            tell.send(z.to_vec().unwrap() == [4.0; 1000]).unwrap();
        })
    };
    let computes = {
        let y = y.clone();
        Runs::waker(move || {
            both.wait();
            let mut commands = y.device().commands();
            commands.scale(&y, 0.0, &y).unwrap();
            commands.submit().unwrap().wait().unwrap();
            tell.send(true).unwrap();
        })
    };
    fill_late(&device, &x, &x);
    let mut done = Box::pin(device.commands().submit().unwrap());
    let mut numbers = [0.0; 1000];
    let mut read = Box::pin(x.read_async(&mut numbers));
    // Who is done by now wakes nobody: then some thread does.
    let wake = |waker: Waker| drop(std::thread::spawn(move || waker.wake()));
    if done.as_mut().poll(&mut Context::from_waker(&copies)).is_ready() {
        wake(copies);
    }
    if read.as_mut().poll(&mut Context::from_waker(&computes)).is_ready() {
        wake(computes);
    }
    assert!(told.recv().unwrap() && told.recv().unwrap());
    drop(read);
    assert_eq!(y.to_vec().unwrap(), [0.0; 1000]);
}
