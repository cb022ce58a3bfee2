//! Products of f16 through cooperative matrices, beside their f64 twin and the same without. They are skipped, and say so, where the device
//! has none: Mesa's driver for CPUs has them from version 25.1 on.

#[path = "support/product.rs"]
mod product;
mod support;

use product::{check_within, epilogues, exact, exact_in_all_ways, Case, ROUNDING, TRANSPOSES};
use support::{device, numbers, open, options, shapes, Gpu};
use upbeat_vulkan::tuning::Tunable;
use upbeat_vulkan::{f16, Gemm, Matrix};

/// Sums may be cut off instead of rounded, at twice the error.
const CUT: f64 = 2.0 * ROUNDING;

/// A device with cooperative matrices.
fn cooperative() -> Option<Gpu> {
    let device = device()?;
    if device.limits().cooperative.is_none() {
        let name = &device.info().name;
        eprintln!(
            "SKIPPED: {name} has no cooperative matrices of f16 with sums of f32, or they are turned off"
        );
        return None;
    }
    Some(device)
}

/// `[m, k, n]` of more rows than are streamed past: what fills no matrix, no tile or no eight, and what fills them exactly.
const SHAPES: [[usize; 3]; 15] = [
    [9, 0, 40],
    [9, 4, 0],
    [9, 1, 1],
    [9, 32, 64],
    [16, 16, 16],
    [31, 33, 65],
    [33, 31, 17],
    [64, 16, 64],
    [64, 64, 128],
    [65, 100, 129],
    [72, 40, 88],
    [130, 40, 36],
    [257, 19, 1],
    [128, 96, 256],
    [515, 17, 516],
];

#[test]
fn whole_numbers_give_the_twins_bits() {
    let Some(device) = cooperative() else { return };
    exact_in_all_ways::<f16, f16>(&device, &SHAPES, &[0, 1, 4, 8]);
}

/// What a table may choose is as right as what the kernel takes by itself; the last two are what a GPU takes middle and wide tiles for.
#[test]
fn every_tile_gives_the_twins_bits() {
    let Some(device) = cooperative() else { return };
    for tunable in [Tunable::CooperativeWide, Tunable::CooperativeMiddle, Tunable::CooperativeLow] {
        for (what, device) in shapes(&device, tunable) {
            eprintln!("{what}");
            for (at, shape) in SHAPES.into_iter().chain([[601, 9, 603], [1501, 5, 1404]]).enumerate() {
                let (transpose, gap) = (TRANSPOSES[at % 4], [0, 1, 8][at % 3]);
                exact::<f16, f16>(&device, &Case { shape, transpose, gap, ..Case::plain(0, 0, 0) });
            }
            for transpose in TRANSPOSES {
                for [m, n] in [[70, 90], [40, 90], [20, 90]] {
                    let case = Case { transpose, bias: true, residual: true, ..Case::plain(m, 67, n) };
                    check_within::<f16, f16>(&device, &case, CUT);
                }
            }
        }
    }
}

#[test]
fn sums_are_of_f32() {
    let Some(device) = cooperative() else { return };
    for shape in SHAPES {
        for (transpose, gap) in TRANSPOSES.into_iter().zip([0, 3, 8, 1]) {
            check_within::<f16, f16>(&device, &Case { shape, transpose, gap, ..Case::plain(0, 0, 0) }, CUT);
        }
    }
    // Long ones, which f16 could not hold, and which f32 must be rounded in.
    for transpose in TRANSPOSES {
        check_within::<f16, f16>(&device, &Case { transpose, ..Case::plain(40, 5000, 70) }, CUT);
    }
    let [m, k, n] = [16, 70_000, 8];
    let ones = device.upload(&vec![f16::ONE; m.max(n) * k]).unwrap();
    let c = device.buffer::<f32>(m * n).unwrap();
    let (a, b) = (Matrix::strided(&ones, m, k, k).unwrap(), Matrix::strided(&ones, k, n, n).unwrap());
    let mut commands = device.commands();
    commands.gemm(&Gemm::new(a, b, Matrix::new(&c, m, n).unwrap())).unwrap();
    commands.submit().unwrap().wait().unwrap();
    assert_eq!(c.to_vec().unwrap(), vec![k as f32; m * n]);
}

#[test]
fn epilogues_are_the_twins() {
    let Some(device) = cooperative() else { return };
    for shape in [[40, 65, 70], [96, 24, 136], [12, 0, 9]] {
        for case in epilogues(shape, |bits| bits % 3) {
            check_within::<f16, f16>(&device, &case, CUT);
        }
    }
}

/// Random factors `[m, k]` and `[k, n]` on a device, their product, and the kernels that computed it.
fn product(device: &Gpu, [m, k, n]: [usize; 3]) -> (Vec<f32>, Vec<&'static str>) {
    let halves = |len, seed| numbers(len, seed).into_iter().map(f16::from_f32).collect::<Vec<_>>();
    let (a, b) = (device.upload(&halves(m * k, 1)).unwrap(), device.upload(&halves(k * n, 2)).unwrap());
    let c = device.buffer::<f32>(m * n).unwrap();
    let (a, b) = (Matrix::new(&a, m, k).unwrap(), Matrix::new(&b, k, n).unwrap());
    let mut commands = device.commands();
    commands.gemm(&Gemm::new(a, b, Matrix::new(&c, m, n).unwrap())).unwrap();
    commands.submit().unwrap().wait().unwrap();
    (c.to_vec().unwrap(), device.metrics().kernels.iter().map(|kernel| kernel.name).collect())
}

#[test]
fn they_are_used_where_they_are_and_not_where_they_are_turned_off() {
    let Some(device) = cooperative() else { return };
    if device.limits().tick_ns == 0.0 {
        return eprintln!("SKIPPED: the device does not tell which kernels ran");
    }
    let with = open(options().timestamps(true)).unwrap();
    let without = open(options().timestamps(true).cooperative_matrices(false)).unwrap();
    assert!(with.limits().cooperative.is_some() && without.limits().cooperative.is_none());
    let shape = [70, 200, 90];
    let (found, kernels) = product(&with, shape);
    assert_eq!(kernels, ["gemm_cooperative"]);
    let (other, kernels) = product(&without, shape);
    assert_eq!(kernels, ["gemm_ab16"]);
    // All factors are at most 1.
    let bound = 3.0 * (shape[1] + 24) as f32 * ROUNDING as f32 * shape[1] as f32;
    assert!(found.iter().zip(&other).all(|(x, y)| (x - y).abs() <= bound));
    // Few rows are streamed past, with or without.
    let few = open(options().timestamps(true)).unwrap();
    assert_eq!(product(&few, [8, 200, 90]).1, ["gemv_ab16"]);
}

#[test]
fn the_same_product_gives_the_same_bits() {
    let Some(device) = cooperative() else { return };
    let bits = || product(&device, [150, 300, 170]).0.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let first = bits();
    assert_eq!(bits(), first);
    assert_eq!(bits(), first);
}

#[test]
fn infinity_and_nan_stay_in_their_rows_and_columns() {
    let Some(device) = cooperative() else { return };
    for [m, k, n] in [[13, 9, 10], [40, 40, 72], [70, 33, 35]] {
        let mut a = vec![f16::ONE; m * k];
        (a[k], a[2 * k + k - 1]) = (f16::INFINITY, f16::NAN);
        let mut b = vec![f16::ONE; k * n];
        b[n - 1] = f16::NEG_INFINITY;
        let (a, b) = (device.upload(&a).unwrap(), device.upload(&b).unwrap());
        // What is overwritten is not read.
        let c = device.upload(&vec![f32::NAN; m * n]).unwrap();
        let (a, b) = (Matrix::new(&a, m, k).unwrap(), Matrix::new(&b, k, n).unwrap());
        let mut commands = device.commands();
        commands.gemm(&Gemm::new(a, b, Matrix::new(&c, m, n).unwrap())).unwrap();
        commands.submit().unwrap().wait().unwrap();
        for (at, found) in c.to_vec().unwrap().into_iter().enumerate() {
            let expected = match [at / n, at % n] {
                [2, _] => f32::NAN,
                // The infinite ones of A and B meet.
                [1, j] if j == n - 1 => f32::NEG_INFINITY,
                [1, _] => f32::INFINITY,
                [_, j] if j == n - 1 => f32::NEG_INFINITY,
                _ => k as f32,
            };
            let fits = found == expected || (found.is_nan() && expected.is_nan());
            assert!(fits, "[{}, {}] of {m} x {n} is {found}, not {expected}", at / n, at % n);
        }
    }
}
