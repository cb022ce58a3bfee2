//! Flows beside their f64 twins and beside what the equations keep.

mod support;

use support::{assert_close, device, numbers};
use upbeat_kernels::flow::{mass, range, GrayScott, Ricci};
use upbeat_kernels::twin;
use upbeat_vulkan::{Buffer, Device, VulkanError};

const SHAPES: [[usize; 2]; 11] = [
    [0, 3],
    [1, 1],
    [1, 2],
    [2, 1],
    [1, 300],
    [300, 1],
    [3, 5],
    [17, 129],
    [65, 191],
    [131, 209],
    [37, 1100],
];
const REACTION: GrayScott = GrayScott { du: 0.16, dv: 0.08, feed: 0.06, kill: 0.062, h: 1.0, dt: 1.0 };
const FLOW: Ricci = Ricci { h: 0.5, dt: 0.03 };

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Between 0 and 1, and between 0.5 and 1.5.
fn fraction([rows, cols]: [usize; 2], seed: u64) -> Vec<f32> {
    numbers(rows * cols, seed).into_iter().map(|x| 0.5 + 0.5 * x).collect()
}
fn metric(shape: [usize; 2]) -> Vec<f32> {
    fraction(shape, 7).into_iter().map(|x| 0.5 + x).collect()
}

fn reacted(device: &Device, shape: [usize; 2], steps: usize, u: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let on = |x: &[f32]| device.upload(x).unwrap();
    let fields = [[on(u), on(v)], [on(u), on(v)]];
    let mut commands = device.commands();
    for step in 0..steps {
        let ([from_u, from_v], [to_u, to_v]) = (&fields[step % 2], &fields[(step + 1) % 2]);
        commands.gray_scott(&REACTION, shape, [from_u, from_v], [to_u, to_v]).unwrap();
    }
    commands.submit().unwrap().wait().unwrap();
    let [u, v] = &fields[steps % 2];
    (u.to_vec().unwrap(), v.to_vec().unwrap())
}

fn flowed(device: &Device, shape: [usize; 2], steps: usize, w: &[f32]) -> Vec<f32> {
    let fields: [Buffer<f32>; 2] = [0, 1].map(|_| device.upload(w).unwrap());
    let mut commands = device.commands();
    for step in 0..steps {
        commands.ricci(&FLOW, 0.5, shape, &fields[step % 2], &fields[(step + 1) % 2]).unwrap();
    }
    commands.submit().unwrap().wait().unwrap();
    fields[steps % 2].to_vec().unwrap()
}

#[test]
fn flows_are_what_their_twins_compute() {
    let Some(device) = device() else { return };
    for shape in SHAPES {
        for steps in [1, 2, 20] {
            let (u, v) = (fraction(shape, 1), fraction(shape, 2));
            let (mut exact_u, mut exact_v) = (wide(&u), wide(&v));
            twin::flow::gray_scott(&REACTION, shape, steps, &mut exact_u, &mut exact_v).unwrap();
            let (found_u, found_v) = reacted(&device, shape, steps, &u, &v);
            // A step rounds eight times at most, of numbers below 2; later steps do not magnify it.
            let bound = steps as f64 * 8.0 * f64::from(f32::EPSILON);
            assert_close(&format!("u {shape:?}, {steps} steps"), &found_u, &exact_u, bound, 0.0);
            assert_close(&format!("v {shape:?}, {steps} steps"), &found_v, &exact_v, bound, 0.0);

            let w = metric(shape);
            let mut exact = wide(&w);
            twin::flow::ricci(&FLOW, shape, steps, &mut exact).unwrap();
            // Vulkan's logarithm errs by 5e-7 near 1; four of them, times dt/h² = 0.12, a step.
            let bound = steps as f64 * 5e-7;
            assert_close(
                &format!("w {shape:?}, {steps} steps"),
                &flowed(&device, shape, steps, &w),
                &exact,
                bound,
                0.0,
            );
        }
    }
}

#[test]
fn nothing_but_u_stays_so_exactly() {
    let Some(device) = device() else { return };
    let (u, v) = reacted(&device, [33, 65], 50, &[1.0; 33 * 65], &[0.0; 33 * 65]);
    assert!(u.iter().all(|&u| u == 1.0) && v.iter().all(|&v| v == 0.0));
}

#[test]
fn a_shifted_start_gives_the_shifted_result_to_the_bit() {
    let Some(device) = device() else { return };
    let shape = [30, 144];
    let shifted = |x: &[f32]| -> Vec<f32> {
        (0..30 * 144).map(|i| x[(i / 144 + 11) % 30 * 144 + (i % 144 + 17) % 144]).collect()
    };
    let (u, v, w) = (fraction(shape, 1), fraction(shape, 2), metric(shape));
    let plain = reacted(&device, shape, 25, &u, &v);
    let moved = reacted(&device, shape, 25, &shifted(&u), &shifted(&v));
    assert!(moved.0 == shifted(&plain.0) && moved.1 == shifted(&plain.1));
    assert_eq!(flowed(&device, shape, 25, &shifted(&w)), shifted(&flowed(&device, shape, 25, &w)));
}

#[test]
fn the_surface_keeps_its_area_and_flattens() {
    let Some(device) = device() else { return };
    let shape = [40, 56];
    let w = metric(shape);
    let after = flowed(&device, shape, 400, &w);
    assert!((mass(&after) - mass(&w)).abs() < 1e-4 * mass(&w), "{} {}", mass(&after), mass(&w));
    let (before, after) = (range(&w).unwrap(), range(&after).unwrap());
    assert!(after.0 > before.0 && after.1 < before.1 && after.1 - after.0 < 0.1, "{before:?} {after:?}");
}

#[test]
fn steps_too_long_and_wrong_fields_are_refused() {
    let Some(device) = device() else { return };
    let x = device.upload(&[1.0_f32; 16]).unwrap();
    let out = device.buffer::<f32>(16).unwrap();
    let mut commands = device.commands();
    let told = |outcome: Result<&mut _, VulkanError>| {
        outcome.map(|_: &mut upbeat_vulkan::Commands| ()).unwrap_err().to_string()
    };
    let fast = Ricci { dt: 0.1, ..FLOW };
    assert_eq!(
        told(commands.ricci(&fast, 0.5, [4, 4], &x, &out)),
        "the step dt = 0.1 is unstable: dt ≤ h²·min(w)/4 allows at most 0.03125"
    );
    assert!(told(commands.ricci(&FLOW, 0.0, [4, 4], &x, &out)).starts_with("the smallest w must be"));
    assert_eq!(told(commands.ricci(&FLOW, 0.5, [4, 5], &x, &out)), "w must be 20 but is 16");
    assert!(told(commands.ricci(&FLOW, 0.5, [4, 4], &x, &x)).starts_with("ricci: what is written overlaps"));
    let fast = GrayScott { dt: 2.0, ..REACTION };
    assert!(told(commands.gray_scott(&fast, [4, 4], [&x, &x], [&out, &out])).contains("unstable"));
    assert!(commands.is_empty());
}
