//! Promises of the element-wise, normalisation, loss, table and optimizer kernels: they agree with their f64 twins over
//! odd, empty and one-element shapes that end at a guarded page, at every level, whether they overwrite or add.
//!
//! Errors are measured against the largest number of the twin's output, or against 1 (the size of the inputs) where
//! all are smaller, in units of `u = 2⁻²⁴`.

mod common;

use common::{wide, Numbers, PageEnd};
use upbeat_kernels::{AdamW, DecodeElement, Element, RopeShape, Write};

const WRITES: [Write; 2] = [Write::Overwrite, Write::Add];
/// Lengths around every level's lanes and unrolling, and one of several blocks.
const LENGTHS: [usize; 16] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 31, 33, 64, 1000, 70_001];
/// `[rows, cols]`, the last ones of several blocks.
const SHAPES: [(usize, usize); 13] = [
    (0, 5),
    (1, 1),
    (3, 1),
    (1, 7),
    (5, 8),
    (4, 17),
    (3, 33),
    (7, 64),
    (2, 65),
    (3, 129),
    (1100, 65),
    (200, 384),
    (70_000, 1),
];

fn guarded<E: Element>(all: &[Vec<f32>]) -> Vec<PageEnd<E>> {
    let wide = |x: &Vec<f32>| x.iter().map(|&x| E::from_f64(f64::from(x))).collect::<Vec<E>>();
    all.iter().map(|x| PageEnd::copied(&wide(x))).collect()
}

/// Runs `body` in f32 and in f64 on guarded copies of the inputs and outputs, and compares all outputs.
macro_rules! agree {
    ($what:expr, $units:expr, [$($input:expr),*], [$($output:expr),*], |$e:ident, $i:ident, $o:ident| $body:expr) => {{
        let inputs: Vec<Vec<f32>> = vec![$($input.to_vec()),*];
        let outputs: Vec<Vec<f32>> = vec![$($output.to_vec()),*];
        let fast = {
            type $e = f32;
            let $i = guarded::<f32>(&inputs);
            let mut $o = guarded::<f32>(&outputs);
            $body.unwrap();
            drop($i);
            $o
        };
        let slow = {
            type $e = f64;
            let $i = guarded::<f64>(&inputs);
            let mut $o = guarded::<f64>(&outputs);
            $body.unwrap();
            drop($i);
            $o
        };
        for (n, (fast, slow)) in fast.iter().zip(&slow).enumerate() {
            compare(&format!("{}, output {n}", $what), $units, fast, slow);
        }
    }};
}

fn compare(what: &str, units: f64, fast: &[f32], slow: &[f64]) {
    let scale = slow.iter().filter(|x| x.is_finite()).fold(1.0f64, |a, x| a.max(x.abs()));
    for (i, (&fast, &slow)) in fast.iter().zip(slow).enumerate() {
        let error = (f64::from(fast) - slow).abs();
        let equal = f64::from(fast) == slow || (fast.is_nan() && slow.is_nan());
        let allowed = units * (-24f64).exp2() * scale;
        assert!(
            equal || error <= allowed,
            "{what}[{i}]: {fast:e}, the twin has {slow:e}, {error:e} > {allowed:e}"
        );
    }
}

/// What an output holds before: NaN where it is overwritten, numbers where it is added to.
fn before(write: Write, numbers: &mut Numbers, len: usize) -> Vec<f32> {
    match write {
        Write::Overwrite => vec![f32::NAN; len],
        Write::Add => numbers.vector(len),
    }
}

fn scaled(x: Vec<f32>, factor: f32) -> Vec<f32> {
    x.into_iter().map(|x| x * factor).collect()
}

#[test]
fn sums_and_products_of_tensors() {
    for n in LENGTHS {
        let mut numbers = Numbers::new(n as u64);
        let (a, b, old) = (numbers.vector(n), numbers.vector(n), numbers.vector(n));
        let nan = vec![f32::NAN; n];
        agree!(format!("add {n}"), 1.0, [a, b], [nan], |E, i, o| E::add(&i[0], &i[1], &mut o[0]));
        agree!(format!("mul {n}"), 1.0, [a, b], [nan], |E, i, o| E::mul(&i[0], &i[1], &mut o[0]));
        agree!(format!("add_scaled {n}"), 2.0, [a], [old], |E, i, o| E::add_scaled(&i[0], -0.75, &mut o[0]));
        let squares: f64 = a.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        assert!((f32::sum_of_squares(&PageEnd::copied(&a)) - squares).abs() <= 1e-12 * squares, "{n}");
    }
}

#[test]
fn sums_of_rows_keep_their_documented_bound() {
    for (rows, cols) in [(10_000, 1), (10_000, 5), (20_000, 300)] {
        // What is added to 1 alone is lost, one after the other.
        let small = (-25f32).exp2();
        let x: Vec<f32> = (0..rows * cols).map(|i| if i < cols { 1.0 } else { small }).collect();
        let mut sums = vec![0.0f32; cols];
        f32::sum_rows(&x, &mut sums).unwrap();
        let truth = 1.0 + (rows - 1) as f64 * f64::from(small);
        let bound = ((8192 / cols).max(rows / 64) + 8) as f64 * (-24f64).exp2() * truth;
        let error = sums.iter().map(|&sum| (f64::from(sum) - truth).abs()).fold(0.0, f64::max);
        assert!(error <= bound, "{rows} rows of {cols}: {error:e} is more than {bound:e}");
    }
}

#[test]
fn rows_with_a_bias_and_sums_of_rows() {
    for (rows, cols) in SHAPES {
        let mut numbers = Numbers::new(cols as u64);
        let (x, bias, old) = (numbers.vector(rows * cols), numbers.vector(cols), numbers.vector(cols));
        let what = format!("{rows} rows of {cols}");
        let nan = vec![f32::NAN; rows * cols];
        agree!(what, 1.0, [x, bias], [nan], |E, i, o| E::add_bias(&i[0], &i[1], &mut o[0]));
        // The sum of n numbers below 1 is off by its tree's depth times their sum of magnitudes.
        let units = 4.0 + rows as f64;
        agree!(what, units, [x], [old], |E, i, o| E::sum_rows(&i[0], &mut o[0]));
    }
}

#[test]
fn activations() {
    for n in LENGTHS {
        let mut numbers = Numbers::new(n as u64);
        let (x, dy) = (scaled(numbers.vector(n), 12.0), numbers.vector(n));
        let nan = vec![f32::NAN; n];
        agree!(format!("gelu {n}"), 4.0, [x], [nan], |E, i, o| E::gelu_forward(&i[0], &mut o[0]));
        agree!(format!("silu {n}"), 4.0, [x], [nan], |E, i, o| E::silu_forward(&i[0], &mut o[0]));
        for write in WRITES {
            let old = before(write, &mut numbers, n);
            agree!(format!("gelu' {n}"), 6.0, [dy, x], [old], |E, i, o| E::gelu_backward(
                &i[0], &i[1], &mut o[0], write
            ));
            agree!(format!("silu' {n}"), 6.0, [dy, x], [old], |E, i, o| E::silu_backward(
                &i[0], &i[1], &mut o[0], write
            ));
        }
    }
}

#[test]
fn swiglu() {
    for (rows, width) in SHAPES {
        let mut numbers = Numbers::new(width as u64);
        let (x, dy) = (scaled(numbers.vector(2 * rows * width), 6.0), numbers.vector(rows * width));
        let what = format!("swiglu, {rows} rows of {width}");
        let nan = vec![f32::NAN; rows * width];
        agree!(what, 6.0, [x], [nan], |E, i, o| E::swiglu_forward(&i[0], width, &mut o[0]));
        for write in WRITES {
            let old = before(write, &mut numbers, 2 * rows * width);
            agree!(what, 8.0, [dy, x], [old], |E, i, o| E::swiglu_backward(
                &i[0], &i[1], width, &mut o[0], write
            ));
        }
    }
}

#[test]
fn layer_norm() {
    for (rows, cols) in SHAPES {
        let mut numbers = Numbers::new(cols as u64);
        let (x, weight, bias) = (numbers.vector(rows * cols), numbers.vector(cols), numbers.vector(cols));
        let (dy, epsilon) = (numbers.vector(rows * cols), 1e-2);
        let (nan, rows_nan) = (vec![f32::NAN; rows * cols], vec![f32::NAN; rows]);
        for with_bias in [true, false] {
            let what = format!("layer_norm {rows} by {cols}, bias {with_bias}");
            agree!(what, 48.0, [x, weight, bias], [nan, rows_nan, rows_nan], |E, i, o| {
                let [out, mean, rstd] = &mut o[..] else { unreachable!() };
                E::layer_norm_forward(&i[0], &i[1], with_bias.then_some(&*i[2]), epsilon, out, mean, rstd)
            });
            let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
            let mut y = vec![0.0; rows * cols];
            f32::layer_norm_forward(&x, &weight, None, epsilon, &mut y, &mut mean, &mut rstd).unwrap();
            for write in WRITES {
                let old = before(write, &mut numbers, rows * cols);
                let (dw, db) = (numbers.vector(cols), numbers.vector(cols));
                let units = 64.0 + rows as f64;
                agree!(what, units, [dy, x, weight, mean, rstd], [old, dw, db], |E, i, o| {
                    let [dx, dw, db] = &mut o[..] else { unreachable!() };
                    let db = with_bias.then_some(&mut **db);
                    E::layer_norm_backward(&i[0], &i[1], &i[2], &i[3], &i[4], dx, write, dw, db)
                });
            }
        }
    }
}

#[test]
fn rms_norm() {
    for (rows, cols) in SHAPES {
        let mut numbers = Numbers::new(cols as u64);
        let (x, weight, dy) =
            (numbers.vector(rows * cols), numbers.vector(cols), numbers.vector(rows * cols));
        let epsilon = 1e-2;
        let (nan, rows_nan) = (vec![f32::NAN; rows * cols], vec![f32::NAN; rows]);
        let what = format!("rms_norm {rows} by {cols}");
        agree!(what, 16.0, [x, weight], [nan, rows_nan], |E, i, o| {
            let [out, rstd] = &mut o[..] else { unreachable!() };
            E::rms_norm_forward(&i[0], &i[1], epsilon, out, rstd)
        });
        let (mut rstd, mut y) = (vec![0.0; rows], vec![0.0; rows * cols]);
        f32::rms_norm_forward(&x, &weight, epsilon, &mut y, &mut rstd).unwrap();
        for write in WRITES {
            let old = before(write, &mut numbers, rows * cols);
            let dw = numbers.vector(cols);
            agree!(what, 32.0 + rows as f64, [dy, x, weight, rstd], [old, dw], |E, i, o| {
                let [dx, dw] = &mut o[..] else { unreachable!() };
                E::rms_norm_backward(&i[0], &i[1], &i[2], &i[3], dx, write, dw)
            });
        }
    }
}

#[test]
fn softmax() {
    for (rows, cols) in SHAPES {
        let mut numbers = Numbers::new(cols as u64);
        let x = scaled(numbers.vector(rows * cols), 20.0);
        let dy = numbers.vector(rows * cols);
        let what = format!("softmax {rows} by {cols}");
        let mut y = vec![f32::NAN; rows * cols];
        agree!(what, 32.0, [x], [y], |E, i, o| E::softmax_forward(&i[0], cols, &mut o[0]));
        f32::softmax_forward(&x, cols, &mut y).unwrap();
        for write in WRITES {
            let old = before(write, &mut numbers, rows * cols);
            agree!(what, 32.0, [dy, y], [old], |E, i, o| E::softmax_backward(
                &i[0], &i[1], cols, &mut o[0], write
            ));
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    for cols in [1, 5, 31, 64, 100, 1024, 1025] {
        for rows in [2, 3, 4, 5, 9, 90] {
            let mut numbers = Numbers::new((rows + cols) as u64);
            let (x, weight) = (scaled(numbers.vector(rows * cols), 9.0), numbers.vector(cols));
            let bias = (rows % 2 == 0).then_some(&weight[..]);
            let run = |x: &[f32]| {
                let rows = x.len() / cols;
                let mut out = [(); 3].map(|()| PageEnd::copied(&vec![f32::NAN; x.len()]));
                let mut kept = [(); 3].map(|()| vec![f32::NAN; rows]);
                let ([a, b, c], [mean, rstd, of_rms]) = (&mut out, &mut kept);
                f32::softmax_forward(x, cols, a).unwrap();
                f32::layer_norm_forward(x, &weight, bias, 1e-3, b, mean, rstd).unwrap();
                f32::rms_norm_forward(x, &weight, 1e-3, c, of_rms).unwrap();
                (out.map(|out| out.to_vec()), kept)
            };
            let (out, kept) = run(&x);
            for (row, x) in x.chunks(cols).enumerate() {
                let (alone, alone_kept) = run(x);
                for kernel in 0..3 {
                    assert_eq!(
                        alone[kernel],
                        out[kernel][row * cols..][..cols],
                        "row {row} of {rows} by {cols}"
                    );
                    assert_eq!(alone_kept[kernel][0], kept[kernel][row]);
                }
            }
        }
    }
}

#[test]
fn softmax_and_cross_entropy_of_extreme_rows() {
    let inf = f32::INFINITY;
    let x = [
        [-inf, -inf, -inf], // nothing left: zeros
        [-inf, 3.0, -inf],  // one left
        [1e30, -1e30, 1e30],
        [0.0, f32::NAN, 1.0], // NaN over the row
        [0.0, inf, 1.0],
        [-100.0, -200.0, -101.0],
    ];
    let x = x.as_flattened();
    let nan = vec![f32::NAN; x.len()];
    agree!("softmax", 4.0, [x], [nan], |E, i, o| E::softmax_forward(&i[0], 3, &mut o[0]));
    let mut y = [0.0; 18];
    f32::softmax_forward(x, 3, &mut y).unwrap();
    assert_eq!(y[..9], [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.5]);
    assert!(y[9..15].iter().all(|y| y.is_nan()));
    for (row, x) in x.chunks(3).enumerate() {
        let loss = f32::cross_entropy_forward(x, 3, &[0], &mut [0.0]).unwrap();
        let wide = f64::cross_entropy_forward(&common::wide(x), 3, &[0], &mut [0.0]).unwrap();
        let same = loss == wide || (loss.is_nan() && wide.is_nan()) || (loss - wide).abs() < 1e-6;
        assert!(same, "row {row}: {loss}, the twin has {wide}");
    }
}

#[test]
fn cross_entropy() {
    for (rows, classes) in SHAPES {
        let mut numbers = Numbers::new(classes as u64);
        let logits = scaled(numbers.vector(rows * classes), 20.0);
        let targets: Vec<u32> = (0..rows).map(|_| (numbers.bits() % classes as u64) as u32).collect();
        let what = format!("cross_entropy {rows} by {classes}");
        let mut lse = vec![f32::NAN; rows];
        agree!(what, 4.0, [logits], [lse], |E, i, o| E::cross_entropy_forward(
            &i[0], classes, &targets, &mut o[0]
        ));
        let loss = f32::cross_entropy_forward(&logits, classes, &targets, &mut lse).unwrap();
        let wide =
            f64::cross_entropy_forward(&common::wide(&logits), classes, &targets, &mut vec![0.0; rows]);
        assert!((loss - wide.clone().unwrap()).abs() <= 1e-6 * (1.0 + loss), "{what}: {loss}, {wide:?}");
        for write in WRITES {
            let old = before(write, &mut numbers, rows * classes);
            agree!(what, 64.0, [logits, lse], [old], |E, i, o| E::cross_entropy_backward(
                &i[0], classes, &targets, &i[1], 0.5, &mut o[0], write
            ));
        }
    }
}

#[test]
fn rope() {
    let shape = |seq, first, heads, rotate, dim| RopeShape { seq, first, heads, rotate, dim, base: 1e4 };
    for (rows, shape) in [
        (0, shape(3, 0, 2, 1, 4)),
        (1, shape(1, 0, 1, 1, 2)),
        (6, shape(3, 5, 3, 2, 6)),
        (5, shape(3, 5, 3, 2, 6)),
        (10, shape(5, 0, 2, 0, 8)),
        (21, shape(7, 1000, 4, 4, 34)),
        (512, shape(256, 0, 18, 12, 64)),
        (600, shape(600, 1000, 4, 4, 34)), // several blocks far from the first position
        (1, shape(1, 123_456, 2, 2, 128)),
        (3000, shape(3000, 0, 1, 1, 64)),
    ] {
        let mut numbers = Numbers::new(rows as u64);
        let len = rows * shape.heads * shape.dim;
        let (x, nan) = (numbers.vector(len), vec![f32::NAN; len]);
        let what = format!("rope, {rows} rows of {shape:?}");
        agree!(what, 4.0, [x], [nan], |E, i, o| E::rope_forward(&i[0], shape, &mut o[0]));
        for write in WRITES {
            let old = before(write, &mut numbers, len);
            agree!(what, 4.0, [x], [old], |E, i, o| E::rope_backward(&i[0], shape, &mut o[0], write));
        }
    }
}

#[test]
fn a_position_is_turned_alone_as_in_a_batch() {
    let shape = |seq, first| RopeShape { seq, first, heads: 3, rotate: 2, dim: 34, base: 1e4 };
    let (seq, width) = (700, 3 * 34);
    let x = Numbers::new(5).vector(2 * seq * width);
    for first in [0, 1, 100_003] {
        let (mut all, mut one) = (x.clone(), vec![f32::NAN; width]);
        f32::rope_forward(&x, shape(seq, first), &mut all).unwrap();
        for row in 0..2 * seq {
            let at = row * width..(row + 1) * width;
            f32::rope_forward(&x[at.clone()], shape(1, first + row % seq), &mut one).unwrap();
            common::assert_same_bits(&one, &all[at], (first, row));
        }
    }
}

#[test]
fn rows_at_positions_of_their_own_are_turned_as_in_a_batch() {
    let shape = |seq, first| RopeShape { seq, first, heads: 3, rotate: 2, dim: 34, base: 1e4 };
    let (positions, width) = ([0, 700, 31, 32, 33, 33, 100_003, 1], 3 * 34);
    let x = Numbers::new(6).vector(positions.len() * width);
    let (nan, exact) = (vec![f32::NAN; x.len()], wide(&x));
    let (mut found, mut twin, mut one) = (nan.clone(), vec![f64::NAN; x.len()], vec![f32::NAN; width]);
    f32::rope_at(&x, &positions, shape(0, 0), &mut found).unwrap();
    f64::rope_at(&exact, &positions, shape(0, 0), &mut twin).unwrap();
    for (row, position) in positions.into_iter().enumerate() {
        let at = row * width..(row + 1) * width;
        f32::rope_forward(&x[at.clone()], shape(1, position), &mut one).unwrap();
        common::assert_same_bits(&one, &found[at.clone()], (row, position));
        let mut alone = vec![f64::NAN; width];
        f64::rope_forward(&exact[at.clone()], shape(1, position), &mut alone).unwrap();
        assert_eq!(alone, twin[at], "row {row} at {position}");
    }
    f32::rope_at(&[], &[], shape(0, 0), &mut []).unwrap();
    for positions in [&positions[1..], &[]] {
        let mut out = nan.clone();
        assert!(f32::rope_at(&x, positions, shape(1, 0), &mut out).is_err());
        assert!(f64::rope_at(&exact, positions, shape(1, 0), &mut twin).is_err());
        assert!(out.iter().all(|x| x.is_nan()), "nothing is written");
    }
}

#[test]
fn embedding() {
    for (tokens, width) in SHAPES.into_iter().filter(|&(_, width)| width > 0) {
        for vocabulary in [1, 3, 65] {
            let mut numbers = Numbers::new(width as u64);
            let (table, dy) = (numbers.vector(vocabulary * width), numbers.vector(tokens * width));
            let ids: Vec<u32> = (0..tokens).map(|_| (numbers.bits() % vocabulary as u64) as u32).collect();
            let what = format!("embedding, {tokens} of {vocabulary} by {width}");
            let nan = vec![f32::NAN; tokens * width];
            agree!(what, 0.0, [table], [nan], |E, i, o| E::embedding_forward(&i[0], width, &ids, &mut o[0]));
            // Rows that share a token are added one after another.
            let units = 2.0 + tokens as f64;
            agree!(what, units, [dy], [table], |E, i, o| E::embedding_backward(
                &i[0], width, &ids, &mut o[0]
            ));
        }
    }
}

#[test]
fn adamw() {
    for n in LENGTHS {
        let mut numbers = Numbers::new(n as u64);
        let (p, g, m) = (numbers.vector(n), numbers.vector(n), numbers.vector(n));
        let v: Vec<f32> = numbers.vector(n).iter().map(|v| v * v).collect();
        for step in [1, 2, 1000] {
            let step = AdamW {
                learning_rate: 3e-4,
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                weight_decay: 0.1,
                step,
                gradient_scale: 0.7,
            };
            agree!(format!("adamw {n}"), 16.0, [g], [p, m, v], |E, i, o| {
                let [p, m, v] = &mut o[..] else { unreachable!() };
                E::adamw_step(&step, p, &i[0], m, v)
            });
        }
    }
}

#[test]
fn every_level() {
    common::at_every_level();
}
