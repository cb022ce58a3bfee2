//! Random work on overlapping parts of few buffers, beside the same work done one piece after the other on the CPU, bit for bit.

mod support;

use support::{open, options};
use upbeat_vulkan::{Buffer, Device, VulkanError};

const LEN: usize = 3000;
const BUFFERS: usize = 3;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    /// A part of `len` numbers of some buffer: its number and where it begins. Few places, so that parts meet.
    fn part(&mut self, len: usize) -> (usize, usize) {
        (self.below(BUFFERS), self.below(8) * (LEN - len) / 8)
    }
}

/// One step on the device and on the CPU; submits and transfers now and then.
fn step(random: &mut Random, device: &Device, buffers: &[Buffer<f32>], model: &mut [Vec<f32>]) {
    let mut commands = device.commands();
    for _ in 0..=random.below(6) {
        let len = [1, 7, 500, 1500][random.below(4)];
        let [(a, at_a), (b, at_b), (to, at_to)] = [random.part(len), random.part(len), random.part(len)];
        // Both as they are, and the very same numbers: other overlaps are refused.
        let (to, at_to) = if random.below(3) == 0 { (a, at_a) } else { (to, at_to) };
        let part = |buffer: usize, at: usize| buffers[buffer].slice(at..at + len);
        let (x, y, out) = (part(a, at_a), part(b, at_b), part(to, at_to));
        let was = |buffer: usize, at: usize| model[buffer][at..at + len].to_vec();
        let (old_a, old_b) = (was(a, at_a), was(b, at_b));
        let both = || old_a.iter().zip(&old_b);
        let (outcome, new): (_, Vec<f32>) = match random.below(5) {
            0 => (commands.scale(&x, 0.5, &out).map(drop), old_a.iter().map(|a| a * 0.5).collect()),
            1 => (commands.add(&x, &y, &out).map(drop), both().map(|(a, b)| a + b).collect()),
            2 => (commands.sub(&x, &y, &out).map(drop), both().map(|(a, b)| a - b).collect()),
            3 => (commands.copy(&x, &out).map(drop), old_a.clone()),
            _ => (commands.fill(&out, len as f32).map(drop), vec![len as f32; len]),
        };
        match outcome {
            Ok(()) => model[to][at_to..at_to + len].copy_from_slice(&new),
            Err(error) => assert!(matches!(error, VulkanError::Aliased { .. }), "{error}"),
        }
    }
    drop(commands.submit().unwrap());
    let (buffer, at) = random.part(100);
    match random.below(10) {
        0 => {
            let numbers: Vec<f32> = (0..100).map(|i| i as f32).collect();
            buffers[buffer].slice(at..at + 100).write(&numbers).unwrap();
            model[buffer][at..at + 100].copy_from_slice(&numbers);
        }
        1 => assert_eq!(buffers[buffer].slice(at..at + 100).to_vec().unwrap(), model[buffer][at..at + 100]),
        _ => {}
    }
}

#[test]
fn random_work_gives_what_it_gives_in_order() {
    for (seed, stage) in [(1, false), (2, true), (3, false), (4, true)] {
        let Some(device) = open(options().always_stage(stage).staging(64 << 10)) else { return };
        let mut random = Random(seed);
        let mut model: Vec<Vec<f32>> = (0..BUFFERS).map(|b| vec![b as f32; LEN]).collect();
        let buffers: Vec<_> = model.iter().map(|numbers| device.upload(numbers).unwrap()).collect();
        for _ in 0..150 {
            step(&mut random, &device, &buffers, &mut model);
        }
        for (buffer, numbers) in buffers.iter().zip(&model) {
            let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&buffer.to_vec().unwrap()), bits(numbers), "seed {seed}");
        }
    }
}

#[test]
fn submissions_of_two_threads_on_one_buffer_come_one_after_the_other() {
    let Some(device) = open(options()) else { return };
    let one = device.upload(&[1.0_f32; LEN]).unwrap();
    let (x, scratch) = (device.buffer::<f32>(LEN).unwrap(), device.buffer::<f32>(LEN).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let device: &Device = &device;
            let (one, x, scratch) = (&one, &x, &scratch);
            scope.spawn(move || {
                for _ in 0..200 {
                    // By way of a buffer that both use: right only if no other submission comes in between.
                    let mut commands = device.commands();
                    commands.add(x, one, scratch).unwrap().copy(scratch, x).unwrap();
                    drop(commands.submit().unwrap());
                }
            });
        }
    });
    assert_eq!(x.to_vec().unwrap(), [400.0; LEN]);
}
