//! `upbeat generate`: continues a prompt with a trained model and writes each character as it comes.

use std::path::{Path, PathBuf};

use upbeat_nn::data::Tokenizer;
use upbeat_nn::generation::{generate, GenerationError};
use upbeat_nn::sampling::Sampler;
use upbeat_nn::train::load_model;
use upbeat_nn::vulkan::{Storage, VulkanModel};
use upbeat_nn::Transformer;
use upbeat_vulkan::{Device, Options};

use crate::args::{GenerateArgs, WeightsArg};
use crate::failure::Failure;
use crate::interrupt;
use crate::machine::{device, instruction_set, offer, runtime};
use crate::output::{complain, Output};
use crate::train::{Float, CHECKPOINTS};

/// The checkpoint folder of an output folder, or the folder itself.
fn checkpoint_folder(given: &Path) -> PathBuf {
    let inside = given.join(CHECKPOINTS);
    if inside.is_dir() {
        inside
    } else {
        given.to_path_buf()
    }
}

/// The model's copy on a Vulkan device.
fn on_device(
    model: &Transformer<Float>,
    device: &Device,
    weights: WeightsArg,
) -> Result<VulkanModel, Failure> {
    let storage = match weights {
        WeightsArg::F32 => Storage::F32,
        WeightsArg::F16 => Storage::F16,
    };
    VulkanModel::stored(model, device, storage).map_err(offer)
}

/// Runs the command.
pub(crate) fn run(args: &GenerateArgs, output: &mut Output) -> Result<(), Failure> {
    instruction_set()?;
    let (device, said) = device(&args.device, Options::from_env())?;
    if args.weights != WeightsArg::F32 && device.is_none() {
        return Err(Failure::Input(
            "--weights f16 needs --device vulkan: the CPU takes a checkpoint's own".to_owned(),
        ));
    }
    let mut sampler = Sampler::new(args.temperature, args.top_p, args.seed)?;
    let runtime = runtime(args.workers)?;
    let folder = checkpoint_folder(&args.checkpoint);
    let (model, tokenizer) = runtime.install(|_| load_model::<Float>(&folder))?;
    let prompt = tokenizer.encode(&args.prompt);
    if prompt.is_empty() {
        return Err(GenerationError::EmptyPrompt.into());
    }
    if prompt.contains(&Tokenizer::UNKNOWN) {
        complain("note: the prompt has characters that the model was not trained on");
    }
    let on_device = device.as_ref().map(|device| on_device(&model, device, args.weights)).transpose()?;
    interrupt::listen()?;
    // After all that may be refused: a refusal is one sentence.
    complain(said);
    output.text(&args.prompt);
    let context = model.config().context;
    let mut each = |token| {
        output.text(tokenizer.character(token));
        !output.is_closed() && !interrupt::asked()
    };
    runtime.install(|_| match &on_device {
        None => generate(&mut model.decoder(), context, &prompt, args.tokens, &mut sampler, &mut each),
        Some(model) => generate(&mut model.decoder(), context, &prompt, args.tokens, &mut sampler, &mut each),
    })?;
    output.line("");
    if interrupt::asked() {
        return Err(Failure::Interrupted);
    }
    Ok(())
}
