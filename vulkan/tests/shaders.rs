//! The committed SPIR-V is what the sources compile to, as far as that can be told without the compiler: by the hashes that it wrote.
//! The gate runs the compiler itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const MEND: &str = "cargo run --manifest-path shaders/compiler/Cargo.toml";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").join("shaders")
}

/// FNV-1a, 64 bits, as `shaders/compiler` has it.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The source with `#include "file"` lines replaced by the files, as the compiler sees it.
fn expand(path: &Path) -> String {
    let mut text = String::new();
    for line in fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).lines()
    {
        match line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) {
            Some(file) => text.push_str(&expand(&path.with_file_name(file))),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

fn named(folder: &Path, ending: &str) -> BTreeMap<String, PathBuf> {
    let paths =
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it can be read").path());
    let paths = paths.filter(|path| path.extension().is_some_and(|found| found == ending));
    paths
        .map(|path| (path.file_stem().expect("it has an ending").to_string_lossy().into_owned(), path))
        .collect()
}

#[test]
fn the_committed_words_are_those_of_the_sources() {
    let folder = folder();
    let manifest = fs::read_to_string(folder.join("manifest.txt")).expect("the manifest is committed");
    let mut listed = BTreeMap::new();
    for line in manifest.lines() {
        let (name, hashes) = line.split_once(' ').expect("a name and two hashes");
        listed.insert(name.to_owned(), hashes.to_owned());
    }
    let (sources, words) = (named(&folder, "comp"), named(&folder.join("spirv"), "spv"));
    assert!(!sources.is_empty(), "the search itself works");
    let names = |map: &BTreeMap<String, PathBuf>| map.keys().cloned().collect::<Vec<_>>();
    let of_manifest: Vec<_> = listed.keys().cloned().collect();
    assert_eq!(names(&sources), of_manifest, "the sources and the manifest; mend with: {MEND}");
    assert_eq!(names(&words), of_manifest, "the compiled shaders and the manifest; mend with: {MEND}");
    for (name, source) in &sources {
        let bytes = fs::read(&words[name]).expect("it can be read");
        let found = format!("{:016x} {:016x}", hash(expand(source).as_bytes()), hash(&bytes));
        assert_eq!(listed[name], found, "{name} was edited and not compiled; mend with: {MEND}");
    }
}
