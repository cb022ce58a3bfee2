//! Sums, means and extremes beside sums in f64; the bits of a row beside those of its numbers alone.

mod support;

use support::{assert_close, device, numbers, shapes, told, Gpu};
use upbeat_vulkan::tuning::Tunable;
use upbeat_vulkan::{Buffer, Commands, VulkanError};

/// Rows and columns: several rows a workgroup, one, pieces of rows, more rows than workgroups may be.
const SHAPES: [(usize, usize); 13] = [
    (0, 5),
    (3, 0),
    (1, 1),
    (70, 1),
    (33, 7),
    (2, 128),
    (3, 1000),
    (2, 8192),
    (3, 8193),
    (2, 20_000),
    (1, 1_000_003),
    (65_600, 65),
    (1, 8192 * 513 + 1),
];

type Method =
    for<'a> fn(&'a mut Commands, &Buffer<f32>, usize, &Buffer<f32>) -> Result<&'a mut Commands, VulkanError>;
type Twin = fn(&[f32]) -> f64;

/// What a sum may be off, of the sum of magnitudes: 16 summands in each of four sums, 2 joins and 7 of the tree, for two passes.
const SUM: f64 = 2.0 * 25.0 / (1 << 24) as f64;

fn sum(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x)).sum()
}

fn extreme(x: &[f32], sign: f64) -> f64 {
    let most = x.iter().map(|&x| sign * f64::from(x)).fold(f64::NEG_INFINITY, |a, b| {
        if a.is_nan() || b.is_nan() {
            f64::NAN
        } else {
            a.max(b)
        }
    });
    sign * most
}

const REDUCTIONS: [(&str, Method, Twin); 4] = [
    ("sum", Commands::sum_rows, sum),
    ("mean", Commands::mean_rows, |x| sum(x) / x.len() as f64),
    ("max", Commands::max_rows, |x| extreme(x, 1.0)),
    ("min", Commands::min_rows, |x| extreme(x, -1.0)),
];

/// All four of each row, from an odd place to an odd place.
fn reduced(device: &Gpu, x: &[f32], cols: usize, rows: usize) -> [Vec<f32>; 4] {
    let from = device.upload(&[&[f32::NAN][..], x, &[f32::NAN]].concat()).unwrap();
    let out = device.upload(&vec![-7.0_f32; 4 * rows + 2]).unwrap();
    let mut commands = device.commands();
    for (i, (_, method, _)) in REDUCTIONS.iter().enumerate() {
        let out = out.slice(1 + i * rows..1 + (i + 1) * rows);
        method(&mut commands, &from.slice(1..x.len() + 1), cols, &out).unwrap();
    }
    commands.submit().unwrap().wait().unwrap();
    let found = out.to_vec().unwrap();
    assert_eq!((found[0], found[4 * rows + 1]), (-7.0, -7.0), "nothing around it is written");
    [0, 1, 2, 3].map(|i| found[1 + i * rows..][..rows].to_vec())
}

fn check(what: &str, x: &[f32], cols: usize, found: &[Vec<f32>; 4]) {
    for ((name, _, twin), found) in REDUCTIONS.iter().zip(found) {
        for (r, &found) in found.iter().enumerate() {
            let row = &x[r * cols..][..cols];
            let magnitudes: f64 = row.iter().map(|&x| f64::from(x.abs())).sum();
            let bound = match *name {
                "sum" => SUM * magnitudes,
                "mean" => SUM * magnitudes / cols.max(1) as f64,
                _ => 0.0,
            };
            let bound = if bound.is_finite() { bound } else { 0.0 };
            assert_close(&format!("{name} of row {r} of {what}"), &[found], &[twin(row)], bound, 2e-7);
        }
    }
}

#[test]
fn workgroups_of_every_size_give_what_f64_gives() {
    let Some(device) = device() else { return };
    for (what, device) in shapes(&device, Tunable::Rows) {
        for (rows, cols) in SHAPES.into_iter().filter(|(rows, cols)| rows * cols <= 1_000_003) {
            let x = numbers(rows * cols, 1);
            check(&format!("[{rows}, {cols}], {what}"), &x, cols, &reduced(&device, &x, cols, rows));
        }
    }
}

#[test]
fn reductions_of_rows_are_those_in_f64() {
    let Some(device) = device() else { return };
    for (rows, cols) in SHAPES {
        let x = numbers(rows * cols, 1);
        check(&format!("[{rows}, {cols}]"), &x, cols, &reduced(&device, &x, cols, rows));
    }
}

#[test]
fn special_values_are_seen_wherever_they_are() {
    let Some(device) = device() else { return };
    const INF: f32 = f32::INFINITY;
    for cols in [1, 3, 129, 8200] {
        let mut x = numbers(7 * cols, 2);
        for (r, value) in [f32::NAN, -f32::NAN, INF, -INF, -0.0, f32::MAX].into_iter().enumerate() {
            x[r * cols + (r * 77) % cols] = value;
        }
        x[4 * cols..5 * cols].fill(-0.0);
        x[5 * cols..6 * cols].fill(1e-30);
        x[6 * cols..].fill(-INF);
        check(&format!("special rows of {cols}"), &x, cols, &reduced(&device, &x, cols, 7));
    }
}

#[test]
fn a_row_has_the_bits_of_its_numbers_alone() {
    let Some(device) = device() else { return };
    let (rows, cols) = (5, 30_011);
    let x = numbers(rows * cols, 3);
    let dx = device.upload(&x).unwrap();
    let [sums, ..] = reduced(&device, &x, cols, rows);
    let outs = device.buffer::<f32>(4 * rows).unwrap();
    let mut commands = device.commands();
    for r in 0..rows {
        let row = dx.slice(r * cols..(r + 1) * cols);
        let out = |i: usize| outs.slice(4 * r + i..4 * r + i + 1);
        commands.sum(&row, &out(0)).unwrap();
        commands.mean(&row, &out(1)).unwrap();
        commands.max(&row, &out(2)).unwrap();
        commands.min(&row, &out(3)).unwrap();
    }
    commands.submit().unwrap().wait().unwrap();
    let found = outs.to_vec().unwrap();
    for r in 0..rows {
        assert_eq!(found[4 * r].to_bits(), sums[r].to_bits(), "row {r}");
        let row = &x[r * cols..][..cols];
        check("one alone", row, cols, &[0, 1, 2, 3].map(|i| vec![found[4 * r + i]]));
    }
}

#[test]
fn wrong_shapes_are_refused_before_anything_is_added() {
    let (Some(device), Some(other)) = (device(), device()) else { return };
    let x = device.buffer::<f32>(20_000).unwrap();
    let mut commands = device.commands();
    assert_eq!(told(commands.sum(&x, &x.slice(0..2))), "the length of out must be 1 but is 2");
    assert_eq!(told(commands.max_rows(&x, 7, &x.slice(0..2))), "the length of x must be 14 but is 20000");
    assert_eq!(
        told(commands.min_rows(&x.slice(0..14), 7, &x.slice(3..5))),
        "min_rows: what is written overlaps what else is read or written; give it a buffer of its own"
    );
    // Its first pass would be added before the second one finds that out.
    let foreign = other.buffer::<f32>(1).unwrap();
    assert_eq!(
        told(commands.mean(&x, &foreign)),
        "a buffer belongs to another device; copy it through the host"
    );
    assert!(commands.is_empty());
}
