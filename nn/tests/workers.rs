//! Training gives the same bits for any number of workers.

use upbeat::Runtime;
use upbeat_kernels::{bf16, Element};
use upbeat_nn::{AdamWConfig, AdamWOptimizer, Config, Gradients, Transformer};

/// The bits of all parameters and losses after `steps` steps on a runtime of `workers` workers.
fn bits<E: Element>(config: &Config, steps: usize, workers: usize) -> Vec<u64> {
    let runtime = Runtime::builder().workers(workers).build().unwrap();
    runtime.install(|_| {
        let mut model = Transformer::<E>::new(config.clone(), 11).unwrap();
        let mut gradients = Gradients::new(&model);
        let mut optimizer = AdamWOptimizer::new(&model, AdamWConfig::default());
        // Odd sizes, so that the last block of every loop is shorter than the others.
        let (batch, seq) = (5, config.context);
        let token = |i: usize| ((i * i + 5 * i) % config.vocabulary) as u32;
        let tokens: Vec<u32> = (0..batch * seq).map(token).collect();
        let targets: Vec<u32> = (0..batch * seq).map(|i| token(i + 1)).collect();
        let mut bits = Vec::new();
        for _ in 0..steps {
            gradients.clear();
            let loss = model.loss_and_gradients(&tokens, &targets, seq, &mut gradients).unwrap();
            let norm = gradients.global_norm();
            optimizer.step(&mut model, &gradients, 1e-2, (1.0 / norm).min(1.0));
            bits.extend([loss.to_bits(), norm.to_bits()]);
        }
        bits.extend(model.parameters().iter().flat_map(|p| p.values.iter().map(|x| x.to_f64().to_bits())));
        bits
    })
}

fn same_bits<E: Element>(config: Config, steps: usize) {
    let one = bits::<E>(&config, steps, 1);
    for workers in [2, 3] {
        let more = bits::<E>(&config, steps, workers);
        let differing = one.iter().zip(&more).filter(|(a, b)| a != b).count();
        assert_eq!((more.len(), differing), (one.len(), 0), "{workers} workers");
    }
}

#[test]
fn in_f64() {
    same_bits::<f64>(Config::modern(29, 21, 48, 2, 3), 5);
}

#[test]
fn in_bf16() {
    same_bits::<bf16>(Config::modern(29, 21, 48, 2, 3), 8);
    let gpt = Config { context: 33, width: 72, layers: 2, heads: 3, hidden: 100, ..Config::gpt_char() };
    same_bits::<bf16>(gpt, 8);
}

#[test]
fn in_f32_over_fifty_steps() {
    same_bits::<f32>(Config::modern(29, 21, 48, 2, 3), 50);
    let gpt = Config { context: 33, width: 72, layers: 2, heads: 3, hidden: 100, ..Config::gpt_char() };
    same_bits::<f32>(gpt, 50);
}
