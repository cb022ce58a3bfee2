//! Promises about what kernels refuse, what stays untouched then, how NaN spreads, and that results do not depend on
//! the number of workers. Both precisions keep them.

mod common;

use common::Numbers;
use upbeat::Runtime;
use upbeat_kernels::conv::{fold_batch_norm, LearnedNorm};
use upbeat_kernels::norm::{batch_norm_eval, batch_norm_forward, BatchNorm};
use upbeat_kernels::{AdamW, Element, RopeShape, ShapeError, Write};

const SET: Write = Write::Overwrite;

fn mismatch(result: Result<impl std::fmt::Debug, ShapeError>, expected: usize, found: usize) {
    match result {
        Err(ShapeError::Mismatch { expected: e, found: f, .. }) => assert_eq!((e, f), (expected, found)),
        other => panic!("{other:?} is no mismatch of {expected} and {found}"),
    }
}

fn multiple(result: Result<impl std::fmt::Debug, ShapeError>, unit: usize, found: usize) {
    match result {
        Err(ShapeError::Multiple { unit: u, found: f, .. }) => assert_eq!((u, f), (unit, found)),
        other => panic!("{other:?} does not say that {found} is no multiple of {unit}"),
    }
}

fn index(result: Result<impl std::fmt::Debug, ShapeError>, index: usize, len: usize) {
    match result {
        Err(ShapeError::Index { index: i, len: l, .. }) => assert_eq!((i, l), (index, len)),
        other => panic!("{other:?} does not say that {index} is outside {len}"),
    }
}

fn refuses_wrong_shapes<E: Element<Wide = E>>() {
    let one = E::from_f64(1.0);
    let x = vec![one; 12];
    let mut y = vec![E::from_f64(7.0); 12];
    mismatch(E::add(&x, &x[..11], &mut y), 12, 11);
    mismatch(E::mul(&x[..11], &x, &mut y), 12, 11);
    mismatch(E::add_scaled(&x[..3], 1.0, &mut y[..4]), 4, 3);
    mismatch(E::add_bias(&x, &x[..4], &mut y[..8]), 12, 8);
    multiple(E::add_bias(&x, &x[..5], &mut y), 5, 12);
    multiple(E::add_bias(&x, &[], &mut y), 0, 12);
    multiple(E::sum_rows(&x, &mut y[..5]), 5, 12);
    mismatch(E::gelu_forward(&x, &mut y[..2]), 2, 12);
    mismatch(E::silu_backward(&x[..2], &x, &mut y, SET), 12, 2);
    multiple(E::swiglu_forward(&x, 4, &mut y[..6]), 8, 12);
    mismatch(E::swiglu_forward(&x, 2, &mut y[..5]), 6, 5);
    multiple(E::softmax_forward(&x, 7, &mut y), 7, 12);
    mismatch(E::softmax_backward(&x[..8], &x, 4, &mut y, SET), 12, 8);
    let (mut mean, mut rstd) = ([one; 3], [one; 3]);
    mismatch(E::rms_norm_forward(&x, &x[..4], 0.0, &mut y, &mut rstd[..2]), 3, 2);
    mismatch(E::layer_norm_forward(&x, &x[..4], Some(&x[..3]), 0.0, &mut y, &mut mean, &mut rstd), 4, 3);
    let mut dw = [one; 5];
    mismatch(E::rms_norm_backward(&x, &x, &x[..4], &rstd, &mut y, SET, &mut dw), 4, 5);
    let step = AdamW {
        learning_rate: 1.0,
        beta1: 0.0,
        beta2: 0.0,
        epsilon: 1.0,
        weight_decay: 0.0,
        step: 1,
        gradient_scale: 1.0,
    };
    mismatch(E::adamw_step(&step, &mut y, &x[..11], &mut mean, &mut rstd), 12, 11);
    let shape = RopeShape { seq: 1, first: 0, heads: 1, rotate: 1, dim: 4, base: 1e4 };
    multiple(E::rope_forward(&x, RopeShape { dim: 3, ..shape }, &mut y), 2, 3);
    multiple(E::rope_forward(&x, RopeShape { seq: 0, ..shape }, &mut y), 0, 3);
    index(E::rope_forward(&x, RopeShape { rotate: 2, ..shape }, &mut y), 2, 1);
    multiple(E::rope_backward(&x[..10], shape, &mut y[..10], SET), 4, 10);
    let huge = RopeShape { heads: usize::MAX, rotate: 1, ..shape };
    assert!(matches!(E::rope_forward(&x, huge, &mut y), Err(ShapeError::Overflow { .. })));
    let far = RopeShape { first: usize::MAX, ..shape };
    assert!(matches!(E::rope_forward(&x, far, &mut y), Err(ShapeError::Limit { .. })));
    assert!(matches!(E::swiglu_forward(&x, usize::MAX, &mut y), Err(ShapeError::Overflow { .. })));
    // Tokens and targets are checked before anything is written.
    index(E::embedding_forward(&x, 3, &[3, 4, 0, 0], &mut y), 4, 4);
    index(E::embedding_backward(&x, 3, &[0, u32::MAX, 0, 0], &mut y), u32::MAX as usize, 4);
    index(E::cross_entropy_forward(&x, 4, &[0, 1, 4], &mut mean), 4, 4);
    index(E::cross_entropy_backward(&x, 4, &[9, 1, 2], &mean, 1.0, &mut y, SET), 9, 4);
    mismatch(E::cross_entropy_forward(&x, 4, &[0, 1], &mut mean[..2]), 8, 12);
    let seven = E::from_f64(7.0);
    assert!(y.iter().all(|&y| y == seven) && mean.iter().chain(&rstd).chain(&dw).all(|&x| x == one));
}

#[test]
fn wrong_shapes_and_indices_are_errors_and_nothing_is_written() {
    refuses_wrong_shapes::<f32>();
    refuses_wrong_shapes::<f64>();
}

fn empty_is_fine<E: Element<Wide = E>>() {
    E::add(&[], &[], &mut []).unwrap();
    E::softmax_forward(&[], 0, &mut []).unwrap();
    E::rms_norm_forward(&[], &[], 0.0, &mut [], &mut []).unwrap();
    E::sum_rows(&[], &mut []).unwrap();
    let mut sums = [E::from_f64(2.0)];
    E::sum_rows(&[], &mut sums).unwrap();
    assert_eq!((sums[0].to_f64(), E::sum_of_squares(&[])), (2.0, 0.0));
    E::embedding_forward(&[], 0, &[], &mut []).unwrap();
    assert_eq!(E::cross_entropy_forward(&[], 5, &[], &mut []).unwrap(), 0.0);
    let shape = RopeShape { seq: 0, first: 0, heads: 0, rotate: 0, dim: 0, base: 1e4 };
    E::rope_forward(&[], shape, &mut []).unwrap();
}

/// Whether `run` panics, and says so of epsilon.
fn epsilon_is_refused(run: impl FnOnce() -> Result<(), ShapeError>) -> bool {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    let Err(payload) = caught else { return false };
    let said = payload.downcast_ref::<String>().expect("a sentence");
    assert!(
        said.starts_with("the epsilon of a norm must be a finite number of at least 0, but is "),
        "{said}"
    );
    true
}

fn refuses_wrong_epsilons<E: Element<Wide = E>>() {
    let [one, seven] = [1.0, 7.0].map(E::from_f64);
    let (x, weight) = ([one; 6], [one; 3]);
    for (epsilon, wrong) in [
        (f64::NAN, true),
        (-1e-9, true),
        (f64::INFINITY, true),
        (f64::NEG_INFINITY, true),
        (0.0, false),
        (-0.0, false),
        (1e-5, false),
    ] {
        let (mut y, mut mean, mut rstd) = ([seven; 6], [seven; 2], [seven; 2]);
        let layer = || E::layer_norm_forward(&x, &weight, None, epsilon, &mut y, &mut mean, &mut rstd);
        assert_eq!(epsilon_is_refused(layer), wrong, "layer norm, {epsilon}");
        assert_eq!(y == [seven; 6], wrong, "what is refused is not written");
        let (mut y, mut rstd) = ([seven; 6], [seven; 2]);
        let rms = || E::rms_norm_forward(&x, &weight, epsilon, &mut y, &mut rstd);
        assert_eq!(epsilon_is_refused(rms), wrong, "rms norm, {epsilon}");
        assert_eq!(y == [seven; 6], wrong, "what is refused is not written");
    }
}

/// A negative one would make whole rows NaN where their variance is smaller.
#[test]
fn an_epsilon_is_a_number_of_at_least_0() {
    refuses_wrong_epsilons::<f32>();
    refuses_wrong_epsilons::<f64>();
    let norm = LearnedNorm { weight: &[2.0], bias: &[1.0], mean: &[3.0], variance: &[4.0], epsilon: -5.0 };
    let shape = BatchNorm { batch: 2, channels: 1, plane: 1 };
    assert!(epsilon_is_refused(|| batch_norm_eval(&shape, &[3.0, 5.0], &norm, &mut [0.0; 2])));
    assert!(epsilon_is_refused(|| fold_batch_norm(&norm, &mut [1.0, 2.0], &mut [3.0])));
    for count in [0, 2] {
        let shape = BatchNorm { batch: count, ..shape };
        let (x, mut y) = (vec![1.0; count], vec![0.0; count]);
        let [mut running_mean, mut running_variance, mut mean, mut rstd] = [[0.0]; 4];
        assert!(epsilon_is_refused(|| batch_norm_forward(
            &shape,
            &x,
            &[2.0],
            &[1.0],
            f64::NAN,
            0.1,
            &mut running_mean,
            &mut running_variance,
            &mut y,
            &mut mean,
            &mut rstd,
        )));
    }
}

#[test]
fn nothing_of_everything_is_fine() {
    empty_is_fine::<f32>();
    empty_is_fine::<f64>();
}

fn nan_stays_where_it_belongs<E: Element<Wide = E>>() {
    let (rows, cols) = (5, 37);
    let mut x: Vec<E> = (0..rows * cols).map(|i| E::from_f64((i * 7 % 11) as f64 - 5.0)).collect();
    x[2 * cols + 36] = E::from_f64(f64::NAN);
    let nan = |y: &[E]| y.iter().map(|y| y.to_f64().is_nan()).collect::<Vec<_>>();
    let row: Vec<bool> = (0..rows * cols).map(|i| i / cols == 2).collect();
    let element: Vec<bool> = (0..rows * cols).map(|i| i == 2 * cols + 36).collect();
    let mut y = x.clone();
    E::softmax_forward(&x, cols, &mut y).unwrap();
    assert_eq!(nan(&y), row);
    let weight = vec![E::from_f64(1.0); cols];
    let (mut mean, mut rstd) = (vec![E::default(); rows], vec![E::default(); rows]);
    E::rms_norm_forward(&x, &weight, 1e-5, &mut y, &mut rstd).unwrap();
    assert_eq!(nan(&y), row);
    E::layer_norm_forward(&x, &weight, None, 1e-5, &mut y, &mut mean, &mut rstd).unwrap();
    assert_eq!(nan(&y), row);
    E::gelu_forward(&x, &mut y).unwrap();
    assert_eq!(nan(&y), element);
    E::silu_forward(&x, &mut y).unwrap();
    assert_eq!(nan(&y), element);
    let mut sums = vec![E::default(); cols];
    E::sum_rows(&x, &mut sums).unwrap();
    assert_eq!(nan(&sums), nan(&x[2 * cols..3 * cols]));
    assert!(E::sum_of_squares(&x).is_nan());
}

#[test]
fn nan_spreads_over_its_row_or_its_element_only() {
    nan_stays_where_it_belongs::<f32>();
    nan_stays_where_it_belongs::<f64>();
}

/// Every kernel with a sum in it, and some without, on shapes of many blocks; all results in one vector.
fn everything() -> Vec<f32> {
    let (rows, cols) = (1500, 130);
    let mut numbers = Numbers::new(3);
    let (x, dy, weight) = (numbers.vector(rows * cols), numbers.vector(rows * cols), numbers.vector(cols));
    let ids: Vec<u32> = (0..rows).map(|_| (numbers.bits() % cols as u64) as u32).collect();
    let mut all = Vec::new();
    let (mut y, mut sums) = (vec![0.0; rows * cols], vec![0.0; cols]);
    let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
    f32::layer_norm_forward(&x, &weight, None, 1e-5, &mut y, &mut mean, &mut rstd).unwrap();
    all.extend(y.iter().chain(&mean).chain(&rstd));
    let mut bias_sums = vec![0.0; cols];
    let bias = Some(&mut bias_sums[..]);
    f32::layer_norm_backward(&dy, &x, &weight, &mean, &rstd, &mut y, Write::Add, &mut sums, bias).unwrap();
    all.extend(y.iter().chain(&sums).chain(&bias_sums));
    f32::rms_norm_forward(&x, &weight, 1e-5, &mut y, &mut rstd).unwrap();
    f32::rms_norm_backward(&dy, &x, &weight, &rstd, &mut y, Write::Add, &mut sums).unwrap();
    all.extend(y.iter().chain(&sums));
    f32::softmax_forward(&x, cols, &mut y).unwrap();
    all.extend(&y);
    let loss = f32::cross_entropy_forward(&x, cols, &ids, &mut mean).unwrap();
    all.extend([loss.to_bits() as u32, (loss.to_bits() >> 32) as u32].map(f32::from_bits));
    f32::cross_entropy_backward(&x, cols, &ids, &mean, 0.1, &mut y, Write::Add).unwrap();
    all.extend(y.iter().chain(&mean));
    f32::sum_rows(&x, &mut sums).unwrap();
    let squares = f32::sum_of_squares(&x).to_bits();
    all.extend([squares as u32, (squares >> 32) as u32].map(f32::from_bits));
    let mut table = vec![0.0; cols * cols];
    f32::embedding_backward(&dy, cols, &ids, &mut table).unwrap();
    let rope = RopeShape { seq: 300, first: 4, heads: 13, rotate: 9, dim: 10, base: 1e4 };
    f32::rope_backward(&dy, rope, &mut y, Write::Add).unwrap();
    f32::swiglu_backward(&dy[..rows * cols / 2], &x, cols / 2, &mut y, Write::Add).unwrap();
    all.extend(sums.iter().chain(&table).chain(&y));
    all
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_workers() {
    let runs = [1, 2, 3].map(|workers| {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        let all = runtime.install(|_| everything());
        all.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
    });
    assert!(runs[0] == runs[1] && runs[0] == runs[2]);
}

#[test]
fn every_level() {
    common::at_every_level();
}
