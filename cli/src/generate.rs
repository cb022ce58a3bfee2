//! `upbeat generate`: continues a prompt with a trained model and writes each character as it comes.

use std::path::{Path, PathBuf};

use upbeat_nn::data::Tokenizer;
use upbeat_nn::generation::generate;
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

/// The model's copy on the Vulkan device that `which`, or else the environment, chooses.
fn on_device(
    model: &Transformer<Float>,
    which: Option<&str>,
    weights: WeightsArg,
) -> Result<VulkanModel, Failure> {
    let options = Options::from_env();
    let options = match which {
        Some(word) => options.device(Choice::parse(word)),
        None => options,
    };
    let offer = |error: &dyn std::fmt::Display| {
        Failure::Input(format!("--device vulkan: {error}; --device cpu always works"))
    };
    let device = Device::open(&options).map_err(|error| offer(&error))?;
    let storage = match weights {
        WeightsArg::F32 => Storage::F32,
        WeightsArg::F16 => Storage::F16,
    };
    VulkanModel::stored(model, &device, storage).map_err(|error| offer(&error))
}

/// Runs the command.
pub(crate) fn run(args: &GenerateArgs, output: &mut Output) -> Result<(), Failure> {
    instruction_set()?;
    if args.weights != WeightsArg::F32 && matches!(args.device, DeviceArg::Cpu) {
        return Err(Failure::Input(
            "--weights f16 needs --device vulkan: the CPU takes a checkpoint's own".to_owned(),
        ));
    }
    let mut sampler = Sampler::new(args.temperature, args.top_p, args.seed)?;
    let runtime = runtime(args.workers)?;
    let folder = checkpoint_folder(&args.checkpoint);
    let (model, tokenizer) = runtime.install(|_| load_model::<Float>(&folder))?;
    let prompt = tokenizer.encode(&args.prompt);
    if prompt.contains(&Tokenizer::UNKNOWN) {
        complain("note: the prompt has characters that the model was not trained on");
    }
    let on_device = match &args.device {
        DeviceArg::Cpu => None,
        DeviceArg::Vulkan(which) => Some(on_device(&model, which.as_deref(), args.weights)?),
    };
    interrupt::listen()?;
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
