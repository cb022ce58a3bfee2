//! Softmax and norms of rows beside their twins: every way of sharing a row out, special values, in place, parts of buffers.

mod support;

use support::{assert_close, device, numbers, shapes, told, Gpu};
use upbeat_kernels::Element;
use upbeat_vulkan::tuning::Tunable;
use upbeat_vulkan::{Buffer, Commands, VulkanError};

/// Rows and columns: one lane a row, many rows a workgroup, kept in registers up to 4096 columns, streamed beyond; more rows than
/// workgroups may be.
const SHAPES: [(usize, usize); 14] = [
    (0, 7),
    (1, 1),
    (300, 1),
    (5, 2),
    (259, 3),
    (33, 17),
    (3, 127),
    (4, 128),
    (3, 129),
    (2, 1000),
    (2, 4096),
    (2, 4097),
    (1, 100_003),
    (65_537, 65),
];

/// What softmax may be off: 2⁻¹⁸ for the rounding of `x - max`, which is below 128 where the result is not 0, and some ulp of `exp` and
/// of the sum; subnormal results may be lost.
const SOFTMAX: (f64, f64) = (2e-38, 6e-6);
/// `log` is promised to 2⁻²¹ near 1, and beside large differences to some ulp.
const LOG: (f64, f64) = (1e-6, 1e-6);
/// Of norms: results are of the order of 1, sums some ulp off.
const NORM: (f64, f64) = (2e-6, 2e-6);

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

/// What `record` makes of `x`, at an odd place of its buffer, and again in place.
fn run(
    device: &Gpu,
    x: &[f32],
    mut record: impl FnMut(&mut Commands, &Buffer<f32>, &Buffer<f32>) -> Result<(), VulkanError>,
) -> Vec<f32> {
    let padded = [&[f32::NAN][..], x, &[f32::NAN; 2]].concat();
    let from = device.upload(&padded).unwrap();
    let to = device.upload(&vec![-7.0_f32; x.len() + 4]).unwrap();
    let mut commands = device.commands();
    let part = from.slice(1..x.len() + 1);
    record(&mut commands, &part, &to.slice(3..x.len() + 3)).unwrap();
    record(&mut commands, &part, &part).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let (found, again) = (to.to_vec().unwrap(), from.to_vec().unwrap());
    assert_eq!([found[0], found[1], found[2], found[x.len() + 3]], [-7.0; 4], "nothing around it is written");
    assert!(again[0].is_nan() && again[x.len() + 1].is_nan(), "nothing around it is written");
    let found = found[3..x.len() + 3].to_vec();
    let differs = found.iter().zip(&again[1..]).position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differs, None, "in place it has the same bits");
    found
}

/// The logarithm of the twin's softmax, where it does not underflow as that does.
fn log_softmax(x: &[f64], cols: usize) -> Vec<f64> {
    let row = |x: &[f64]| {
        let largest = x.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        if largest == f64::NEG_INFINITY && !x.iter().any(|x| x.is_nan()) {
            return x.to_vec();
        }
        let log = x.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
        x.iter().map(|x| (x - largest) - log).collect()
    };
    x.chunks(cols.max(1)).flat_map(row).collect()
}

fn check_softmax(device: &Gpu, what: &str, x: &[f32], cols: usize) {
    let found = run(device, x, |commands, x, out| commands.softmax(x, cols, out).map(drop));
    let mut expected = vec![0.0; x.len()];
    f64::softmax_forward(&wide(x), cols, &mut expected).unwrap();
    assert_close(&format!("softmax {what}"), &found, &expected, SOFTMAX.0, SOFTMAX.1);
    let found = run(device, x, |commands, x, out| commands.log_softmax(x, cols, out).map(drop));
    assert_close(&format!("log-softmax {what}"), &found, &log_softmax(&wide(x), cols), LOG.0, LOG.1);
}

#[test]
fn softmax_is_its_twins() {
    let Some(device) = device() else { return };
    for (rows, cols) in SHAPES {
        for scale in [1.0, 60.0, 1e4] {
            let x: Vec<_> = numbers(rows * cols, 3).into_iter().map(|x| scale * x).collect();
            check_softmax(&device, &format!("of [{rows}, {cols}] up to {scale}"), &x, cols);
            if rows * cols > 1 << 20 {
                break;
            }
        }
    }
}

/// Kept in registers up to 16,384 columns.
#[test]
fn workgroups_of_every_size_give_what_the_twins_give() {
    let Some(device) = device() else { return };
    for (what, device) in shapes(&device, Tunable::Rows) {
        for (rows, cols) in SHAPES.into_iter().chain([(2, 255), (3, 513), (2, 8193), (1, 16_385)]) {
            if rows * cols > 1 << 20 {
                continue;
            }
            let x = numbers(rows * cols, 3);
            check_softmax(&device, &format!("of [{rows}, {cols}], {what}"), &x, cols);
            check_norms(&device, &format!("[{rows}, {cols}], {what}"), &x, cols, 1e-5, NORM);
        }
    }
}

#[test]
fn softmax_of_special_values_is_its_twins() {
    let Some(device) = device() else { return };
    const INF: f32 = f32::INFINITY;
    for cols in [1, 3, 130, 5000] {
        let mut x = numbers(9 * cols, 4);
        let mut row = |r: usize, value: f32, places: std::ops::Range<usize>| {
            x[r * cols..][places].fill(value);
        };
        row(0, -INF, 0..cols);
        row(1, f32::NAN, 0..1);
        row(2, -f32::NAN, cols - 1..cols);
        row(3, INF, cols / 2..cols / 2 + 1);
        row(4, -INF, 0..cols / 2);
        row(5, -INF, 0..cols);
        row(5, f32::NAN, cols / 2..cols / 2 + 1);
        row(6, -0.0, 0..cols);
        row(7, f32::MAX, 0..cols);
        row(8, f32::MIN, 0..cols);
        check_softmax(&device, &format!("of special rows of {cols}"), &x, cols);
    }
}

/// Which norm, with how it is recorded and its twin.
fn check_norms(device: &Gpu, what: &str, x: &[f32], cols: usize, epsilon: f64, bounds: (f64, f64)) {
    let (weight, bias) = (numbers(cols, 5), numbers(cols, 6));
    let (dw, db) = (device.upload(&weight).unwrap(), device.upload(&bias).unwrap());
    let (x64, w64, b64) = (wide(x), wide(&weight), wide(&bias));
    let rows = if x.is_empty() { 0 } else { x.len() / cols };
    let (mut expected, mut mean, mut rstd) = (vec![0.0; x.len()], vec![0.0; rows], vec![0.0; rows]);
    for (name, db, b64) in [("with", Some(&db), Some(&b64[..])), ("without", None, None)] {
        let found =
            run(device, x, |commands, x, out| commands.layer_norm(x, &dw, db, epsilon, out).map(drop));
        f64::layer_norm_forward(&x64, &w64, b64, epsilon, &mut expected, &mut mean, &mut rstd).unwrap();
        assert_close(&format!("LayerNorm {name} bias, {what}"), &found, &expected, bounds.0, bounds.1);
    }
    let found = run(device, x, |commands, x, out| commands.rms_norm(x, &dw, epsilon, out).map(drop));
    f64::rms_norm_forward(&x64, &w64, epsilon, &mut expected, &mut rstd).unwrap();
    assert_close(&format!("RMSNorm {what}"), &found, &expected, NORM.0, NORM.1);
}

#[test]
fn norms_are_their_twins() {
    let Some(device) = device() else { return };
    for (rows, cols) in SHAPES {
        let x = numbers(rows * cols, 7);
        check_norms(&device, &format!("[{rows}, {cols}]"), &x, cols, 1e-5, NORM);
    }
}

/// The mean is 3000 times the deviation: a variance from the mean of squares would be off by half, and a mean of one f32 by 1e-4 of
/// the result. The numbers themselves are exact, so that the twin has the same.
#[test]
fn layer_norm_does_not_cancel_beside_a_large_mean() {
    let Some(device) = device() else { return };
    for cols in [100, 1000, 10_000] {
        let x: Vec<_> = numbers(4 * cols, 8).into_iter().map(|x| 2000.0 + x).collect();
        check_norms(&device, &format!("rows of {cols} far from 0"), &x, cols, 1e-6, NORM);
        // Here the mean as one f32 is off by more than the deviation.
        let x: Vec<_> = numbers(4 * cols, 8).into_iter().map(|x| 1e7 + (4.0 * x).round()).collect();
        check_norms(&device, &format!("rows of {cols} farther from 0"), &x, cols, 1e-6, NORM);
    }
}

#[test]
fn norms_of_special_values_are_their_twins() {
    let Some(device) = device() else { return };
    for cols in [3, 130, 5000] {
        let mut x = numbers(5 * cols, 9);
        x[0] = f32::NAN;
        x[cols + cols / 2] = f32::INFINITY;
        x[3 * cols - 1] = f32::NEG_INFINITY;
        x[3 * cols..4 * cols].fill(0.1);
        x[4 * cols..].fill(0.0);
        check_norms(&device, &format!("special rows of {cols}"), &x, cols, 1e-5, NORM);
    }
}

/// As on the CPU.
#[test]
fn an_epsilon_is_a_number_of_at_least_0() {
    let Some(device) = device() else { return };
    let x = device.upload(&[1.0_f32; 12]).unwrap();
    let w = device.upload(&[1.0_f32; 4]).unwrap();
    type Norm = fn(&mut Commands, &Buffer<f32>, &Buffer<f32>, f64) -> Result<(), VulkanError>;
    let layer: Norm = |commands, x, w, epsilon| commands.layer_norm(x, w, None, epsilon, x).map(drop);
    let rms: Norm = |commands, x, w, epsilon| commands.rms_norm(x, w, epsilon, x).map(drop);
    for norm in [layer, rms] {
        for (epsilon, wrong) in [
            (f64::NAN, true),
            (-1e-9, true),
            (f64::INFINITY, true),
            (1e39, true),
            (0.0, false),
            (1e38, false),
        ] {
            let mut commands = device.commands();
            let record = std::panic::AssertUnwindSafe(|| norm(&mut commands, &x, &w, epsilon));
            let caught = std::panic::catch_unwind(record);
            assert_eq!(caught.is_err(), wrong, "{epsilon}");
            assert_eq!(commands.is_empty(), wrong, "{epsilon}");
        }
    }
}

#[test]
fn wrong_shapes_are_refused_before_anything_is_added() {
    let Some(device) = device() else { return };
    let x = device.upload(&[1.0_f32; 12]).unwrap();
    let mut commands = device.commands();
    assert_eq!(told(commands.softmax(&x, 5, &x)), "the length of x must be a multiple of 5 but is 12");
    assert_eq!(told(commands.softmax(&x, 0, &x)), "the length of x must be a multiple of 0 but is 12");
    assert_eq!(told(commands.log_softmax(&x, 4, &x.slice(0..8))), "the length of out must be 12 but is 8");
    let w = x.slice(0..5);
    assert_eq!(
        told(commands.rms_norm(&x, &w, 1e-5, &x)),
        "the length of x must be a multiple of 5 but is 12"
    );
    let (w, other) = (device.upload(&[1.0_f32; 4]).unwrap(), device.upload(&[1.0_f32; 5]).unwrap());
    assert_eq!(
        told(commands.layer_norm(&x, &w, Some(&other), 1e-5, &x)),
        "the length of the bias must be 4 but is 5"
    );
    assert_eq!(
        told(commands.layer_norm(&x, &w, None, 1e-5, &x.slice(0..8))),
        "the length of out must be 12 but is 8"
    );
    assert_eq!(
        told(commands.softmax(&x.slice(0..8), 4, &x.slice(4..12))),
        "softmax: what is written overlaps what else is read or written; give it a buffer of its own"
    );
    assert!(commands.is_empty());
}
