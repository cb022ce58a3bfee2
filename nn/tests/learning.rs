//! Promises of training: the loss falls, both precisions agree, a step has the same bits each time.

use upbeat_kernels::Element;
use upbeat_nn::{AdamWConfig, AdamWOptimizer, Config, Gradients, Transformer};

/// Sequences of 8 that count upwards, modulo 7, each from another number; the target is the next number.
fn counting(batch: usize) -> (Vec<u32>, Vec<u32>) {
    let at = |i: usize| ((i / 8 * 3 + i % 8) % 7) as u32;
    ((0..8 * batch).map(at).collect(), (0..8 * batch).map(|i| (at(i) + 1) % 7).collect())
}

/// Losses of `steps` steps on batches of counting, with clipping at norm 1, and the parameters after them.
fn train<E: Element>(config: &Config, steps: usize, learning_rate: f64) -> (Vec<f64>, Vec<f64>) {
    let mut model = Transformer::<E>::new(config.clone(), 5).unwrap();
    let mut gradients = Gradients::new(&model);
    let mut optimizer = AdamWOptimizer::new(&model, AdamWConfig::default());
    let (tokens, targets) = counting(4);
    let losses = (0..steps)
        .map(|_| {
            gradients.clear();
            let loss = model.loss_and_gradients(&tokens, &targets, 8, &mut gradients).unwrap();
            let clip = (1.0 / gradients.global_norm()).min(1.0);
            optimizer.step(&mut model, &gradients, learning_rate, clip);
            loss
        })
        .collect();
    let parameters = model.parameters().iter().flat_map(|p| p.values.iter().map(|x| x.to_f64())).collect();
    (losses, parameters)
}

fn both_kinds() -> [Config; 2] {
    let gpt = Config {
        vocabulary: 7,
        context: 8,
        width: 32,
        layers: 2,
        heads: 4,
        hidden: 64,
        ..Config::gpt_char()
    };
    [Config::modern(7, 8, 32, 2, 4), gpt]
}

fn the_loss_falls<E: Element>() {
    for config in both_kinds() {
        let (losses, _) = train::<E>(&config, 30, 1e-2);
        assert!((losses[0] - 7f64.ln()).abs() < 0.3, "a fresh model guesses: {}", losses[0]);
        assert!(losses[29] < 0.1, "after 30 steps: {losses:?}");
    }
}

#[test]
fn the_loss_falls_in_f64() {
    the_loss_falls::<f64>();
}

#[test]
fn a_run_repeats_bit_for_bit() {
    for config in both_kinds() {
        let (a, b) = (train::<f64>(&config, 5, 1e-2), train::<f64>(&config, 5, 1e-2));
        assert_eq!(a.0, b.0);
        assert_eq!(a.1, b.1);
    }
}

#[test]
fn the_loss_falls_in_f32() {
    the_loss_falls::<f32>();
}

#[test]
fn both_precisions_agree_over_twenty_steps() {
    for config in both_kinds() {
        let (single, double) = (train::<f32>(&config, 20, 1e-3).0, train::<f64>(&config, 20, 1e-3).0);
        assert!(double[19] < 0.8 * double[0], "the model learns: {double:?}");
        for (step, (a, b)) in single.iter().zip(&double).enumerate() {
            assert!((a - b).abs() < 1e-3, "{config:?}, step {step}: {a} in f32, {b} in f64");
        }
    }
}
