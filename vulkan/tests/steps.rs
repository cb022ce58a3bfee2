//! Small steps that wait for each other run in one dispatch, and nobody can tell by their numbers.

mod support;

use support::{device, numbers, open, options};
use upbeat_kernels::Activation;
use upbeat_vulkan::{Buffer, Device, Metrics, VulkanError};

/// What a list adds to the metrics.
fn metrics(device: &Device, list: impl FnOnce(&mut upbeat_vulkan::Commands)) -> Metrics {
    let before = device.metrics();
    let mut commands = device.commands();
    list(&mut commands);
    commands.submit().unwrap().wait().unwrap();
    let after = device.metrics();
    Metrics {
        dispatches: after.dispatches - before.dispatches,
        merged: after.merged - before.merged,
        barriers: after.barriers - before.barriers,
        ..Metrics::default()
    }
}

fn buffers(device: &Device, len: usize, count: u64) -> Vec<Buffer<f32>> {
    (0..count).map(|seed| device.upload(&numbers(len, seed)).unwrap()).collect()
}

#[test]
fn dependent_steps_are_one_dispatch_for_each_twelve() {
    let Some(device) = device() else { return };
    let (x, one) = (device.buffer::<f32>(64).unwrap(), device.upload(&[1.0_f32; 64]).unwrap());
    let found = metrics(&device, |commands| {
        for _ in 0..100 {
            commands.add(&x, &one, &x).unwrap();
        }
    });
    // 8 of twelve and one of four.
    assert_eq!((found.dispatches, found.merged), (100, 91));
    assert!(found.barriers <= 9, "{found:?}");
    assert_eq!(x.to_vec().unwrap(), [100.0; 64]);
}

#[test]
fn only_small_arithmetic_that_waits_is_merged() {
    let Some(device) = device() else { return };
    let merged = |len, list: &dyn Fn(&[Buffer<f32>], &mut upbeat_vulkan::Commands)| {
        let x = buffers(&device, len, 4);
        metrics(&device, |commands| list(&x, commands)).merged
    };
    let twice = |x: &[Buffer<f32>], commands: &mut upbeat_vulkan::Commands| {
        commands.scale(&x[0], 2.0, &x[1]).unwrap().scale(&x[1], 2.0, &x[2]).unwrap();
    };
    assert_eq!(merged(1024, &twice), 1);
    assert_eq!(merged(1025, &twice), 0, "enough numbers for several workgroups");
    let apart = |x: &[Buffer<f32>], commands: &mut upbeat_vulkan::Commands| {
        commands.scale(&x[0], 2.0, &x[1]).unwrap().scale(&x[2], 2.0, &x[3]).unwrap();
    };
    assert_eq!(merged(64, &apart), 0, "they may run at once");
    let between = |x: &[Buffer<f32>], commands: &mut upbeat_vulkan::Commands| {
        commands.scale(&x[0], 2.0, &x[1]).unwrap().softmax(&x[1], 8, &x[2]).unwrap();
        commands.scale(&x[2], 2.0, &x[3]).unwrap();
    };
    assert_eq!(merged(64, &between), 0, "a softmax is no step");
    let lengths = |x: &[Buffer<f32>], commands: &mut upbeat_vulkan::Commands| {
        commands.scale(&x[0], 2.0, &x[1]).unwrap();
        commands.scale(&x[1].slice(0..7), 2.0, &x[2].slice(0..7)).unwrap();
    };
    assert_eq!(merged(64, &lengths), 0, "steps have one length");
    let relu = |x: &[Buffer<f32>], commands: &mut upbeat_vulkan::Commands| {
        commands.sub(&x[0], &x[1], &x[2]).unwrap().activation(&x[2], Activation::Relu, &x[2]).unwrap();
        commands.activation(&x[2], Activation::Gelu, &x[3]).unwrap();
    };
    assert_eq!(merged(64, &relu), 1, "GELU is no step");
}

#[test]
fn who_measures_or_asks_for_it_has_each_alone() {
    for options in [options().merge_steps(false), options().timestamps(true)] {
        let Some(device) = open(options) else { return };
        let x = device.upload(&[1.0_f32; 8]).unwrap();
        let found = metrics(&device, |commands| {
            commands.scale(&x, 2.0, &x).unwrap().scale(&x, 3.0, &x).unwrap();
        });
        assert_eq!((found.dispatches, found.merged), (2, 0));
        assert_eq!(x.to_vec().unwrap(), [6.0; 8]);
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Random lists, on parts of few buffers that overlap in every way that is allowed.
fn random_work(device: &Device, seed: u64) -> Result<Vec<Vec<u32>>, VulkanError> {
    let mut random = Random(seed);
    let x = buffers(device, 1500, 3);
    x[0].slice(3..8).write(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-40])?;
    for _ in 0..4 {
        let mut commands = device.commands();
        let mut len = 1;
        for _ in 0..60 {
            if random.below(8) == 0 {
                len = [1, 2, 7, 64, 129, 700, 1024, 1100][random.below(8) as usize];
            }
            let mut part = || {
                let start = [0, 0, 1, 300][random.below(4) as usize];
                x[random.below(3) as usize].slice(start..start + len)
            };
            let (a, b, out) = (part(), part(), part());
            let s = [0.5, -1.5, f32::NAN, 0.0, -0.0, 1e-30, 3.0, 0.25, 7.0, -2.0][random.below(10) as usize];
            let outcome = match random.below(8) {
                0 => commands.scale(&a, s, &out),
                1 => commands.add(&a, &b, &out),
                2 => commands.sub(&a, &b, &out),
                3 => commands.mul(&a, &b, &out),
                4 => commands.add_scaled(&a, s, &b, &out),
                5 => commands.activation(&a, Activation::Relu, &out),
                6 => commands.copy(&a, &out),
                _ => commands.activation(&a, Activation::Silu, &out),
            };
            match outcome {
                // Parts that overlap within one piece of work.
                Ok(_) | Err(VulkanError::Aliased { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        drop(commands.submit()?);
    }
    let bits = |x: &Buffer<f32>| Ok(x.to_vec()?.into_iter().map(canonical).collect());
    x.iter().map(bits).collect()
}

/// Bits, but for which NaN it is.
fn canonical(x: f32) -> u32 {
    if x.is_nan() {
        f32::NAN.to_bits()
    } else {
        x.to_bits()
    }
}

#[test]
fn numbers_are_the_same_as_of_steps_alone() {
    let (Some(merging), Some(alone)) = (device(), open(options().merge_steps(false))) else { return };
    for seed in 0..30 {
        assert_eq!(random_work(&merging, seed).unwrap(), random_work(&alone, seed).unwrap(), "seed {seed}");
    }
    let (merged, alone) = (merging.metrics(), alone.metrics());
    assert!(merged.merged > 1000 && alone.merged == 0, "{} steps of {}", merged.merged, merged.dispatches);
    assert_eq!(merged.dispatches, alone.dispatches);
    assert!(merged.barriers < alone.barriers);
}
