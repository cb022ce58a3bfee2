//! A linear layer for submitted rows gives each submission the bits that it gets alone, whatever else is in the batch.

mod common;

use common::{assert_same_bits, at_every_level, same_on_any_workers, Numbers};
use upbeat::batch::{BatchOptions, Batcher};
use upbeat::Runtime;
use upbeat_kernels::gemm::{gemm_packed, GemmPacked, Linear, PackedB};
use upbeat_kernels::{Activation, Epilogue, Mat, MatMut, ShapeError, Write};

#[test]
fn every_level() {
    at_every_level();
}

/// Weights `[k, n]`, a bias `[n]` and the layer of both, with SiLU.
fn layer(k: usize, n: usize) -> (PackedB, Vec<f32>, Linear) {
    let mut numbers = Numbers::new((k * 1000 + n) as u64);
    let (weights, bias) = (numbers.vector(k * n), numbers.vector(n));
    let packed = PackedB::new(Mat::new(&weights, k, n).unwrap(), false).unwrap();
    let layer = Linear::new(packed.clone()).with_bias(bias.clone()).unwrap();
    (packed, bias, layer.with_activation(Activation::Silu))
}

/// One submission as a product of its own.
fn alone(weights: &PackedB, bias: &[f32], x: &[f32], m: usize) -> Vec<f32> {
    let mut c = vec![0.0; m * weights.n()];
    let epilogue = Epilogue { bias: Some(bias), activation: Activation::Silu, scale: None, residual: None };
    let (a, c_view) = (Mat::new(x, m, weights.k()).unwrap(), MatMut::new(&mut c, m, weights.n()).unwrap());
    let write = Write::Overwrite;
    gemm_packed(GemmPacked { a, transpose_a: false, b: weights, c: c_view, write, epilogue }).unwrap();
    c
}

#[test]
fn each_submission_of_a_batch_has_the_bits_that_it_gets_alone() {
    for (k, n) in [(1, 1), (7, 33), (400, 5), (65, 70)] {
        let (weights, bias, layer) = layer(k, n);
        assert_eq!((layer.k(), layer.n()), (k, n));
        let mut numbers = Numbers::new(9);
        let rows = [1, 4, 0, 2, 33, 1, 40];
        let submissions: Vec<_> = rows.iter().map(|m| numbers.vector(m * k)).collect();
        let results = same_on_any_workers((k, n), || {
            let (mut items, mut results) = (submissions.clone(), Vec::new());
            layer.run(&mut items, &mut results);
            assert!(items.is_empty());
            let results = results.into_iter().map(Result::unwrap);
            results.map(|y| y.into_iter().map(f32::to_bits).collect::<Vec<_>>()).collect::<Vec<_>>()
        });
        assert_eq!(results.len(), rows.len());
        for ((x, m), y) in submissions.iter().zip(rows).zip(&results) {
            let y: Vec<_> = y.iter().copied().map(f32::from_bits).collect();
            assert_same_bits(&y, &alone(&weights, &bias, x, m), ((k, n), m));
        }
    }
}

#[test]
fn a_submission_of_no_whole_rows_fails_alone() {
    let (weights, bias, layer) = layer(6, 3);
    let good = Numbers::new(2).vector(12);
    let (mut items, mut results) = (vec![vec![1.0; 7], good.clone(), vec![1.0; 1]], Vec::new());
    layer.run(&mut items, &mut results);
    let error = |found| ShapeError::Multiple { what: "the length of a submission", unit: 6, found };
    assert_eq!(results[0], Err(error(7)));
    assert_same_bits(results[1].as_ref().unwrap(), &alone(&weights, &bias, &good, 2), "the good one");
    assert_eq!(results[2], Err(error(1)));
    assert_eq!(results.len(), 3);
    assert!(layer.with_bias(vec![0.0; 4]).is_err());
}

#[test]
fn layers_without_inputs_outputs_or_items_do_what_their_shapes_say() {
    let (_, bias, no_inputs) = layer(0, 3);
    let mut results = Vec::new();
    // No numbers are no rows: how many were meant cannot be told.
    no_inputs.run(&mut vec![Vec::new(), vec![1.0]], &mut results);
    assert_eq!(results[0], Ok(Vec::new()));
    assert!(results[1].is_err() && bias.len() == 3);
    let (.., no_outputs) = layer(3, 0);
    results.clear();
    no_outputs.run(&mut vec![vec![1.0; 6]], &mut results);
    assert_eq!(results, [Ok(Vec::new())]);
    results.clear();
    no_outputs.run(&mut Vec::new(), &mut results);
    assert!(results.is_empty());
}

#[test]
fn threads_and_tasks_get_their_own_rows_back() {
    let (weights, bias, layer) = layer(33, 20);
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let options = BatchOptions::new(5).running(1);
    let batcher = Batcher::on(&runtime, &options, move |items, results| layer.run(items, results)).unwrap();
    let ask = |seed: u64| {
        let m = 1 + seed as usize % 3;
        let x = Numbers::new(seed).vector(m * 33);
        let want = alone(&weights, &bias, &x, m);
        assert_same_bits(&batcher.submit(x).unwrap().wait().unwrap().unwrap(), &want, seed);
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || (0..25).for_each(|i| ask(thread * 100 + i)));
        }
        runtime.install(|_| upbeat::par::for_each(0..100, |i| ask(1000 + i as u64)));
    });
    let metrics = batcher.metrics();
    assert_eq!(metrics.items, 200);
}
