//! `upbeat generate`: continues a prompt with a trained model and writes each character as it comes.

use std::path::{Path, PathBuf};

use upbeat_nn::data::Tokenizer;
use upbeat_nn::generation::generate;
use upbeat_nn::sampling::Sampler;
use upbeat_nn::train::load_model;

use crate::args::GenerateArgs;
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

/// Runs the command.
pub(crate) fn run(args: &GenerateArgs, output: &mut Output) -> Result<(), Failure> {
    instruction_set()?;
    let mut sampler = Sampler::new(args.temperature, args.top_p, args.seed)?;
    let runtime = runtime(args.workers)?;
    let folder = checkpoint_folder(&args.checkpoint);
    let (model, tokenizer) = runtime.install(|_| load_model::<Float>(&folder))?;
    let prompt = tokenizer.encode(&args.prompt);
    if prompt.contains(&Tokenizer::UNKNOWN) {
        complain("note: the prompt has characters that the model was not trained on");
    }
    interrupt::listen()?;
    output.text(&args.prompt);
    runtime.install(|_| {
        generate(&mut model.decoder(), model.config().context, &prompt, args.tokens, &mut sampler, |token| {
            output.text(tokenizer.character(token));
            !output.is_closed() && !interrupt::asked()
        })
    })?;
    output.line("");
    if interrupt::asked() {
        return Err(Failure::Interrupted);
    }
    Ok(())
}
