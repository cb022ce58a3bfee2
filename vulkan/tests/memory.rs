//! Memory: what is written is read, through the staging ring too; limits are told; what is dropped comes back.

mod support;

use std::future::Future;

use support::{device, numbers, open, options};
use upbeat_vulkan::{f16, VulkanError};

#[test]
fn what_is_written_is_read_directly_and_through_the_ring() {
    for stage in [false, true] {
        // 16 KiB a block: the larger lengths travel in several pieces, more than are kept.
        let Some(device) = open(options().always_stage(stage).staging(64 << 10)) else { return };
        for len in [0, 1, 2, 3, 1000, 16 << 10, 100_001] {
            let x = numbers(len, 3);
            let buffer = device.upload(&x).unwrap();
            assert_eq!(buffer.to_vec().unwrap(), x, "{len} numbers, staged: {stage}");
            assert!(device.buffer::<f32>(len).unwrap().to_vec().unwrap().iter().all(|&x| x.to_bits() == 0));
            if len >= 3 {
                buffer.slice(1..3).write(&[7.0, 8.0]).unwrap();
                assert_eq!(buffer.slice(0..3).to_vec().unwrap(), [x[0], 7.0, 8.0]);
            }
        }
        if device.limits().f16_storage {
            let halves: Vec<f16> = (0..4097).map(|i| f16::from_bits(i as u16)).collect();
            let found = device.upload(&halves).unwrap().slice(1..4097).to_vec().unwrap();
            assert!(found.iter().zip(&halves[1..]).all(|(found, half)| found.to_bits() == half.to_bits()));
        }
    }
}

#[test]
fn writes_and_reads_follow_the_order_of_submission() {
    for stage in [false, true] {
        let Some(device) = open(options().always_stage(stage)) else { return };
        let x = device.upload(&[1.0_f32; 10_000]).unwrap();
        for round in 0..20 {
            let mut commands = device.commands();
            commands.scale(&x, 2.0, &x).unwrap();
            drop(commands.submit().unwrap());
            if round % 5 == 4 {
                assert!(
                    x.to_vec().unwrap().iter().all(|&x| x == 32.0),
                    "a read comes after what was submitted before it"
                );
                x.write(&[1.0; 10_000]).unwrap();
            }
        }
    }
}

#[test]
fn a_hundred_thousand_dispatches_leave_memory_where_it_started() {
    // Each a dispatch of its own.
    let Some(device) = open(options().merge_steps(false)) else { return };
    let before = device.memory();
    assert_eq!((before.used, before.buffers), (0, 0));
    let x = device.upload(&[0.0_f32; 64]).unwrap();
    let one = device.upload(&[1.0_f32; 64]).unwrap();
    let mut done = None;
    for _ in 0..100 {
        let mut commands = device.commands();
        let scratch = device.buffer::<f32>(64).unwrap();
        for _ in 0..500 {
            commands.add(&x, &one, &scratch).unwrap();
            commands.scale(&scratch, 1.0, &x).unwrap();
        }
        done = Some(commands.submit().unwrap());
    }
    done.unwrap().wait().unwrap();
    assert_eq!(x.to_vec().unwrap(), [50_000.0; 64]);
    let metrics = device.metrics();
    assert_eq!((metrics.dispatches, metrics.submissions), (100_000, 100));
    assert_eq!(metrics.barriers, 99_999, "each depends on the one before");
    drop((x, one));
    let after = device.memory();
    assert_eq!((after.used, after.buffers), (0, 0), "{after:?}");
    assert!(after.peak >= 2 * 256, "{after:?}");
}

#[test]
fn limits_are_told_in_bytes() {
    let Some(device) = open(options().memory_limit(4096)) else { return };
    let held = device.upload(&[0.0_f32; 512]).unwrap();
    let refused = device.buffer::<f32>(1000).unwrap_err();
    assert_eq!(
        refused,
        VulkanError::OutOfMemory { asked: 4000, used: 2048, limit: Some(4096), budget: None }
    );
    assert_eq!(
        refused.to_string(),
        "4000 bytes more than the 2048 in use exceed the limit of 4096 bytes of the device's memory; \
         drop buffers or raise Options::memory_limit"
    );
    drop(held);
    assert!(device.buffer::<f32>(1000).is_ok(), "what was dropped makes room");
    let most = device.limits().buffer_bytes;
    if usize::try_from(most).is_ok_and(|most| most / 4 < i32::MAX as usize) {
        let refused = device.buffer::<f32>(most as usize / 4 + 4).unwrap_err();
        assert!(matches!(refused, VulkanError::TooLarge { most: told, .. } if told == most), "{refused}");
    }
    assert!(matches!(device.buffer::<f32>(1 << 33).unwrap_err(), VulkanError::TooLarge { .. }));
}

/// What is refused was never there: it takes nobody's room, and is not in the figures.
#[test]
fn who_asks_for_too_much_takes_no_room_from_others() {
    let Some(device) = open(options().memory_limit(64 << 20)) else { return };
    let _held = device.unspecified::<f32>(2 << 20).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                // 60 MiB beside the 8 that are held.
                let refused = device.unspecified::<f32>(15 << 20).unwrap_err();
                let VulkanError::OutOfMemory { used, .. } = refused else { panic!("{refused}") };
                assert!(used <= 64 << 20, "{used}");
            }
        });
        // One MiB beside them. Looked at when the other thread has ended: a panic here would leave it running.
        let tries: Vec<_> = (0..5000).map(|_| device.unspecified::<f32>(256 << 10).map(drop)).collect();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        for outcome in tries {
            assert_eq!(outcome, Ok(()));
        }
    });
    assert!(device.memory().peak <= 11 << 20, "{:?}", device.memory());
}

#[test]
fn work_under_way_keeps_its_memory() {
    let Some(device) = device() else { return };
    let x = numbers(1 << 20, 5);
    let out = device.buffer::<f32>(x.len()).unwrap();
    {
        let a = device.upload(&x).unwrap();
        let mut commands = device.commands();
        for _ in 0..20 {
            commands.add(&a, &a, &out).unwrap();
        }
        drop(commands.submit().unwrap());
        // Dropped while the device reads it; new buffers must not take its place yet.
    }
    for _ in 0..4 {
        let other = device.upload(&numbers(1 << 20, 6)).unwrap();
        drop(other);
    }
    let twice: Vec<f32> = x.iter().map(|x| x + x).collect();
    assert_eq!(out.to_vec().unwrap(), twice);
}

#[test]
fn wrong_lengths_are_refused() {
    let Some(device) = device() else { return };
    let x = device.upload(&[1.0_f32, 2.0]).unwrap();
    assert_eq!(x.write(&[1.0]).unwrap_err().to_string(), "numbers to write must be 2 but is 1");
    assert_eq!(x.read(&mut [0.0; 3]).unwrap_err().to_string(), "numbers to read must be 2 but is 3");
}

#[test]
#[should_panic(expected = "1..4 of 3 numbers")]
fn parts_outside_panic() {
    let Some(device) = device() else { panic!("1..4 of 3 numbers: no device to say it") };
    drop(device.upload(&[0.0_f32; 3]).unwrap().slice(1..4));
}

/// A future that is dropped while it waits, as a time-out drops it.
#[test]
fn reads_that_are_given_up_leave_nothing() {
    let Some(device) = open(options().always_stage(true).staging(64 << 10)) else { return };
    let x = device.upload(&numbers(1000, 5)).unwrap();
    let y = device.buffer::<f32>(1000).unwrap();
    let mut out = vec![0.0; 1000];
    let mut given_up = 0;
    for _ in 0..40 {
        let mut commands = device.commands();
        for _ in 0..200 {
            commands.softmax(&x, 1000, &y).unwrap();
        }
        drop(commands.submit().unwrap());
        let mut read = std::pin::pin!(y.read_async(&mut out));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        given_up += usize::from(read.as_mut().poll(&mut context).is_pending());
    }
    assert!(given_up > 0, "some were still under way");
    device.commands().submit().unwrap().wait().unwrap();
    // The two, and four blocks to travel through in each direction.
    let buffers = device.memory().buffers;
    assert!(buffers <= 2 + 8, "{buffers} buffers after {given_up} reads were given up");
}
