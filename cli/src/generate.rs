//! `upbeat generate`: continues a prompt with a trained model and writes each character as it comes.

use std::path::{Path, PathBuf};

use upbeat_nn::data::Tokenizer;
use upbeat_nn::generation::{generate, GenerationError};
use upbeat_nn::sampling::Sampler;
use upbeat_nn::train::load_model;
use upbeat_nn::vulkan::{Storage, VulkanModel};
use upbeat_nn::Transformer;
use upbeat_vulkan::{Choice, Device, Options};

use crate::args::{DeviceArg, GenerateArgs, WeightsArg};
use crate::failure::Failure;
use crate::interrupt;
use crate::machine::{instruction_set, runtime};
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

/// What a device that cannot be used ends with.
fn offer(error: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("--device vulkan: {error}; --device cpu always works"))
}

/// The Vulkan device that is asked for, `None` for the CPU; and a sentence that says which one it is, and why where nobody said.
fn device(asked: &DeviceArg) -> Result<(Option<Device>, String), Failure> {
    let cpu = |why: &str| Ok((None, format!("device: cpu{why}")));
    let opened = match asked {
        DeviceArg::Cpu => return cpu(""),
        DeviceArg::Best => match Device::open(&Options::from_env()) {
            Err(error) => return cpu(&format!(", as {error}")),
            opened => opened,
        },
        DeviceArg::Vulkan => Device::open(&Options::from_env()),
        DeviceArg::Which(word) => Device::open(&Options::from_env().device(Choice::parse(word))),
    };
    let device = opened.map_err(offer)?;
    let said = format!("device: {}, {}", device.info().name, device.info().kind);
    Ok((Some(device), said))
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
    let (device, said) = device(&args.device)?;
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
