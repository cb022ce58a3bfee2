//! Trains a small transformer on the project's README, character by character, and lets it write.
//! Run with `cargo run --release --example train_and_sample`; it takes a few seconds.

use std::path::PathBuf;
use upbeat_nn::data::{read_texts, Dataset, Tokenizer};
use upbeat_nn::generation::generate;
use upbeat_nn::sampling::Sampler;
use upbeat_nn::schedule::Schedule;
use upbeat_nn::train::{TrainConfig, Trainer};
use upbeat_nn::{AdamWConfig, Config};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let readme = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let texts = read_texts(&[readme], &[])?;
    let tokenizer = Tokenizer::from_texts(&texts);

    // Contexts of 64 characters, width 64, two blocks of four heads.
    let model = Config::modern(tokenizer.vocabulary(), 64, 64, 2, 4);
    let dataset = Dataset::new(&texts, &tokenizer, model.context)?;
    let config = TrainConfig {
        model,
        batch: 8,
        schedule: Schedule { peak: 5e-3, floor: 5e-4, warmup: 20, steps: 300 },
        optimizer: AdamWConfig::default(),
        clip: 1.0,
        seed: 7,
    };
    // `f32` for speed; `Trainer::<f64>` runs the same training on the reference kernels.
    let mut trainer = Trainer::<f32>::new(config, tokenizer, dataset)?;
    let first = trainer.evaluate(8)?;
    for step in 1..=300 {
        let report = trainer.step()?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.2} nats a character", report.loss);
        }
    }
    let last = trainer.evaluate(8)?;
    println!("held-out loss: {first:.2} before, {last:.2} after training");
    assert!(last < 0.8 * first, "it has learnt something");

    let (model, tokenizer) = (trainer.model(), trainer.tokenizer());
    let prompt = tokenizer.encode("The ");
    let mut written = prompt.clone();
    let mut sampler = Sampler::new(0.7, 0.9, 1)?;
    generate(&mut model.decoder(), model.config().context, &prompt, 200, &mut sampler, |token| {
        written.push(token);
        true
    })?;
    assert_eq!(written.len(), prompt.len() + 200);
    println!("{}", tokenizer.decode(&written));
    Ok(())
}
