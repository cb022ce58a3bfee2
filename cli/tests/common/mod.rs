//! What the tests of the command share: a folder of one's own with a text in it, and running the binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that is removed at the end, with a text of 4400 characters in `text.rs`.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// `name` must be unique among all tests.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("upbeat-cli-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("text.rs"), "let x = y + 1; // abc\n".repeat(200)).unwrap();
        Self(path)
    }

    /// A path in the folder, as an argument.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The binary, in an environment without its variables and in a folder without a checkout.
pub(crate) fn upbeat() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_upbeat"));
    command
        .env_remove("UPBEAT_WORKERS")
        .env_remove("UPBEAT_TOPOLOGY")
        .env_remove("UPBEAT_ISA")
        .env_remove("UPBEAT_BF16")
        .env_remove("UPBEAT_TUNING")
        .env_remove("UPBEAT_VULKAN_TUNING");
    // What the user of this machine has tuned is not what is tested.
    command
        .env("UPBEAT_VULKAN_CACHE", "off")
        .env("XDG_CACHE_HOME", "/nonexistent")
        .current_dir(std::env::temp_dir());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    upbeat().args(arguments).output().unwrap()
}

/// Options of a training that takes a fraction of a second.
pub(crate) fn small(folder: &Folder) -> Vec<String> {
    let options = "train --layers 1 --width 16 --heads 2 --context 16 --batch 2 --steps 6 --workers 2";
    let mut options: Vec<String> = options.split(' ').map(String::from).collect();
    options.extend(["--text".into(), folder.path("text.rs"), "--out".into(), folder.path("out")]);
    options
}

/// [`small`] with other options after it.
pub(crate) fn train(folder: &Folder, more: &[&str]) -> Output {
    upbeat().args(small(folder)).args(more).output().unwrap()
}

/// The folder of the newest checkpoint in `folder`'s output folder.
pub(crate) fn newest(folder: &Folder) -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir(folder.path("out/checkpoint"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("generation-"))
        .collect();
    found.sort();
    found.pop().expect("a checkpoint")
}

/// Parameters and state of the newest checkpoint, every byte.
pub(crate) fn checkpoint_bytes(folder: &Folder) -> (Vec<u8>, Vec<u8>) {
    let read = |path: &Path, name: &str| fs::read(path.join(name)).unwrap();
    let newest = newest(folder);
    (read(&newest, "parameters.safetensors"), read(&newest, "state.safetensors"))
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Fails unless `output` is of a run that refused its input in one sentence with `words`.
#[track_caller]
pub(crate) fn is_refusal(output: &Output, words: &str) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert_eq!(message.lines().count(), 1, "one line: {message}");
    assert!(message.starts_with("error: ") && message.contains(words), "{message}");
}

/// Fails unless the command refuses `arguments` in one sentence with `words`, before it has written anything.
#[track_caller]
pub(crate) fn refused(arguments: &[&str], words: &str) {
    let output = run(arguments);
    is_refusal(&output, words);
    assert!(output.stdout.is_empty(), "nothing was done");
}

/// The objects of standard output, one a line.
#[track_caller]
pub(crate) fn objects(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{}", stderr(output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// Whether there is a Vulkan device, one that computes on the CPU included. Says loudly that a test is skipped, unless Vulkan is required.
pub(crate) fn is_there() -> bool {
    let there = upbeat_vulkan::devices().is_ok_and(|devices| !devices.is_empty());
    assert!(there || !upbeat_vulkan::is_required(), "UPBEAT_REQUIRE_VULKAN=1, but there is no Vulkan device");
    if !there {
        eprintln!("SKIPPED: a test that needs Vulkan, because there is no device");
    }
    there
}
