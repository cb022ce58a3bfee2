//! Steps of flows, which read and write each field once.

use upbeat_kernels::flow::{GrayScott, Ricci};
use upbeat_kernels::twin;
use upbeat_vulkan::{Device, VulkanError};

use super::case::{Beside, Case, Numbers, Sizes, Work};

/// A step is to move at least this share of what copies move.
const GOAL: f64 = 0.85;
/// Kernels are off by some roundings of f32.
const TOLERANCE: f64 = 1e-5;
/// Nowhere below 1, for which this step is stable.
const W: Numbers = Numbers { seed: 12, low: 1.0, high: 2.0 };
const RICCI: Ricci = Ricci { h: 1.0, dt: 0.2 };

const U: Numbers = Numbers { seed: 10, low: 0.5, high: 1.0 };
const V: Numbers = Numbers { seed: 11, low: 0.0, high: 0.25 };

/// The rows.
pub(super) fn cases(sizes: Sizes) -> Vec<Case> {
    // The largest square whose fields are no larger than other rows' buffers.
    let side = 1_usize << ((sizes.bytes / 4).ilog2() / 2);
    let shapes = [[side, side], [19, 45]];
    let moved = |fields: f64| (fields * 2.0 * (4 * side * side) as f64, "GB/s");
    let beside = Beside::Copies(Some(GOAL));
    vec![
        Case::new(format!("Gray-Scott: {side} x {side}"), moved(2.0), beside, shapes, gray_scott),
        Case::new(format!("Ricci: {side} x {side}"), moved(1.0), beside, shapes, ricci),
    ]
}

/// A row of a field with the ones above and below it: what the row of the next step follows from.
fn around(field: Numbers, [rows, cols]: [usize; 2], row: usize) -> Vec<f64> {
    let three = [row + rows - 1, row, row + 1].map(|row| row % rows);
    three.into_iter().flat_map(|row| field.wide::<f32>(row * cols..(row + 1) * cols)).collect()
}

fn gray_scott(device: &Device, shape: [usize; 2]) -> Result<Work, VulkanError> {
    let [rows, cols] = shape;
    let params = GrayScott::MITOSIS;
    let (u, v) = (U.upload::<f32>(device, rows * cols)?, V.upload::<f32>(device, rows * cols)?);
    let (next_u, next_v) = (device.buffer(rows * cols)?, device.buffer(rows * cols)?);
    let expected = move |row| {
        let (mut u, mut v) = (around(U, shape, row), around(V, shape, row));
        twin::flow::gray_scott(&params, [3, cols], 1, &mut u, &mut v).expect("three rows");
        [&u[cols..2 * cols], &v[cols..2 * cols]].concat()
    };
    let outs = vec![next_u.clone(), next_v.clone()];
    Ok(Work::new(outs, rows, TOLERANCE, expected, move |commands| {
        commands.gray_scott(&params, shape, [&u, &v], [&next_u, &next_v]).map(|_| ())
    }))
}

fn ricci(device: &Device, shape: [usize; 2]) -> Result<Work, VulkanError> {
    let [rows, cols] = shape;
    let (w, next) = (W.upload::<f32>(device, rows * cols)?, device.buffer(rows * cols)?);
    let expected = move |row| {
        let mut w = around(W, shape, row);
        twin::flow::ricci(&RICCI, [3, cols], 1, &mut w).expect("three rows");
        w[cols..2 * cols].to_vec()
    };
    Ok(Work::new(vec![next.clone()], rows, TOLERANCE, expected, move |commands| {
        commands.ricci(&RICCI, W.low.into(), shape, &w, &next).map(|_| ())
    }))
}
