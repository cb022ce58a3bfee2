//! Serves a small model: several readers ask at once, share every step of the model, and get the tokens that each would get alone.
//! Run with `cargo run --release --example serve`; it trains on the project's README first, for a few seconds.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use upbeat::Runtime;
use upbeat_nn::data::{read_texts, Dataset, Tokenizer};
use upbeat_nn::sampling::Sampler;
use upbeat_nn::schedule::Schedule;
use upbeat_nn::serving::{Request, RequestError, Server, ServerOptions};
use upbeat_nn::train::{TrainConfig, Trainer};
use upbeat_nn::{AdamWConfig, Config, Transformer};

/// A model of contexts of 128 characters, and what its tokens stand for.
fn trained() -> Result<(Transformer<f32>, Tokenizer), Box<dyn std::error::Error>> {
    let readme = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let texts = read_texts(&[readme], &[])?;
    let tokenizer = Tokenizer::from_texts(&texts);
    let model = Config::modern(tokenizer.vocabulary(), 128, 64, 2, 4);
    let dataset = Dataset::new(&texts, &tokenizer, model.context)?;
    let config = TrainConfig {
        model,
        batch: 4,
        schedule: Schedule { peak: 5e-3, floor: 5e-4, warmup: 20, steps: 200 },
        optimizer: AdamWConfig::default(),
        clip: 1.0,
        seed: 7,
    };
    let mut trainer = Trainer::<f32>::new(config, tokenizer, dataset)?;
    for _ in 0..200 {
        trainer.step()?;
    }
    Ok(trainer.into_model())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Arc::new(Runtime::new()?);
    let (model, tokenizer) = runtime.install(|_| trained().map_err(|error| error.to_string()))?;
    let server = Server::new(runtime, Arc::new(model), ServerOptions::default())?;

    // Each reader is a thread here; a reply can be awaited as well.
    let prompts = ["upbeat is ", "A task ", "The runtime ", "Results have "];
    thread::scope(|readers| {
        let read = |(seed, prompt): (usize, &'static str)| {
            let (server, tokenizer) = (&server, &tokenizer);
            readers.spawn(move || -> Result<(), RequestError> {
                let sampler = Sampler::new(0.7, 0.9, seed as u64).expect("0.7 and 0.9 are in range");
                let mut reply = server.submit(Request::new(tokenizer.encode(prompt), 80, sampler))?;
                let mut text = String::from(prompt);
                while let Some(token) = reply.next_token()? {
                    text.push_str(&tokenizer.decode(&[token]));
                }
                println!("{text:?}");
                assert_eq!(text.chars().count(), prompt.chars().count() + 80);
                Ok(())
            })
        };
        let readers: Vec<_> = prompts.into_iter().enumerate().map(read).collect();
        readers.into_iter().try_for_each(|reader| reader.join().expect("no reader panics"))
    })?;

    // Who drops a reply has lost interest: its pages are free after the step that runs.
    let sampler = Sampler::new(0.0, 1.0, 0)?;
    drop(server.submit(Request::new(tokenizer.encode("for ever"), 100, sampler.clone()))?);
    // What cannot be served is refused at once, in a sentence.
    let error = server.submit(Request::new(tokenizer.encode("too much"), 1000, sampler)).unwrap_err();
    println!("refused: {error}");

    let stats = server.stats();
    println!("{} steps of {:.1} tokens", stats.steps, stats.rows as f64 / stats.steps as f64);
    server.finish();
    Ok(())
}
