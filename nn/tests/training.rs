//! A training is a function of its settings and its text: it learns, resumes exactly, and stops with a reason.

use std::fs;
use std::path::{Path, PathBuf};

use upbeat_nn::checkpoint::archive::to_bytes;
use upbeat_nn::checkpoint::{Archive, Array, CheckpointError, Numbers, Store};
use upbeat_nn::data::{Dataset, Text, Tokenizer};
use upbeat_nn::generation::{generate, GenerationError};
use upbeat_nn::sampling::Sampler;
use upbeat_nn::schedule::Schedule;
use upbeat_nn::train::{load_model, Checkpoint, TrainConfig, TrainError, Trainer};
use upbeat_nn::{AdamWConfig, Config};

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("upbeat-training-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const CONTEXT: usize = 16;

fn texts(content: &str) -> Vec<Text> {
    vec![Text { path: "text".into(), content: content.repeat(40) }]
}

fn config(tokenizer: &Tokenizer, steps: u64) -> TrainConfig {
    TrainConfig {
        model: Config::modern(tokenizer.vocabulary(), CONTEXT, 16, 2, 2),
        batch: 3,
        schedule: Schedule { peak: 1e-2, floor: 1e-3, warmup: 4, steps },
        optimizer: AdamWConfig { weight_decay: 0.01, ..AdamWConfig::default() },
        clip: 1.0,
        seed: 42,
    }
}

fn trainer(steps: u64) -> Trainer<f64> {
    let texts = texts("let x = y + 1; // abc\n");
    let tokenizer = Tokenizer::from_texts(&texts);
    let dataset = Dataset::new(&texts, &tokenizer, CONTEXT).unwrap();
    Trainer::new(config(&tokenizer, steps), tokenizer, dataset).unwrap()
}

fn steps(trainer: &mut Trainer<f64>, count: usize) {
    for _ in 0..count {
        trainer.step().unwrap();
    }
}

/// Every bit of the parameters and of the losses.
fn bits(trainer: &Trainer<f64>) -> (Vec<u64>, Vec<u64>) {
    let parameters = trainer.model().parameters().iter().flat_map(|p| p.values.iter());
    let losses = &trainer.history().losses;
    (parameters.map(|x| x.to_bits()).collect(), losses.iter().map(|x| x.to_bits()).collect())
}

fn resumed(folder: &Path, content: &str) -> Result<Trainer<f64>, TrainError> {
    let checkpoint = Checkpoint::load(folder)?;
    let dataset = Dataset::new(&texts(content), &checkpoint.tokenizer, CONTEXT)?;
    Trainer::resume(checkpoint, dataset)
}

#[test]
fn a_repeating_text_is_learnt() {
    let mut trainer = trainer(80);
    let before = trainer.evaluate(8).unwrap();
    assert!(
        (before - (trainer.tokenizer().vocabulary() as f64).ln()).abs() < 0.1,
        "a fresh model guesses: {before}"
    );
    steps(&mut trainer, 80);
    let after = trainer.evaluate(8).unwrap();
    assert!(after < 0.5, "held-out loss fell from {before} to {after}");
    assert_eq!(trainer.history().held_out, [(0, before), (80, after)]);
}

#[test]
fn ten_steps_a_save_and_ten_steps_are_twenty_steps() {
    let folder = Folder::new("exact");
    let mut whole = trainer(20);
    steps(&mut whole, 20);

    let mut first = trainer(20);
    steps(&mut first, 10);
    first.evaluate(4).unwrap();
    let store = Store::create(&folder.0).unwrap();
    first.save(&store).unwrap();
    steps(&mut first, 3); // what follows the save does not reach the checkpoint
    drop((first, store));
    let mut second = resumed(&folder.0, "let x = y + 1; // abc\n").unwrap();
    assert_eq!((second.step_count(), second.history().held_out.len()), (10, 1));
    steps(&mut second, 10);
    assert_eq!(bits(&second), bits(&whole));
    assert_eq!(second.config(), whole.config());
}

#[test]
fn another_seed_is_another_training() {
    let mut other = trainer(20);
    let texts = texts("let x = y + 1; // abc\n");
    let tokenizer = Tokenizer::from_texts(&texts);
    let dataset = Dataset::new(&texts, &tokenizer, CONTEXT).unwrap();
    let config = TrainConfig { seed: 43, ..config(&tokenizer, 20) };
    let mut trainer = Trainer::new(config, tokenizer, dataset).unwrap();
    steps(&mut trainer, 2);
    steps(&mut other, 2);
    assert_ne!(bits(&trainer), bits(&other));
}

#[test]
fn resuming_with_another_text_is_refused() {
    let folder = Folder::new("text");
    let mut first = trainer(20);
    steps(&mut first, 1);
    first.save(&Store::create(&folder.0).unwrap()).unwrap();
    assert!(matches!(resumed(&folder.0, "let x = y + 2; // abc\n"), Err(TrainError::OtherText)));
}

// fault 62: the loss is NaN
#[test]
fn a_loss_that_is_not_finite_stops_with_its_step_and_changes_nothing() {
    let folder = Folder::new("nan");
    let mut first = trainer(20);
    steps(&mut first, 2);
    first.save(&Store::create(&folder.0).unwrap()).unwrap();
    let mut checkpoint = Checkpoint::<f64>::load(&folder.0).unwrap();
    checkpoint.model.parameters_mut()[0].values.fill(f64::NAN);
    let tokenizer = checkpoint.tokenizer.clone();
    let dataset = Dataset::new(&texts("let x = y + 1; // abc\n"), &tokenizer, CONTEXT).unwrap();
    let mut poisoned = Trainer::resume(checkpoint, dataset).unwrap();
    let before = bits(&poisoned);
    for _ in 0..2 {
        let error = poisoned.step().unwrap_err();
        assert!(matches!(error, TrainError::NotFinite { step: 3, what: "loss" }), "{error}");
        assert_eq!(bits(&poisoned), before);
    }
    assert!(matches!(poisoned.evaluate(2), Err(TrainError::NotFinite { step: 2, .. })));
}

/// Saves a checkpoint, lets `change` rewrite its parameters file, and gives what loading says.
fn load_changed(name: &str, change: impl Fn(&str, &Archive<'_>) -> Vec<u8>) -> CheckpointError {
    let folder = Folder::new(name);
    let path = trainer(5).save(&Store::create(&folder.0).unwrap()).unwrap();
    let [parameters, state] =
        ["parameters.safetensors", "state.safetensors"].map(|f| fs::read(path.join(f)).unwrap());
    let archive = Archive::parse(&parameters).unwrap();
    let parameters = change(archive.text(), &archive);
    Store::create(&folder.0)
        .unwrap()
        .save(&[("parameters.safetensors", parameters), ("state.safetensors", state)])
        .unwrap();
    load_model::<f64>(&folder.0).map(|_| ()).unwrap_err()
}

/// The parameters file of `model`'s shape with other settings.
fn file_with(text: &str, archive: &Archive<'_>, without: &str) -> Vec<u8> {
    let trainer = trainer(5);
    let code_points = archive.words("tokenizer.code_points").unwrap();
    let mut arrays: Vec<Array<'_, f64>> = Vec::new();
    for p in trainer.model().parameters().iter().filter(|p| p.name != without) {
        arrays.push(Array {
            name: p.name.clone(),
            shape: p.shape.clone(),
            numbers: Numbers::Floats(&p.values),
        });
    }
    let numbers = Numbers::Words(&code_points);
    arrays.push(Array { name: "tokenizer.code_points".into(), shape: vec![code_points.len()], numbers });
    to_bytes(text, &arrays)
}

#[test]
fn a_checkpoint_whose_settings_and_arrays_disagree_is_refused() {
    let changed = |name: &str, from: &str, to: &str| {
        load_changed(name, |text, archive| file_with(&text.replace(from, to), archive, "")).to_string()
    };
    assert!(changed("wide", "width = 16", "width = 32").contains("settings ask for"), "other width");
    // fault 19: settings alone must not make anyone ask for memory
    assert!(changed("huge", "layers = 2", "layers = 1000000000").contains("settings ask for"));
    assert!(changed("wraps", "width = 16", "width = 18446744073709551600").contains("too large"));
    assert!(changed("heads", "heads = 2", "heads = 3").contains("heads do not divide"));
    assert!(changed("norm", "norm = rms", "norm = batch").contains("`batch` is unknown"));
    assert!(changed("key", "norm = rms", "norm = rms\nsurprise = 1").contains("surprise"));
    let gone = load_changed("gone", |text, archive| file_with(text, archive, "norm.weight"));
    assert!(matches!(gone, CheckpointError::Shape(_)), "{gone}");
}

#[test]
fn generation_goes_past_the_context_and_repeats_with_its_seed() {
    let mut trainer = trainer(150);
    steps(&mut trainer, 150);
    let (model, tokenizer) = (trainer.model(), trainer.tokenizer());
    let continued = |seed| {
        let (mut decoder, mut out) = (model.decoder(), Vec::new());
        let mut sampler = Sampler::new(0.5, 0.9, seed).unwrap();
        let prompt = tokenizer.encode("let x");
        generate(&mut decoder, CONTEXT, &prompt, 5 * CONTEXT, &mut sampler, |token| {
            out.push(token);
            true
        })
        .unwrap();
        tokenizer.decode(&out)
    };
    let text = continued(3);
    assert_eq!(text.chars().count(), 5 * CONTEXT);
    assert!(text.matches("= y + 1; // abc\nlet x").count() >= 2, "the pattern was learnt: {text}");
    assert_eq!(continued(3), text);

    let (mut decoder, mut sampler) = (model.decoder(), Sampler::new(0.0, 1.0, 0).unwrap());
    let mut count = 0;
    let long = tokenizer.encode(&"let x = y + 1; // abc\n".repeat(5));
    generate(&mut decoder, CONTEXT, &long, 100, &mut sampler, |_| {
        count += 1;
        count < 4
    })
    .unwrap();
    assert_eq!(count, 4, "the caller may stop it");
    let empty = generate(&mut decoder, CONTEXT, &[], 1, &mut sampler, |_| true);
    assert_eq!(empty, Err(GenerationError::EmptyPrompt));
    assert!(matches!(
        generate(&mut decoder, CONTEXT, &[9999], 1, &mut sampler, |_| true),
        Err(GenerationError::Model(_))
    ));
}
