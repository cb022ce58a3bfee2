//! Bad input gets one clear sentence and exit code 2, and loses nothing.

#[expect(dead_code, reason = "what programs read is what the other tests share")]
mod common;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use upbeat_nn::checkpoint::Store;

use common::{checkpoint_bytes, is_refusal, newest, run, small, stderr, train, upbeat, Folder};

#[test]
fn texts_that_cannot_be_trained_on() {
    let folder = Folder::new("texts");
    fs::write(folder.path("empty.rs"), "").unwrap();
    fs::write(folder.path("short.rs"), "fn main() {}\n").unwrap();
    fs::create_dir(folder.path("bare")).unwrap();
    let out = folder.path("out");
    for (text, words) in [
        ("nothing.rs", "does not exist"),
        ("empty.rs", "is empty"),
        ("short.rs", "too short: it has 13 characters, and a context of 128 needs at least 1290"),
        ("bare", "no .rs or .md file"),
    ] {
        is_refusal(&run(&["train", "--out", &out, "--text", &folder.path(text)]), words);
    }
    is_refusal(&run(&["train", "--out", &out]), "no Cargo workspace");
    assert!(fs::metadata(&out).is_err(), "nothing was made");
}

#[test]
fn settings_that_make_no_sense() {
    let folder = Folder::new("settings");
    for (options, words) in [
        ("--heads 3", "3 heads do not divide a width of 16"),
        ("--layers 0", "must not be zero"),
        ("--width 18446744073709551615 --heads 1 --positions learned", "too large to address"),
        ("--width 18446744073709551616", "--width"),
        ("--context 18446744073709551615", "too large to address"),
        ("--batch 9223372036854775807", "overflows"),
        ("--batch 0", "batch must be 1 or more"),
        ("--steps 0", "steps"),
        ("--width 1048576", "GB of memory"),
        ("--learning-rate nan", "learning rate"),
        ("--learning-rate 0", "learning rate"),
        ("--clip 0", "clip"),
        ("--seed -1", "--seed"),
        ("--workers 0", "must not be zero"),
        ("--workers 100000", "workers"),
        ("--frobnicate", "--frobnicate"),
        ("--norm batch", "batch"),
    ] {
        // Later options of the same name are refused by the parser, so the small ones are left out where they clash.
        let mut arguments = small(&folder);
        for option in options.split(' ').filter(|o| o.starts_with("--")) {
            if let Some(at) = arguments.iter().position(|a| a == option) {
                arguments.drain(at..at + 2);
            }
        }
        is_refusal(&upbeat().args(arguments).args(options.split(' ')).output().unwrap(), words);
    }
    assert!(fs::metadata(folder.path("out")).is_err(), "nothing was made");
    is_refusal(&run(&[]), "train, generate, info, bench, tune or sim");
    is_refusal(&run(&["sing"]), "sing");
    is_refusal(&run(&["bench", "train-gpt", "--batch", "0"]), "--batch");
}

#[test]
fn garbage_in_the_environment() {
    // fault 50
    let folder = Folder::new("environment");
    for value in ["-1", "9e99", "two", "0", "99999999999999999999"] {
        let output = upbeat().args(["info"]).env("UPBEAT_WORKERS", value).output().unwrap();
        is_refusal(&output, "UPBEAT_WORKERS");
    }
    is_refusal(&upbeat().args(small(&folder)).env("UPBEAT_ISA", "sse9").output().unwrap(), "UPBEAT_ISA=sse9");
    is_refusal(
        &upbeat().args(small(&folder)).env("UPBEAT_BF16", "bf17").output().unwrap(),
        "UPBEAT_BF16=bf17",
    );
    let scalar = upbeat().arg("info").env("UPBEAT_ISA", "scalar").env("UPBEAT_BF16", "amx").output().unwrap();
    is_refusal(&scalar, "UPBEAT_BF16=amx is not supported");
    #[cfg(unix)]
    {
        let garbage: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xFF\xFE");
        for variable in ["UPBEAT_WORKERS", "UPBEAT_ISA", "UPBEAT_BF16"] {
            is_refusal(&upbeat().arg("info").env(variable, garbage).output().unwrap(), variable);
        }
    }
}

#[test]
fn folders_that_cannot_be_written() {
    let folder = Folder::new("folders");
    fs::write(folder.path("file"), "not a folder").unwrap();
    let arguments = small(&folder);
    for out in [folder.path("file"), folder.path("file/deeper"), "/dev/null/out".to_string()] {
        let mut arguments = arguments.clone();
        *arguments.last_mut().unwrap() = out;
        is_refusal(&upbeat().args(arguments).output().unwrap(), "cannot be saved to");
    }
    assert_eq!(fs::read(folder.path("file")).unwrap(), b"not a folder");
}

#[test]
fn checkpoints_that_are_missing_damaged_or_different() {
    let folder = Folder::new("checkpoints");
    is_refusal(&train(&folder, &["--resume"]), "there is no checkpoint in");
    is_refusal(&run(&["generate", "--checkpoint", &folder.path("out")]), "there is no checkpoint in");
    assert!(train(&folder, &["--stop-after", "2"]).status.success());
    let whole = checkpoint_bytes(&folder);

    let mut arguments = small(&folder);
    let width = arguments.iter().position(|a| a == "--width").unwrap() + 1;
    arguments[width] = "32".into();
    let output = upbeat().args(&arguments).arg("--resume").output().unwrap();
    is_refusal(&output, "another shape: its width is 16, and --width 32 was given");
    is_refusal(&train(&folder, &["--resume", "--seed", "7"]), "--seed");
    fs::write(folder.path("text.rs"), "let x = y + 2; // abc\n".repeat(200)).unwrap();
    is_refusal(&train(&folder, &["--resume"]), "the text is not the one");
    assert_eq!(checkpoint_bytes(&folder), whole, "a refusal changes nothing");

    let generate = ["generate", "--checkpoint", &folder.path("out"), "--tokens", "3"];
    assert!(run(&generate).status.success());
    for (name, bytes) in [("parameters.safetensors", &whole.0), ("state.safetensors", &whole.1)] {
        let file = newest(&folder).join(name);
        let mut changed = bytes.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 4;
        for damaged in [&changed[..], &bytes[..middle], &[]] {
            fs::write(&file, damaged).unwrap();
            is_refusal(&train(&folder, &["--resume"]), "is damaged");
            if name.starts_with("parameters") {
                is_refusal(&run(&generate), "is damaged");
            }
        }
        fs::write(&file, bytes).unwrap();
    }
    assert!(run(&generate).status.success());
}

/// The newest checkpoint's files with `from` in a file's settings become `to`, saved with hashes that are right.
fn forge(folder: &Folder, from: &str, to: &str) {
    let change = |bytes: &[u8]| {
        let (length, rest) = bytes.split_at(8);
        let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let mut header = std::str::from_utf8(header).unwrap().trim_end().replace(from, to);
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    };
    let whole = checkpoint_bytes(folder);
    let forged = (change(&whole.0), change(&whole.1));
    assert_ne!(forged, whole, "{from} was found");
    let store = Store::create(Path::new(&folder.path("out/checkpoint"))).unwrap();
    store.save(&[("parameters.safetensors", forged.0), ("state.safetensors", forged.1)]).unwrap();
}

#[test]
fn sizes_in_a_forged_checkpoint_that_no_array_confirms() {
    let folder = Folder::new("forged");
    assert!(train(&folder, &[]).status.success());
    forge(&folder, "context = 16\\n", "context = 4294967296\\n");
    let output = run(&["generate", "--checkpoint", &folder.path("out"), "--tokens", "100"]);
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(0), "device: cpu\n"),
        "no memory for unused positions"
    );
    let resume = ["train", "--resume", "--text", &folder.path("text.rs"), "--out", &folder.path("out")];
    is_refusal(&run(&resume), "GB of memory");
    forge(&folder, "context = 4294967296\\n", "context = 16\\n");
    assert!(run(&resume).status.success());
    forge(&folder, "batch = 2\\n", "batch = 4294967296\\n");
    is_refusal(&run(&resume), "GB of memory");
}

#[test]
fn generating_with_options_that_make_no_sense() {
    let folder = Folder::new("sampling");
    assert!(train(&folder, &[]).status.success());
    let out = folder.path("out");
    for (options, words) in [
        (["--temperature", "-1"], "temperature"),
        (["--temperature", "inf"], "temperature"),
        (["--top-p", "0"], "top-p"),
        (["--top-p", "1.5"], "top-p"),
        (["--prompt", ""], "prompt is empty"),
        (["--tokens", "-5"], "--tokens"),
    ] {
        is_refusal(&upbeat().args(["generate", "--checkpoint", &out]).args(options).output().unwrap(), words);
    }
}

// fault 61: a write that fails while saving. The limit on file sizes stands in for a full disk, which needs no rights:
// the checkpoint's larger file does not fit it. Running out of space at every single operation is tested in upbeat-nn.
#[cfg(unix)]
#[test]
fn a_save_that_the_system_refuses_keeps_the_old_checkpoint() {
    let folder = Folder::new("space");
    assert!(train(&folder, &["--stop-after", "2"]).status.success());
    let whole = checkpoint_bytes(&folder);
    let script = "trap '' XFSZ; ulimit -f 8 && exec \"$@\"";
    let output = std::process::Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_upbeat")])
        .args(small(&folder))
        .arg("--resume")
        .output()
        .unwrap();
    is_refusal(&output, "cannot be saved to");
    assert_eq!(checkpoint_bytes(&folder), whole);
    let left = fs::read_dir(folder.path("out/checkpoint")).unwrap().count();
    assert_eq!(left, 2, "the lock and the old checkpoint; the failed save takes no space");
    let output = train(&folder, &["--resume"]);
    assert!(output.status.success(), "with space again, the training goes on: {}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new("pipe");
    let mut training = small(&folder);
    training.extend(["--evaluate-every".into(), "1".into()]);
    let commands = [vec!["info".to_string()], vec!["--help".into()], vec!["bench".into()], training];
    for arguments in commands {
        let mut child =
            upbeat().args(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{arguments:?}");
    }
    assert!(newest(&folder).exists(), "the training went on and was saved");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_standard_output_is_reported_and_the_training_is_saved() {
    let folder = Folder::new("stdout");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = upbeat().args(small(&folder)).stdout(full).output().unwrap();
    is_refusal(&output, "standard output cannot be written");
    assert!(newest(&folder).exists());
}
