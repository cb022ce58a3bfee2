//! A model on a GPU beside the same model on the CPU: logits within a bound, and the same greedy tokens wherever the bound decides.

#[path = "../../vulkan/tests/support/mod.rs"]
mod support;

use support::device;
use upbeat_nn::generation::{generate, GenerationError};
use upbeat_nn::model::{Config, FeedForward, Norm, Positions};
use upbeat_nn::sampling::Sampler;
use upbeat_nn::vulkan::{Storage, VulkanModel};
use upbeat_nn::{Parameter, Transformer};
use upbeat_vulkan::f16;

/// Logits may differ by this much of the largest one's magnitude: some thousand roundings of f32 in sums of another order.
const BOUND: f32 = 1e-4;

fn config(positions: Positions, feed_forward: FeedForward, norm: Norm) -> Config {
    let (vocabulary, context, width, layers, heads, hidden) = (61, 96, 48, 3, 4, 100);
    Config {
        vocabulary,
        context,
        width,
        layers,
        heads,
        hidden,
        norm,
        feed_forward,
        positions,
        norm_epsilon: 1e-5,
    }
}

fn configs() -> [Config; 3] {
    [
        config(Positions::Learned, FeedForward::Gelu, Norm::Layer),
        config(Positions::Rotary { base: 10_000.0 }, FeedForward::SwiGlu, Norm::Rms),
        config(Positions::Rotary { base: 500.0 }, FeedForward::Gelu, Norm::Rms),
    ]
}

/// A model whose logits are not all alike, as those of fresh parameters are.
fn model(config: Config) -> Transformer<f32> {
    let mut model = Transformer::<f32>::new(config, 7).unwrap();
    for parameter in model.parameters_mut() {
        if parameter.decay {
            parameter.values.iter_mut().for_each(|x| *x *= 8.0);
        }
    }
    model
}

fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * i * 31 + i * 7 + 3) % vocabulary) as u32).collect()
}

fn largest(logits: &[f32]) -> f32 {
    logits.iter().fold(0.0, |most: f32, x| most.max(x.abs()))
}

#[track_caller]
fn assert_alike(what: &str, found: &[f32], expected: &[f32]) {
    let bound = BOUND * largest(expected);
    for (token, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= bound,
            "{what}: token {token} has {found}, not {expected} within {bound}"
        );
    }
}

#[test]
fn logits_are_those_of_the_cpu_for_whole_prompts_and_single_tokens() {
    let Some(device) = device() else { return };
    for config in configs() {
        let model = model(config.clone());
        let on_device = VulkanModel::new(&model, &device).unwrap();
        // The cache's room grows at 64; a prompt of several rows goes where single tokens went before, and the other way round.
        for pieces in [vec![1; 20], vec![70, 1, 1], vec![3, 61, 1, 2], vec![5, 1, 90]] {
            let all = tokens(pieces.iter().sum(), config.vocabulary);
            let (mut decoder, mut expected) = (on_device.decoder(), model.decoder());
            let mut from = 0;
            for piece in pieces {
                let found = decoder.feed(&all[from..from + piece]).unwrap();
                let mut logits = Vec::new();
                for &token in &all[from..from + piece] {
                    logits = expected.step(token).unwrap().to_vec();
                }
                from += piece;
                assert_alike(&format!("{config:?} after {from}"), found, &logits);
            }
            assert_eq!(decoder.position(), from);
        }
    }
}

/// With weights stored in 16 bits, logits are those of the model whose weights are rounded to them.
#[test]
fn weights_in_f16_are_the_rounded_ones() {
    let Some(device) = device().filter(|device| device.limits().f16_storage) else { return };
    for config in configs() {
        let mut model = model(config.clone());
        let on_device = VulkanModel::stored(&model, &device, Storage::F16).unwrap();
        let stored =
            |parameter: &&mut Parameter<f32>| parameter.decay && !parameter.name.contains("position");
        for parameter in model.parameters_mut().iter_mut().filter(stored) {
            parameter.values.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32());
        }
        let all = tokens(40, config.vocabulary);
        let (mut decoder, mut expected) = (on_device.decoder(), model.decoder());
        for &token in &all {
            let found = decoder.feed(&[token]).unwrap();
            assert_alike(&format!("{config:?}"), found, expected.step(token).unwrap());
        }
        // What f16 cannot hold is not made infinite.
        let far = model.parameters_mut().iter_mut().find(|parameter| parameter.decay).unwrap();
        far.values[0] = 1e6;
        let on_device = VulkanModel::stored(&model, &device, Storage::F16).unwrap();
        let (mut decoder, mut expected) = (on_device.decoder(), model.decoder());
        assert_alike("a weight of 1e6", decoder.feed(&[1]).unwrap(), expected.step(1).unwrap());
    }
}

#[test]
fn greedy_tokens_are_those_of_the_cpu_wherever_the_bound_decides() {
    let Some(device) = device() else { return };
    let mut decided = 0;
    for config in configs() {
        let model = model(config.clone());
        let on_device = VulkanModel::new(&model, &device).unwrap();
        let (mut decoder, mut expected) = (on_device.decoder(), model.decoder());
        let mut token = 1;
        for _ in 0..config.context {
            let found = decoder.feed(&[token]).unwrap().to_vec();
            let logits = expected.step(token).unwrap();
            let best =
                |logits: &[f32]| (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            let mut sorted = logits.to_vec();
            sorted.sort_by(|a, b| b.total_cmp(a));
            // Each of the two may be off by the bound.
            if sorted[0] - sorted[1] > 2.0 * BOUND * largest(logits) {
                assert_eq!(best(&found), best(logits));
                decided += 1;
            }
            token = best(logits) as u32;
        }
    }
    assert!(decided > 250, "{decided} of 288 tokens were decided by more than the bound");
}

#[test]
fn text_longer_than_the_context_goes_on_and_a_reset_decoder_begins_anew() {
    let Some(device) = device() else { return };
    let [config, ..] = configs();
    let model = model(config.clone());
    let on_device = VulkanModel::new(&model, &device).unwrap();
    let mut decoder = on_device.decoder();
    let text = |decoder: &mut upbeat_nn::vulkan::VulkanDecoder<'_>, prompt: &[u32]| {
        let mut out = Vec::new();
        let mut greedy = Sampler::new(0.0, 1.0, 0).unwrap();
        generate(decoder, config.context, prompt, 150, &mut greedy, |token| {
            out.push(token);
            true
        })
        .unwrap();
        out
    };
    let prompt = tokens(200, config.vocabulary);
    let first = text(&mut decoder, &prompt);
    assert_eq!(first.len(), 150);
    assert_eq!(text(&mut decoder, &prompt), first, "nothing of the first text is left");
    assert_eq!(text(&mut on_device.decoder(), &prompt), first);
}

#[test]
fn wrong_tokens_are_refused_and_the_decoder_is_as_before() {
    let Some(device) = device() else { return };
    let [config, ..] = configs();
    let model = model(config.clone());
    let on_device = VulkanModel::new(&model, &device).unwrap();
    let mut decoder = on_device.decoder();
    let expected = decoder.feed(&[1, 2, 3]).unwrap().to_vec();
    decoder.reset();
    decoder.feed(&[1, 2]).unwrap();
    assert_eq!(decoder.feed(&[]).unwrap_err(), GenerationError::EmptyPrompt);
    assert!(decoder.feed(&[61]).unwrap_err().to_string().contains("61"));
    assert!(decoder.feed(&[0; 95]).unwrap_err().to_string().contains("context of 96"));
    assert_eq!(decoder.feed(&[3]).unwrap().len(), 61);
    decoder.reset();
    assert_eq!(decoder.feed(&[1, 2, 3]).unwrap(), expected, "the same bits for the same pieces");
}
