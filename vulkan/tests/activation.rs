//! Activations and SwiGLU beside their twins, over all magnitudes.

mod support;

use support::{assert_close, device, numbers, told};
use upbeat_kernels::twin::activation::{gelu, silu};
use upbeat_kernels::twin::functions::gelu_tanh;
use upbeat_kernels::{Activation, Element};

/// Subnormal results may be lost.
const LOST: f64 = 2e-38;

type Twin = fn(f64) -> f64;

fn relu(x: f64) -> f64 {
    if x < 0.0 {
        0.0
    } else {
        x
    }
}

/// Each activation, its twin, and what it may be off: a dozen ulp where a device divides to 2.5 ulp. GELU by tanh has an exponent of up
/// to 112 in its tail, which a rounding makes 2⁻¹⁸ off; results there are small.
const ACTIVATIONS: [(Activation, Twin, (f64, f64)); 5] = [
    (Activation::Identity, |x| x, (LOST, 0.0)),
    (Activation::Gelu, gelu, (LOST, 1.5e-6)),
    (Activation::GeluTanh, gelu_tanh, (2.4e-7, 1.5e-6)),
    (Activation::Silu, silu, (LOST, 1.5e-6)),
    (Activation::Relu, relu, (LOST, 0.0)),
];

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

/// Numbers of every magnitude and both signs, and what is special.
fn magnitudes() -> Vec<f32> {
    let every = (0..=u32::MAX).step_by(44_777).map(f32::from_bits);
    // Most of the former are far from where something happens.
    let near = numbers(60_000, 1).into_iter().map(|x| 16.0 * x);
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::MAX, f32::MIN];
    every.chain(near).chain(special).collect()
}

#[test]
fn activations_are_their_twins() {
    let Some(device) = device() else { return };
    let all = magnitudes();
    for len in [0, 1, 129, all.len()] {
        let x = &all[all.len() - len..];
        let dx = device.upload(x).unwrap();
        for (activation, twin, bounds) in ACTIVATIONS {
            let padded = device.upload(&vec![-7.0_f32; len + 2]).unwrap();
            let mut commands = device.commands();
            commands.activation(&dx, activation, &padded.slice(1..len + 1)).unwrap();
            commands.submit().unwrap().wait().unwrap();
            let found = padded.to_vec().unwrap();
            assert_eq!((found[0], found[len + 1]), (-7.0, -7.0), "nothing around it is written");
            let expected: Vec<_> = x.iter().map(|&x| twin(x.into())).collect();
            let what = format!("{activation:?} of {len}");
            assert_close(&what, &found[1..=len], &expected, bounds.0, bounds.1);
        }
    }
}

#[test]
fn an_activation_works_in_place() {
    let Some(device) = device() else { return };
    let x = device.upload(&[-1.0_f32, 2.0, -3.0]).unwrap();
    let mut commands = device.commands();
    commands.activation(&x, Activation::Relu, &x).unwrap();
    commands.submit().unwrap().wait().unwrap();
    assert_eq!(x.to_vec().unwrap(), [0.0, 2.0, 0.0]);
}

#[test]
fn swiglu_is_its_twin() {
    let Some(device) = device() else { return };
    for (rows, width) in [(0, 3), (1, 1), (5, 3), (7, 129), (3, 1000)] {
        let mut x: Vec<_> = numbers(2 * rows * width, 2).into_iter().map(|x| 8.0 * x).collect();
        if width == 129 {
            x[..4].copy_from_slice(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0]);
            x[3 * width..3 * width + 2].copy_from_slice(&[f32::NAN, f32::INFINITY]);
        }
        let padded = device.upload(&[&[f32::NAN][..], &x].concat()).unwrap();
        let out = device.buffer::<f32>(rows * width).unwrap();
        let mut commands = device.commands();
        commands.swiglu(&padded.slice(1..x.len() + 1), width, &out).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let mut expected = vec![0.0; rows * width];
        f64::swiglu_forward(&wide(&x), width, &mut expected).unwrap();
        let what = format!("SwiGLU of [{rows}, 2 · {width}]");
        assert_close(&what, &out.to_vec().unwrap(), &expected, LOST, 2e-6);
    }
}

#[test]
fn wrong_shapes_are_refused_before_anything_is_added() {
    let Some(device) = device() else { return };
    let (x, out) = (device.buffer::<f32>(12).unwrap(), device.buffer::<f32>(5).unwrap());
    let mut commands = device.commands();
    assert_eq!(
        told(commands.activation(&x, Activation::Gelu, &out)),
        "the length of out must be 12 but is 5"
    );
    assert_eq!(
        told(commands.swiglu(&x, 5, &out)),
        "the length of gate and up must be a multiple of 10 but is 12"
    );
    assert_eq!(told(commands.swiglu(&x, 6, &out)), "the length of SwiGLU's output must be 6 but is 5");
    assert_eq!(
        told(commands.swiglu(&x, 6, &x.slice(0..6))),
        "swiglu: what is written overlaps what else is read or written; give it a buffer of its own"
    );
    assert!(commands.is_empty());
}
