//! Promises of the transformer: sizes, errors, seeds, gradients of the whole model, and decoding.

use upbeat_kernels::Element;
use upbeat_nn::{
    AdamWConfig, AdamWOptimizer, Config, ConfigError, FeedForward, Gradients, ModelError, Norm, Positions,
    Transformer,
};

fn tiny(norm: Norm, feed_forward: FeedForward, positions: Positions) -> Config {
    Config {
        vocabulary: 11,
        context: 7,
        width: 12,
        layers: 2,
        heads: 3,
        hidden: 10,
        norm,
        feed_forward,
        positions,
        norm_epsilon: 1e-5,
    }
}

fn every_kind() -> Vec<Config> {
    let mut kinds = Vec::new();
    for norm in [Norm::Rms, Norm::Layer] {
        for feed_forward in [FeedForward::SwiGlu, FeedForward::Gelu] {
            for positions in [Positions::Rotary { base: 10_000.0 }, Positions::Learned] {
                kinds.push(tiny(norm, feed_forward, positions));
            }
        }
    }
    kinds
}

/// Makes matrices so large that every part matters.
fn enliven<E: Element>(model: &mut Transformer<E>) {
    for parameter in model.parameters_mut() {
        if parameter.shape.len() == 2 {
            parameter.values.iter_mut().for_each(|x| *x = E::Wide::from_f64(15.0 * x.to_f64()));
        }
    }
}

fn lively(config: Config) -> Transformer<f64> {
    let mut model = Transformer::new(config, 3).unwrap();
    enliven(&mut model);
    model
}

/// `count` tokens that repeat nothing simple.
fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * i * 7 + i * 3 + 1) % vocabulary) as u32).collect()
}

#[test]
fn the_character_gpt_has_the_parameters_that_pytorch_counts() {
    let model = Transformer::<f64>::new(Config::gpt_char(), 0).unwrap();
    assert_eq!(model.parameter_count(), 10_745_088);
    let names: Vec<_> = model.parameters().iter().take(5).map(|p| (p.name.as_str(), &p.shape[..])).collect();
    assert_eq!(
        names,
        [
            ("embedding.weight", &[65, 384][..]),
            ("positions.weight", &[256, 384]),
            ("blocks.0.attention_norm.weight", &[384]),
            ("blocks.0.attention.qkv.weight", &[1152, 384]),
            ("blocks.0.attention.out.weight", &[384, 384]),
        ]
    );
    assert_eq!(model.parameters().len(), 2 + 6 * 6 + 1);
    assert!(model.parameters().iter().all(|p| p.decay == (p.shape.len() == 2)));
    assert!(model.parameters().iter().all(|p| p.values.len() == p.shape.iter().product::<usize>()));
    // 6·(10,745,088 - 256·384) + 12·6·384·256/2
    assert_eq!(model.flops_per_token(), 6.0 * 10_646_784.0 + 3_538_944.0);
}

#[test]
fn impossible_configurations_are_refused_in_a_sentence() {
    let good = Config::modern(65, 64, 48, 2, 4);
    assert_eq!(good.validate(), Ok(()));
    let refused = |change: fn(&mut Config)| {
        let mut config = good.clone();
        change(&mut config);
        let error = Transformer::<f64>::new(config, 0).err().expect("the configuration is refused");
        let text = error.to_string();
        assert!(!text.contains('\n') && !text.ends_with('.') && text.len() > 15, "{text}");
        error
    };
    assert_eq!(refused(|c| c.layers = 0), ConfigError::Zero { what: "number of layers" });
    assert_eq!(refused(|c| c.vocabulary = 0), ConfigError::Zero { what: "vocabulary" });
    assert_eq!(refused(|c| c.heads = 5), ConfigError::Heads { heads: 5, width: 48 });
    assert_eq!(refused(|c| c.heads = 16), ConfigError::OddHead { dim: 3 });
    assert!(matches!(
        refused(|c| c.positions = Positions::Rotary { base: f64::NAN }),
        ConfigError::RotaryBase { .. }
    ));
    assert_eq!(refused(|c| c.norm_epsilon = 0.0), ConfigError::Epsilon { epsilon: 0.0 });
    assert!(matches!(refused(|c| c.width = 1 << 40), ConfigError::Overflow { .. }));
    assert!(matches!(refused(|c| c.layers = usize::MAX), ConfigError::Overflow { .. }));
    assert!(matches!(refused(|c| c.hidden = usize::MAX), ConfigError::Overflow { .. }));
    assert!(matches!(refused(|c| c.context = usize::MAX / 2), ConfigError::Overflow { .. }));
    assert_eq!(refused(|c| c.vocabulary = 1 << 33), ConfigError::Overflow { what: "vocabulary" });
    // Addressable, but 2⁵⁴ parameters are more than any machine's memory.
    assert!(matches!(refused(|c| c.hidden = 1 << 46), ConfigError::Memory { .. }));
}

#[test]
fn wrong_tokens_are_refused() {
    let model = Transformer::<f64>::new(Config::modern(5, 4, 8, 1, 2), 0).unwrap();
    assert_eq!(model.loss(&[], &[], 4), Err(ModelError::Empty));
    assert_eq!(model.loss(&[0], &[0], 0), Err(ModelError::Empty));
    assert_eq!(model.loss(&[0; 5], &[0; 5], 5), Err(ModelError::Context { positions: 5, context: 4 }));
    assert_eq!(model.loss(&[0; 5], &[0; 5], 4), Err(ModelError::Ragged { tokens: 5, seq: 4 }));
    assert_eq!(model.loss(&[0; 4], &[0; 3], 4), Err(ModelError::Targets { tokens: 4, targets: 3 }));
    assert!(matches!(model.loss(&[0, 5], &[0, 0], 2), Err(ModelError::Shape(_))));
    assert!(matches!(model.loss(&[0, 1], &[0, 9], 2), Err(ModelError::Shape(_))));
    let mut decoder = model.decoder();
    assert!(matches!(decoder.step(5), Err(ModelError::Shape(_))));
    for token in 0..4 {
        decoder.step(token).unwrap();
    }
    assert_eq!(decoder.step(0).err(), Some(ModelError::Context { positions: 5, context: 4 }));
}

#[test]
fn a_fresh_model_knows_nothing() {
    let model = Transformer::<f64>::new(Config::modern(65, 16, 32, 2, 2), 1).unwrap();
    let (x, y) = (tokens(48, 65), tokens(49, 65)[1..].to_vec());
    assert!((model.loss(&x, &y, 16).unwrap() - 65f64.ln()).abs() < 0.1);
}

#[test]
fn one_seed_gives_one_model() {
    let config = Config::modern(13, 8, 16, 1, 2);
    let model = |seed| Transformer::<f64>::new(config.clone(), seed).unwrap();
    let (a, b, c) = (model(1), model(1), model(2));
    for ((a, b), c) in a.parameters().iter().zip(b.parameters()).zip(c.parameters()) {
        assert_eq!(&*a.values, &*b.values);
        assert_eq!(*a.values == *c.values, a.shape.len() == 1, "{}", a.name);
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for config in every_kind() {
        let mut model = lively(config.clone());
        let (x, y) = (tokens(12, 11), tokens(13, 11)[1..].to_vec());
        let mut gradients = Gradients::new(&model);
        let loss = model.loss_and_gradients(&x, &y, 6, &mut gradients).unwrap();
        assert_eq!(loss, model.loss(&x, &y, 6).unwrap());
        for p in 0..model.parameters().len() {
            let gradient = gradients.get(p).expect("every parameter has a gradient").to_vec();
            let len = gradient.len();
            let largest = gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
            assert!(largest > 1e-6, "{} matters", model.parameters()[p].name);
            for i in [0, 1, len / 3, len / 2, len - 1] {
                let value = model.parameters()[p].values[i];
                let mut at = |x_i: f64| {
                    model.parameters_mut()[p].values[i] = x_i;
                    model.loss(&x, &y, 6).unwrap()
                };
                let slope = (at(value + 1e-5) - at(value - 1e-5)) / 2e-5;
                at(value);
                let error = (gradient[i] - slope).abs() / largest;
                assert!(
                    error < 2e-6,
                    "{config:?}: {}[{i}] is {}, slope {slope}",
                    model.parameters()[p].name,
                    gradient[i]
                );
            }
        }
    }
}

#[test]
fn gradients_add_until_they_are_cleared() {
    let model = lively(Config::modern(11, 8, 12, 1, 2));
    let (x, y) = (tokens(16, 11), tokens(17, 11)[1..].to_vec());
    let collect =
        |gradients: &Gradients<f64>| -> Vec<f64> { gradients.iter().flat_map(|(_, g)| g.to_vec()).collect() };
    let mut gradients = Gradients::new(&model);
    assert_eq!(gradients.iter().count(), 0);
    model.loss_and_gradients(&x, &y, 8, &mut gradients).unwrap();
    let (once, norm) = (collect(&gradients), gradients.global_norm());
    assert_eq!(once.len(), model.parameter_count());
    assert!((norm - once.iter().map(|g| g * g).sum::<f64>().sqrt()).abs() < 1e-12 * norm);
    // Half the batch twice is the whole batch once, up to the mean's factor and rounding.
    gradients.clear();
    model.loss_and_gradients(&x[..8], &y[..8], 8, &mut gradients).unwrap();
    model.loss_and_gradients(&x[8..], &y[8..], 8, &mut gradients).unwrap();
    for (sum, whole) in collect(&gradients).iter().zip(&once) {
        assert!((sum / 2.0 - whole).abs() < 1e-12 * norm, "{sum} is not twice {whole}");
    }
    gradients.clear();
    model.loss_and_gradients(&x, &y, 8, &mut gradients).unwrap();
    assert_eq!(collect(&gradients), once, "the same bits again");
}

#[test]
fn the_tied_embedding_collects_both_its_uses() {
    // A row that is neither an input nor a target still gets the head's gradient; a row that is an input gets both.
    let model = lively(Config::modern(11, 8, 12, 1, 2));
    let mut gradients = Gradients::new(&model);
    model.loss_and_gradients(&[3, 4], &[4, 3], 2, &mut gradients).unwrap();
    let (name, table) = gradients.iter().next().unwrap();
    assert_eq!(name, "embedding.weight");
    let norm = |row: usize| table[row * 12..][..12].iter().map(|g| g * g).sum::<f64>().sqrt();
    assert!(norm(9) > 1e-6);
    // The head alone gives rows of which the sum over the vocabulary is zero: softmax minus one-hot sums to zero.
    let columns: Vec<f64> = (0..12).map(|c| (0..11).map(|r| table[r * 12 + c]).sum()).collect();
    let inputs_share = columns.iter().map(|g| g * g).sum::<f64>().sqrt();
    assert!(inputs_share > 1e-6, "the inputs' gradient is missing");
}

/// Decodes a sequence twice and compares with the forward pass, relative to the largest logit.
fn decode_as_forward<E: Element>(config: &Config, tolerance: f64) {
    let mut model = Transformer::<E>::new(config.clone(), 3).unwrap();
    enliven(&mut model);
    let sequence = tokens(7, 11);
    let logits = model.logits(&sequence, 7).unwrap();
    assert_eq!(logits.shape().dims(), [7, 11]);
    let largest = logits.values().iter().fold(0.0, |m: f64, x| m.max(x.to_f64().abs()));
    assert!(largest > 0.1);
    let mut decoder = model.decoder();
    for round in 0..2 {
        for (position, &token) in sequence.iter().enumerate() {
            assert_eq!(decoder.position(), position);
            let step = decoder.step(token).unwrap();
            let whole = &logits.values()[position * 11..][..11];
            for (a, b) in step.iter().zip(whole) {
                let error = (a.to_f64() - b.to_f64()).abs() / largest;
                assert!(error < tolerance, "{config:?}, round {round}, position {position}: {a:?} or {b:?}");
            }
        }
        decoder.reset();
    }
}

#[test]
fn decoding_gives_the_logits_of_the_forward_pass() {
    for config in every_kind() {
        decode_as_forward::<f64>(&config, 1e-13);
        decode_as_forward::<f32>(&config, 1e-5);
    }
}

#[test]
fn a_position_sees_only_what_came_before() {
    for config in every_kind() {
        let model = lively(config);
        let mut sequence = tokens(7, 11);
        let before = model.logits(&sequence, 7).unwrap();
        sequence[4] = (sequence[4] + 1) % 11;
        let after = model.logits(&sequence, 7).unwrap();
        assert_eq!(before.values()[..4 * 11], after.values()[..4 * 11]);
        assert!((4..7).all(|p| before.values()[p * 11..][..11] != after.values()[p * 11..][..11]));
    }
}

#[test]
fn order_matters_to_the_model() {
    for config in every_kind() {
        let model = lively(config);
        // Without positions a causal one-token-apart swap of earlier tokens would leave the last row of one layer.
        let last = |tokens: &[u32]| model.logits(tokens, 3).unwrap().values()[2 * 11..].to_vec();
        let (ab, ba) = (last(&[1, 2, 3]), last(&[2, 1, 3]));
        assert!(ab.iter().zip(&ba).any(|(x, y)| (x - y).abs() > 1e-3));
    }
}

#[test]
fn adamw_follows_its_formula() {
    let mut model = lively(Config::modern(5, 4, 8, 1, 2));
    let (x, y) = ([0, 1, 2, 3], [1, 2, 3, 4]);
    let config = AdamWConfig { beta1: 0.8, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.3 };
    let mut optimizer = AdamWOptimizer::new(&model, config);
    let mut gradients = Gradients::new(&model);
    let count = model.parameter_count();
    let (mut m, mut v) = (vec![0.0; count], vec![0.0; count]);
    for step in 1..=3 {
        gradients.clear();
        model.loss_and_gradients(&x, &y, 4, &mut gradients).unwrap();
        let flat = |model: &Transformer<f64>| -> Vec<(f64, bool)> {
            model.parameters().iter().flat_map(|p| p.values.iter().map(|&x| (x, p.decay))).collect()
        };
        let g: Vec<f64> = gradients.iter().flat_map(|(_, g)| g.to_vec()).collect();
        let before = flat(&model);
        optimizer.step(&mut model, &gradients, 0.01, 0.5);
        for (i, (after, _)) in flat(&model).into_iter().enumerate() {
            let g = 0.5 * g[i];
            m[i] = 0.8 * m[i] + 0.2 * g;
            v[i] = 0.95 * v[i] + 0.05 * g * g;
            let (m_hat, v_hat) = (m[i] / (1.0 - 0.8f64.powi(step)), v[i] / (1.0 - 0.95f64.powi(step)));
            let decayed = before[i].0 * if before[i].1 { 1.0 - 0.01 * 0.3 } else { 1.0 };
            let expected = decayed - 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
            assert!((after - expected).abs() < 1e-12, "step {step}, number {i}: {after} is not {expected}");
        }
    }
    assert_eq!(optimizer.step_count(), 3);

    // Restored moments continue with the same bits; foreign ones are refused and change nothing.
    let mut other = AdamWOptimizer::new(&model, config);
    other.restore(optimizer.step_count(), optimizer.state().to_vec()).unwrap();
    assert!(other.restore(9, optimizer.state()[1..].to_vec()).is_err());
    let mut swapped = optimizer.state().to_vec();
    swapped.swap(0, 1);
    assert!(other.restore(9, swapped).is_err());
    let mut twin = lively(model.config().clone());
    for (to, from) in twin.parameters_mut().iter_mut().zip(model.parameters()) {
        to.values.copy_from_slice(&from.values);
    }
    optimizer.step(&mut model, &gradients, 0.01, 1.0);
    other.step(&mut twin, &gradients, 0.01, 1.0);
    for (a, b) in model.parameters().iter().zip(twin.parameters()) {
        assert_eq!(&*a.values, &*b.values);
    }
}
