//! Everything at once: threads that upload, import, compute, read, give up waiting and drop, while others move buffers and ask for figures; each
//! number is compared with a twin on the host, and nothing is left. So it is where calls of Vulkan fail now and then.

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::task::{Context, Waker};

use ash::vk;
use support::{numbers, open, options};
use upbeat_vulkan::{Buffer, Call, Device, Fault, HostMemory, Options, VulkanError};

const THREADS: u64 = 6;
const ROUNDS: usize = 400;

/// A buffer and what it must hold.
type Pair = (Buffer<f32>, Vec<f32>);

/// Steps of one thread (xorshift).
struct Steps(u64);

impl Steps {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }
}

/// A buffer of any size and kind.
fn fresh(device: &Device, steps: &mut Steps) -> Pair {
    let len = [1, 17, 1000, 40_000][steps.below(4)];
    let x = numbers(len, steps.below(1000) as u64);
    let is_imported = steps.below(3) == 0 && device.limits().import_alignment.is_some();
    let buffer = match is_imported {
        true => device.import(HostMemory::from(&x[..])).unwrap(),
        false => device.upload(&x).unwrap(),
    };
    (buffer, x)
}

/// Doubles or halves a part of a buffer in one of the ways to submit. Exact, so any number of times.
fn scale(device: &Device, (buffer, x): &mut Pair, steps: &mut Steps) {
    let from = steps.below(x.len());
    let range = from..from + 1 + steps.below(x.len() - from);
    let part = buffer.slice(range.clone());
    let largest = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let factor = if largest > 1e6 { 0.5 } else { 2.0 };
    let mut commands = device.commands();
    commands.scale(&part, factor, &part).unwrap();
    let is_certain = match steps.below(4) {
        0 => {
            commands.submit().unwrap().wait().unwrap();
            true
        }
        1 => {
            drop(commands.submit().unwrap());
            true
        }
        2 => {
            while commands.try_submit().unwrap().is_none() {
                std::thread::yield_now();
            }
            true
        }
        // Who waits for room and gives up has submitted it or has not.
        _ => pin!(commands.submit_async()).poll(&mut Context::from_waker(Waker::noop())).is_ready(),
    };
    match is_certain {
        true => x[range].iter_mut().for_each(|x| *x *= factor),
        false => *x = buffer.to_vec().unwrap(),
    }
}

fn one_thread(device: &Device, seed: u64) {
    let mut steps = Steps(seed);
    let mut pairs: Vec<Pair> = (0..3).map(|_| fresh(device, &mut steps)).collect();
    for round in 0..ROUNDS {
        let at = steps.below(pairs.len());
        match steps.below(8) {
            0 => pairs[at] = fresh(device, &mut steps),
            1 => {
                let x = numbers(pairs[at].1.len(), round as u64);
                pairs[at].0.write(&x).unwrap();
                pairs[at].1 = x;
            }
            2 => {
                // Of two buffers, as much as both have, into a third that is dropped by nobody before it is read.
                let (a, b) = (&pairs[at], &pairs[(at + 1) % pairs.len()]);
                let len = a.1.len().min(b.1.len());
                let sum = device.unspecified::<f32>(len).unwrap();
                let mut commands = device.commands();
                commands.add(&a.0.slice(0..len), &b.0.slice(0..len), &sum).unwrap();
                drop(commands.submit().unwrap());
                let want: Vec<f32> = a.1.iter().zip(&b.1).map(|(a, b)| a + b).collect();
                assert_eq!(sum.to_vec().unwrap(), want, "seed {seed}, round {round}");
            }
            3 => assert_eq!(pairs[at].0.to_vec().unwrap(), pairs[at].1, "seed {seed}, round {round}"),
            4 => {
                // A read that nobody waits for any more.
                let mut out = vec![0.0; pairs[at].1.len()];
                let _ = pin!(pairs[at].0.read_async(&mut out)).poll(&mut Context::from_waker(Waker::noop()));
            }
            _ => scale(device, &mut pairs[at], &mut steps),
        }
    }
    for (buffer, x) in pairs {
        assert_eq!(buffer.to_vec().unwrap(), x, "seed {seed}, at the end");
    }
}

#[test]
fn threads_that_do_everything_at_once_get_their_own_numbers_and_leave_nothing() {
    let queues: [fn() -> Options; 3] = [
        || options().in_flight(2).staging(64 << 10),
        || options().in_flight(1).always_stage(true).staging(64 << 10),
        || options().in_flight(3).always_stage(true).staging(256 << 10).pretend_copy_queue(),
    ];
    for (run, options) in queues.into_iter().enumerate() {
        let Some(device) = open(options()) else { return };
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let device: &Device = &device;
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    device.defragment().unwrap();
                    let _ = (device.metrics(), device.memory(), device.memory_budget());
                    std::thread::yield_now();
                }
            });
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || one_thread(device, 1 + thread + 100 * run as u64)))
                .collect();
            let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            is_over.store(true, Ordering::Relaxed);
            outcomes.into_iter().for_each(|outcome| outcome.unwrap());
        });
        device.commands().submit().unwrap().wait().unwrap();
        device.defragment().unwrap();
        let memory = device.memory();
        assert_eq!((memory.used, memory.imported), (0, 0), "{memory:?}");
        // The layer's advice is to cut small buffers from larger memory, which the host's is not; all else counts.
        let messages = device.messages();
        let other = messages.iter().find(|told| !told.contains("sub-allocate"));
        assert!(other.is_none(), "the validation layer says: {other:?}");
    }
}

/// Work of its own, in two submissions. What is not told to have failed is right.
fn work(device: &Device, seed: u64) -> Result<(), VulkanError> {
    let a = numbers(1 + (seed as usize * 7919) % 30_000, seed);
    let x = device.upload(&a)?;
    let y = device.buffer::<f32>(a.len())?;
    let mut commands = device.commands();
    commands.scale(&x, 2.0, &y)?;
    commands.submit()?.wait()?;
    let mut commands = device.commands();
    commands.add(&y, &x, &y)?;
    commands.submit()?.wait()?;
    let found = y.to_vec()?;
    assert!(found.iter().zip(&a).all(|(found, a)| *found == 2.0 * a + a), "seed {seed}");
    Ok(())
}

#[test]
fn calls_that_fail_now_and_then_fail_whose_work_it_was() {
    for pretend in [false, true] {
        let (armed, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_armed, count) = (armed.clone(), calls.clone());
        // Who cannot learn of ends any more takes the device for lost.
        let is_waiting = |call| matches!(call, Call::WaitSemaphores | Call::SemaphoreCounter);
        let fault: Arc<Fault> = Arc::new(move |call| {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let is_due = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) == 0 && !is_waiting(call);
            (is_armed.load(Ordering::Relaxed) && is_due).then_some(vk::Result::ERROR_OUT_OF_HOST_MEMORY)
        });
        let options = options().in_flight(2).always_stage(true).staging(64 << 10).fault(fault);
        let Some(device) = open(if pretend { options.pretend_copy_queue() } else { options }) else { return };
        armed.store(true, Ordering::Relaxed);
        let failed: u64 = std::thread::scope(|scope| {
            let device: &Device = &device;
            let threads: Vec<_> = (0..4u64)
                .map(|thread| {
                    scope.spawn(move || {
                        let fails = |round: u64| u64::from(work(device, 1000 * thread + round).is_err());
                        (0..150).map(fails).sum::<u64>()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        armed.store(false, Ordering::Relaxed);
        assert!((1..600).contains(&failed), "{failed} of 600 failed");
        (0..20).for_each(|seed| work(&device, seed).unwrap());
        device.commands().submit().unwrap().wait().unwrap();
        device.defragment().unwrap();
        assert_eq!(device.memory().used, 0);
    }
}
