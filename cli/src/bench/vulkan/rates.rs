//! Rows that move numbers and compute little: copies, element-wise kernels, softmax, norms and sums of rows.

use upbeat_kernels::{twin, Activation};
use upbeat_vulkan::{Buffer, Commands, Device, VulkanError};

use super::case::{Beside, Case, Numbers, Sizes, Work};

/// Copies are to reach at least this share of the fastest one.
const COPY_GOAL: f64 = 0.9;
/// Other rows are to move at least this share of what copies move.
const STREAM_GOAL: f64 = 0.85;
/// Numbers of a part of an answer that has no rows.
const PART: usize = 1024;
/// Rows' widths: that of a small model, and of a large one.
const WIDTHS: [usize; 2] = [1024, 4096];
const EPSILON: f64 = 1e-5;
/// Kernels are off by some roundings of f32.
const TOLERANCE: f64 = 1e-5;

const X: Numbers = Numbers { seed: 1, low: -4.0, high: 4.0 };
const Y: Numbers = Numbers { seed: 2, low: -4.0, high: 4.0 };
const WEIGHT: Numbers = Numbers { seed: 3, low: 0.5, high: 1.5 };
const BIAS: Numbers = Numbers { seed: 4, low: -1.0, high: 1.0 };

/// As names of rows have it.
fn size(bytes: usize) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

type Make<S> = fn(&Device, S) -> Result<Work, VulkanError>;

/// Copies of buffers of several sizes, of which the fastest says what the device can.
pub(super) fn copies(sizes: Sizes, memory: u64) -> Vec<Case> {
    // A second pair must have room, and kernels count in 31 bits.
    let fits = |bytes: &usize| *bytes == sizes.bytes || (4 * *bytes as u64 <= memory && *bytes >> 33 == 0);
    let copy = |bytes: usize| {
        let name = format!("copy: {}", size(bytes));
        let moved = (2.0 * bytes as f64, "GB/s");
        Case::new(name, moved, Beside::Copies(Some(COPY_GOAL)), [bytes / 4, 4 * PART], copy as Make<usize>)
    };
    [1, 2, 4].map(|times| times * sizes.bytes).into_iter().filter(fits).map(copy).collect()
}

/// All other rows.
pub(super) fn cases(sizes: Sizes) -> Vec<Case> {
    let beside = Beside::Copies(Some(STREAM_GOAL));
    let bytes = sizes.bytes as f64;
    // What is moved, as a multiple of the largest buffer.
    let over_numbers: [(&str, f64, Make<usize>); 4] =
        [("scale", 2.0, scale), ("add", 3.0, add), ("GELU", 2.0, gelu), ("SwiGLU", 1.5, swiglu)];
    let over_rows: [(&str, f64, Make<[usize; 2]>); 4] = [
        ("softmax", 2.0, softmax),
        ("LayerNorm", 2.0, layer_norm),
        ("RMSNorm", 2.0, rms_norm),
        ("sum of rows", 1.0, sum_rows),
    ];
    let mut cases = Vec::new();
    for (name, streams, make) in over_numbers {
        let name = format!("{name}: {}", size(sizes.bytes));
        cases.push(Case::new(name, (streams * bytes, "GB/s"), beside, [sizes.bytes / 4, 4 * PART], make));
    }
    for (name, streams, make) in over_rows {
        for cols in WIDTHS {
            let cols = if sizes.small { cols / 8 + 1 } else { cols };
            let rows = sizes.bytes / 4 / cols;
            let moved = streams * (4 * rows * cols) as f64;
            let name = format!("{name}: {rows} x {cols}");
            cases.push(Case::new(name, (moved, "GB/s"), beside, [[rows, cols], [5, 333]], make));
        }
    }
    cases
}

/// Work on `len` numbers whose answer's part at `at` follows from the numbers at the same places.
fn over_numbers(
    out: Buffer<f32>,
    expected: impl Fn(std::ops::Range<usize>) -> Vec<f64> + 'static,
    record: impl Fn(&mut Commands, &Buffer<f32>) -> Result<(), VulkanError> + 'static,
) -> Work {
    let parts = out.len() / PART;
    let expected = move |part| expected(part * PART..(part + 1) * PART);
    Work::new(vec![out.clone()], parts, TOLERANCE, expected, move |commands| record(commands, &out))
}

fn copy(device: &Device, len: usize) -> Result<Work, VulkanError> {
    let x = X.upload::<f32>(device, len)?;
    let record = move |commands: &mut Commands, out: &Buffer<f32>| commands.copy(&x, out).map(|_| ());
    Ok(over_numbers(device.buffer(len)?, |at| X.wide::<f32>(at), record))
}

fn scale(device: &Device, len: usize) -> Result<Work, VulkanError> {
    let x = X.upload::<f32>(device, len)?;
    let expected = |at| X.wide::<f32>(at).into_iter().map(|x| 2.0 * x).collect();
    let record = move |commands: &mut Commands, out: &Buffer<f32>| commands.scale(&x, 2.0, out).map(|_| ());
    Ok(over_numbers(device.buffer(len)?, expected, record))
}

fn add(device: &Device, len: usize) -> Result<Work, VulkanError> {
    let (x, y) = (X.upload::<f32>(device, len)?, Y.upload::<f32>(device, len)?);
    let expected = |at: std::ops::Range<usize>| {
        let y = Y.wide::<f32>(at.clone());
        X.wide::<f32>(at).iter().zip(y).map(|(x, y)| x + y).collect()
    };
    let record = move |commands: &mut Commands, out: &Buffer<f32>| commands.add(&x, &y, out).map(|_| ());
    Ok(over_numbers(device.buffer(len)?, expected, record))
}

fn gelu(device: &Device, len: usize) -> Result<Work, VulkanError> {
    let x = X.upload::<f32>(device, len)?;
    let expected = |at| X.wide::<f32>(at).into_iter().map(twin::activation::gelu).collect();
    let record = move |commands: &mut Commands, out: &Buffer<f32>| {
        commands.activation(&x, Activation::Gelu, out).map(|_| ())
    };
    Ok(over_numbers(device.buffer(len)?, expected, record))
}

/// `len` numbers in rows of a gate and what it lets through, [`PART`] each.
fn swiglu(device: &Device, len: usize) -> Result<Work, VulkanError> {
    let x = X.upload::<f32>(device, len)?;
    let expected = |at: std::ops::Range<usize>| {
        let mut out = vec![0.0; PART];
        let gate_up = X.wide::<f32>(2 * at.start..2 * at.end);
        twin::activation::swiglu_forward(&gate_up, PART, &mut out).expect("a row");
        out
    };
    let record = move |commands: &mut Commands, out: &Buffer<f32>| commands.swiglu(&x, PART, out).map(|_| ());
    Ok(over_numbers(device.buffer(len / 2)?, expected, record))
}

/// Work on rows that are each computed from `x` by `expected`.
fn over_rows(
    [rows, cols]: [usize; 2],
    out: Buffer<f32>,
    expected: impl Fn(&[f64]) -> Vec<f64> + 'static,
    record: impl Fn(&mut Commands, &Buffer<f32>) -> Result<(), VulkanError> + 'static,
) -> Work {
    let expected = move |row| expected(&X.wide::<f32>(row * cols..(row + 1) * cols));
    Work::new(vec![out.clone()], rows, TOLERANCE, expected, move |commands| record(commands, &out))
}

fn softmax(device: &Device, shape: [usize; 2]) -> Result<Work, VulkanError> {
    let [rows, cols] = shape;
    let x = X.upload::<f32>(device, rows * cols)?;
    let expected = |x: &[f64]| {
        let mut out = vec![0.0; x.len()];
        twin::softmax::softmax_forward(x, x.len(), &mut out).expect("a row");
        out
    };
    let record =
        move |commands: &mut Commands, out: &Buffer<f32>| commands.softmax(&x, cols, out).map(|_| ());
    Ok(over_rows(shape, device.buffer(rows * cols)?, expected, record))
}

fn layer_norm(device: &Device, shape: [usize; 2]) -> Result<Work, VulkanError> {
    let [rows, cols] = shape;
    let x = X.upload::<f32>(device, rows * cols)?;
    let (weight, bias) = (WEIGHT.upload::<f32>(device, cols)?, BIAS.upload::<f32>(device, cols)?);
    let expected = move |x: &[f64]| {
        let (weight, bias) = (WEIGHT.wide::<f32>(0..cols), BIAS.wide::<f32>(0..cols));
        let (mut out, mut mean, mut rstd) = (vec![0.0; cols], [0.0], [0.0]);
        twin::norm::layer_norm_forward(x, &weight, Some(&bias), EPSILON, &mut out, &mut mean, &mut rstd)
            .expect("a row");
        out
    };
    let record = move |commands: &mut Commands, out: &Buffer<f32>| {
        commands.layer_norm(&x, &weight, Some(&bias), EPSILON, out).map(|_| ())
    };
    Ok(over_rows(shape, device.buffer(rows * cols)?, expected, record))
}

fn rms_norm(device: &Device, shape: [usize; 2]) -> Result<Work, VulkanError> {
    let [rows, cols] = shape;
    let x = X.upload::<f32>(device, rows * cols)?;
    let weight = WEIGHT.upload::<f32>(device, cols)?;
    let expected = move |x: &[f64]| {
        let (mut out, mut rstd) = (vec![0.0; cols], [0.0]);
        let weight = WEIGHT.wide::<f32>(0..cols);
        twin::norm::rms_norm_forward(x, &weight, EPSILON, &mut out, &mut rstd).expect("a row");
        out
    };
    let record = move |commands: &mut Commands, out: &Buffer<f32>| {
        commands.rms_norm(&x, &weight, EPSILON, out).map(|_| ())
    };
    Ok(over_rows(shape, device.buffer(rows * cols)?, expected, record))
}

/// Numbers of one sign: a sum near 0 would be compared with next to nothing.
fn sum_rows(device: &Device, [rows, cols]: [usize; 2]) -> Result<Work, VulkanError> {
    let (x, out) = (WEIGHT.upload::<f32>(device, rows * cols)?, device.buffer(rows)?);
    let expected = move |row| vec![WEIGHT.wide::<f32>(row * cols..(row + 1) * cols).iter().sum()];
    Ok(Work::new(vec![out.clone()], rows, TOLERANCE, expected, move |commands| {
        commands.sum_rows(&x, cols, &out).map(|_| ())
    }))
}
