//! Compiles `shaders/*.comp` to `shaders/spirv/*.spv` and writes `shaders/manifest.txt`, the hashes of both.
//!
//! `cargo run --manifest-path shaders/compiler/Cargo.toml` compiles what has changed since; with `-- --check` it writes nothing,
//! compiles everything, and fails where what is committed differs or is not valid for Vulkan 1.3.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use glslang::error::GlslangError;
use glslang::{
    Compiler, CompilerOptions, Shader, ShaderInput, ShaderMessage, ShaderSource, ShaderStage, SourceLanguage,
    SpirvVersion, Target, VulkanVersion,
};
use spirv_tools::val::Validator;
use spirv_tools::TargetEnv;

const MEND: &str = "cargo run --manifest-path shaders/compiler/Cargo.toml";

fn main() -> ExitCode {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [word] if word == "--check" => true,
        other => {
            eprintln!("unknown arguments {other:?}; there is only --check");
            return ExitCode::from(2);
        }
    };
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the compiler is in the shaders' folder");
    match run(folder, check) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(wrong) => {
            eprintln!("{wrong} committed files are not what the sources compile to; mend with: {MEND}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Files of `folder` that end in `.{ending}`, sorted.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut found: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|path| path.extension().is_some_and(|found| found == ending));
    found.sort();
    Ok(found)
}

/// FNV-1a, 64 bits, as `vulkan/tests/shaders.rs` has it.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The source with `#include "file"` lines replaced by the files.
fn expand(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    for line in read(path)?.lines() {
        match line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) {
            Some(file) => text.push_str(&expand(&path.with_file_name(file))?),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    Ok(text)
}

fn compile(name: &str, source: String) -> Result<Vec<u8>, String> {
    let failed = |error: GlslangError| format!("{name}: {error}");
    let compiler = Compiler::acquire().ok_or("glslang could not be initialised")?;
    let source = ShaderSource::from(source);
    let options = CompilerOptions {
        source_language: SourceLanguage::GLSL,
        target: Target::Vulkan { version: VulkanVersion::Vulkan1_3, spirv_version: SpirvVersion::SPIRV1_6 },
        version_profile: None,
        messages: ShaderMessage::DEFAULT,
    };
    let input =
        ShaderInput::new(&source, ShaderStage::Compute, &options, None::<&[(&str, Option<&str>)]>, None)
            .map_err(failed)?;
    let shader = Shader::new(compiler, input).parse().map_err(failed)?;
    let words = shader.compile().map_err(failed)?;
    spirv_tools::val::create(Some(TargetEnv::Vulkan_1_3))
        .validate(&words, None)
        .map_err(|error| format!("{name}: the SPIR-V is not valid: {error}"))?;
    Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
}

/// How many files are wrong, in a check; else it mends them.
fn run(folder: &Path, check: bool) -> Result<usize, String> {
    let manifest_path = folder.join("manifest.txt");
    let spirv = folder.join("spirv");
    let known: BTreeMap<String, String> = fs::read_to_string(&manifest_path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, hashes)| (name.to_owned(), hashes.to_owned()))
        .collect();
    let mut manifest = String::new();
    let mut wrong = 0;
    let mut names = Vec::new();
    for path in files(folder, "comp")? {
        let name = path.file_stem().expect("it has an ending").to_string_lossy().into_owned();
        let source = expand(&path)?;
        let source_hash = hash(source.as_bytes());
        let to = spirv.join(format!("{name}.spv"));
        let committed = fs::read(&to).unwrap_or_default();
        let entry = |bytes: &[u8]| format!("{source_hash:016x} {:016x}", hash(bytes));
        let current = known.get(&name) == Some(&entry(&committed));
        let bytes = if current && !check { committed.clone() } else { compile(&name, source)? };
        if bytes != committed || (check && !current) {
            wrong += 1;
            println!("{name}: {}", if check { "differs" } else { "compiled" });
            if !check {
                fs::create_dir_all(&spirv)
                    .and_then(|()| fs::write(&to, &bytes))
                    .map_err(|error| format!("{}: {error}", to.display()))?;
            }
        }
        manifest.push_str(&format!("{name} {}\n", entry(&bytes)));
        names.push(to);
    }
    for path in files(&spirv, "spv")?.into_iter().filter(|path| !names.contains(path)) {
        wrong += 1;
        println!("{}: has no source", path.display());
        if !check {
            fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    if check {
        return Ok(wrong);
    }
    fs::write(&manifest_path, manifest).map_err(|error| format!("{}: {error}", manifest_path.display()))?;
    Ok(0)
}
