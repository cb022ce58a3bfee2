//! Buffers move to where less memory is reserved, and nobody notices: lists recorded before, work under way, threads that read and write.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ash::vk;
use support::{numbers, open, options};
use upbeat_vulkan::{Buffer, Call, Defragmented, Device, Fault, VulkanError};

/// Numbers of a buffer of 256 KiB.
const LEN: usize = 64 << 10;

/// Buffers that fill several parts of the device's memory, of which those stay whose place is a multiple of `step`, with their numbers.
fn scattered(device: &Device, count: usize, step: usize) -> Vec<(Buffer<f32>, Vec<f32>)> {
    let all: Vec<_> = (0..count)
        .map(|i| {
            let x = numbers(LEN, i as u64);
            (device.upload(&x).unwrap(), x)
        })
        .collect();
    all.into_iter().step_by(step).collect()
}

fn check(buffers: &[(Buffer<f32>, Vec<f32>)]) {
    for (at, (buffer, x)) in buffers.iter().enumerate() {
        assert!(buffer.to_vec().unwrap() == *x, "buffer {at} has its numbers");
    }
}

#[test]
fn what_is_reserved_shrinks_and_the_numbers_stay() {
    let staged = || options().always_stage(true).staging(1 << 20);
    for options in [options(), staged(), staged().pretend_copy_queue()] {
        let Some(device) = open(options) else { return };
        let buffers = scattered(&device, 400, 8);
        // What numbers travel through stays where it is until that is done.
        device.commands().submit().unwrap().wait().unwrap();
        let before = device.memory();
        let done = device.defragment().unwrap();
        let after = device.memory();
        assert!(after.reserved <= before.reserved / 2, "{before:?}, then {after:?}");
        assert_eq!(done.freed, before.reserved - after.reserved);
        assert!(done.moved > 0 && done.bytes == done.moved * 4 * LEN as u64, "{done:?}");
        assert!(after.fragmentation <= before.fragmentation && after.fragmentation < 0.01, "{after:?}");
        assert!(after.largest_free <= after.free && after.free < before.free, "{after:?}");
        check(&buffers);
        // There is nothing more to gain.
        assert_eq!(device.defragment().unwrap().moved, 0);
        drop(buffers);
        device.defragment().unwrap();
        let empty = device.memory();
        assert!(empty.used == 0 && empty.reserved <= 64 << 20, "one part of each kind is kept: {empty:?}");
        check(&scattered(&device, 3, 1));
    }
}

#[test]
fn lists_recorded_before_a_move_find_what_they_work_on() {
    for stage in [false, true] {
        let Some(device) = open(options().always_stage(stage)) else { return };
        let mut buffers = scattered(&device, 200, 5);
        let out = device.buffer::<f32>(LEN).unwrap();
        let mut commands = device.commands();
        for (buffer, _) in &buffers {
            // Clones, parts and lists all go on.
            commands.scale(&buffer.slice(0..LEN / 2), 2.0, &buffer.slice(0..LEN / 2)).unwrap();
            commands.add(&out, buffer, &out).unwrap();
        }
        assert!(device.defragment().unwrap().moved > 0);
        commands.submit().unwrap().wait().unwrap();
        let mut sum = vec![0.0; LEN];
        for (_, x) in &mut buffers {
            x[..LEN / 2].iter_mut().for_each(|x| *x *= 2.0);
            sum.iter_mut().zip(x.iter()).for_each(|(sum, x)| *sum += x);
        }
        check(&buffers);
        assert!(out.to_vec().unwrap() == sum);
    }
}

#[test]
fn small_steps_recorded_before_a_move_find_what_they_work_on() {
    for merge in [false, true] {
        let Some(device) = open(options().merge_steps(merge)) else { return };
        let mut small = Vec::new();
        let large: Vec<_> = (0..200)
            .map(|i| {
                let x = numbers(1000, i);
                small.push((device.upload(&x).unwrap(), x));
                device.unspecified::<f32>(LEN).unwrap()
            })
            .collect();
        drop(large);
        let mut commands = device.commands();
        for (buffer, x) in &mut small {
            // Of the same block, as of others: where they begin tells them apart.
            let (first, second) = (buffer.slice(0..500), buffer.slice(500..1000));
            commands.add(&first, &second, &first).unwrap();
            commands.scale(&first, 2.0, &second).unwrap();
            commands.add(&second, &first, &second).unwrap();
            for i in 0..500 {
                x[i] += x[500 + i];
                x[500 + i] = x[i] * 2.0 + x[i];
            }
        }
        let reserved = device.memory().reserved;
        assert!(device.defragment().unwrap().moved > 0);
        assert!(device.memory().reserved < reserved);
        commands.submit().unwrap().wait().unwrap();
        check(&small);
        assert_eq!(device.metrics().merged > 0, merge);
    }
}

#[test]
fn a_move_takes_its_turn_among_work_under_way() {
    let Some(device) = open(options()) else { return };
    let mut buffers = scattered(&device, 200, 5);
    for round in 0..5 {
        for (buffer, x) in &mut buffers {
            let mut commands = device.commands();
            commands.scale(buffer, -1.0, buffer).unwrap();
            drop(commands.submit().unwrap());
            x.iter_mut().for_each(|x| *x = -*x);
        }
        // Every other one goes, and its place is somebody else's next.
        let mut place = 0;
        buffers.retain(|_| {
            place += 1;
            (place + round) % 4 != 0
        });
        device.defragment().unwrap();
        for (buffer, x) in &mut buffers {
            let mut commands = device.commands();
            commands.scale(buffer, 0.5, buffer).unwrap();
            drop(commands.submit().unwrap());
            x.iter_mut().for_each(|x| *x *= 0.5);
        }
        buffers.extend(scattered(&device, 10, 1));
    }
    check(&buffers);
}

#[test]
fn threads_work_read_and_write_beside_one_that_moves() {
    let staged = || options().always_stage(true).staging(256 << 10);
    // By the host itself, through the ring, and that by another queue.
    for options in [options(), staged(), staged().pretend_copy_queue()] {
        let Some(device) = open(options) else { return };
        let ended = AtomicBool::new(false);
        let moved = AtomicUsize::new(0);
        // Some are everybody's: each thread adds one to them, again and again.
        let shared: Vec<_> = (0..4).map(|_| device.buffer::<f32>(1000).unwrap()).collect();
        let half = device.upload(&[0.5_f32; 1000]).unwrap();
        let added = Mutex::new(0.0);
        std::thread::scope(|scope| {
            let (device, ended, moved): (&Device, _, _) = (&device, &ended, &moved);
            let (shared, half, added) = (&shared, &half, &added);
            let mover = scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    moved.fetch_add(device.defragment().unwrap().moved as usize, Ordering::Relaxed);
                }
            });
            let workers: Vec<_> = (0..3_u64)
                .map(|thread| {
                    scope.spawn(move || {
                        let mut own: Vec<(Buffer<f32>, Vec<f32>)> = Vec::new();
                        let mut state = thread;
                        let mut random = |below: usize| {
                            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
                            (state >> 33) as usize % below
                        };
                        for step in 0..600 {
                            let some = (!own.is_empty()).then(|| random(own.len()));
                            match (random(6), some) {
                                (0 | 1, _) | (_, None) => {
                                    let x = numbers(1 + random(100_000), step);
                                    own.push((device.upload(&x).unwrap(), x));
                                }
                                (2, Some(at)) => drop(own.swap_remove(at)),
                                (3, Some(at)) => {
                                    let (buffer, x) = &mut own[at];
                                    let mut commands = device.commands();
                                    commands.scale(buffer, -1.0, buffer).unwrap();
                                    drop(commands.submit().unwrap());
                                    x.iter_mut().for_each(|x| *x = -*x);
                                }
                                (4, Some(at)) => {
                                    let (buffer, x) = &mut own[at];
                                    x.iter_mut().for_each(|x| *x += 1.0);
                                    buffer.write(x).unwrap();
                                }
                                (_, Some(at)) => {
                                    let (buffer, x) = &own[at];
                                    assert!(buffer.to_vec().unwrap() == *x, "thread {thread}, step {step}");
                                }
                            }
                            if step % 10 == 0 {
                                let mut commands = device.commands();
                                for x in shared {
                                    // Two steps of one dispatch.
                                    commands.add(x, half, x).unwrap().add(x, half, x).unwrap();
                                }
                                drop(commands.submit().unwrap());
                                *added.lock().unwrap() += 1.0;
                            }
                        }
                        check(&own);
                    })
                })
                .collect();
            let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            ended.store(true, Ordering::Relaxed);
            mover.join().unwrap();
            ends.into_iter().for_each(|end| end.unwrap());
        });
        let added = added.into_inner().unwrap();
        shared.iter().for_each(|x| assert_eq!(x.to_vec().unwrap(), [added; 1000]));
        assert!(moved.load(Ordering::Relaxed) > 0);
    }
}

/// Lets calls fail once `armed`: the `n`-th `call` and, where `all`, those after it.
struct Failing {
    armed: AtomicBool,
    count: AtomicUsize,
}

fn failing(call: Call, n: usize, all: bool, result: vk::Result) -> (Arc<Failing>, Arc<Fault>) {
    let failing = Arc::new(Failing { armed: AtomicBool::new(false), count: AtomicUsize::new(0) });
    let shared = failing.clone();
    let fault = move |made: Call| {
        if made != call || !shared.armed.load(Ordering::SeqCst) {
            return None;
        }
        let count = shared.count.fetch_add(1, Ordering::SeqCst) + 1;
        (count == n || (all && count > n)).then_some(result)
    };
    (failing, Arc::new(fault))
}

#[test]
fn room_is_made_before_a_buffer_is_refused() {
    for call in [Call::AllocateMemory, Call::CreateBuffer] {
        let (full, fault) = failing(call, 1, false, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
        let Some(device) = open(options().fault(fault)) else { return };
        let buffers = scattered(&device, 100, 2);
        let before = device.memory();
        full.armed.store(true, Ordering::SeqCst);
        // The device has nothing, once.
        let large = device.buffer::<f32>(4 * LEN).unwrap();
        assert!(full.count.load(Ordering::SeqCst) > 2, "{call}: it was asked for places to move to");
        let after = device.memory();
        assert!(after.reserved < before.reserved && after.fragmentation < 0.01, "{before:?}, then {after:?}");
        check(&buffers);
        assert!(large.to_vec().unwrap().iter().all(|x| *x == 0.0));
    }
    for call in [Call::AllocateMemory, Call::CreateBuffer] {
        let (full, fault) = failing(call, 1, true, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
        let Some(device) = open(options().always_stage(true).staging(4 << 20).fault(fault)) else { return };
        let buffers = scattered(&device, 100, 2);
        check(&buffers);
        let buffers: Vec<_> = buffers.into_iter().step_by(2).collect();
        // What was dropped is free by then, and of the ring there is one block of each direction.
        device.defragment().unwrap();
        check(&buffers[..1]);
        buffers[0].0.write(&buffers[0].1).unwrap();
        device.commands().submit().unwrap().wait().unwrap();
        let before = device.memory();
        full.armed.store(true, Ordering::SeqCst);
        let refused = device.buffer::<f32>(LEN).unwrap_err();
        assert!(matches!(refused, VulkanError::OutOfMemory { limit: None, .. }), "{refused}");
        assert_eq!(device.memory(), before, "nothing could be moved");
        // What is there can be read, and travels through blocks that are there.
        check(&buffers);
        full.armed.store(false, Ordering::SeqCst);
        assert!(device.buffer::<f32>(LEN).is_ok());
    }
}

#[test]
fn a_move_that_fails_leaves_everything_where_it_was() {
    let calls = [
        Call::AllocateMemory,
        Call::CreateBuffer,
        Call::BindMemory,
        Call::CreateCommandPool,
        Call::AllocateCommandBuffers,
        Call::ResetCommandPool,
        Call::BeginCommandBuffer,
        Call::EndCommandBuffer,
        Call::Submit,
    ];
    let results =
        [vk::Result::ERROR_UNKNOWN, vk::Result::ERROR_OUT_OF_HOST_MEMORY, vk::Result::ERROR_DEVICE_LOST];
    let mut reached = Vec::new();
    for call in calls {
        for (n, result) in [1, 3].into_iter().flat_map(|n| results.map(|result| (n, result))) {
            let (fails, fault) = failing(call, n, false, result);
            let Some(device) = open(options().fault(fault).in_flight(2)) else { return };
            let buffers = scattered(&device, 80, 4);
            // All command pools there may be are in use: else none is made.
            let busy: Vec<_> = (0..2).map(|_| device.commands().submit().unwrap()).collect();
            fails.armed.store(true, Ordering::SeqCst);
            let before = device.memory();
            let outcome = device.defragment();
            let came = fails.count.load(Ordering::SeqCst) >= n;
            fails.armed.store(false, Ordering::SeqCst);
            drop(busy);
            if came {
                reached.push(call);
                check_told(call, result, &outcome);
                assert_eq!(device.memory().buffers, before.buffers);
                assert_eq!(device.memory().used, before.used);
            }
            if came && result == vk::Result::ERROR_DEVICE_LOST {
                continue;
            }
            check(&buffers);
            device.defragment().unwrap();
            assert!(device.memory().reserved < before.reserved, "{call} no. {n}");
            check(&buffers);
        }
    }
    for call in [Call::AllocateMemory, Call::CreateBuffer, Call::BindMemory, Call::Submit] {
        assert!(reached.contains(&call), "{call} was never made");
    }
}

fn check_told(call: Call, result: vk::Result, outcome: &Result<Defragmented, VulkanError>) {
    match (call, result) {
        // No place to move to is no failure: what was found by then is used.
        (Call::AllocateMemory | Call::CreateBuffer, vk::Result::ERROR_OUT_OF_HOST_MEMORY) => {
            assert!(outcome.is_ok(), "{call}");
        }
        (_, vk::Result::ERROR_DEVICE_LOST) => assert_eq!(*outcome, Err(VulkanError::DeviceLost), "{call}"),
        _ => {
            let expected = VulkanError::Call { call, result: format!("{result:?}") };
            assert_eq!(*outcome, Err(expected));
        }
    }
}

#[test]
fn a_defragmentation_that_is_given_up_leaves_nothing() {
    let Some(device) = open(options().in_flight(1)) else { return };
    let buffers = scattered(&device, 80, 4);
    let before = device.memory();
    let x = device.upload(&numbers(1 << 16, 1)).unwrap();
    for _ in 0..20 {
        let mut commands = device.commands();
        for _ in 0..20 {
            commands.softmax(&x, 1 << 16, &x).unwrap();
        }
        drop(commands.submit().unwrap());
        // It waits for the one under way, as a rule, and is dropped there or after it has begun.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut moves = Box::pin(device.defragment_async());
        drop(std::future::Future::poll(moves.as_mut(), &mut context));
    }
    drop(x);
    device.defragment().unwrap();
    assert!(device.memory().reserved < before.reserved);
    assert_eq!(device.memory().buffers, buffers.len() as u64);
    check(&buffers);
}
