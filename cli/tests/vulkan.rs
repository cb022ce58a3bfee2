//! The command on a Vulkan device: writes text, measures, and says what to do where there is none.

#[expect(dead_code, reason = "checkpoints are what the other tests share")]
mod common;

use std::process::Command;

use common::{is_refusal, is_there, objects, stderr, train, upbeat, Folder};
use serde_json::Value;
use upbeat_vulkan::{Choice, Device, Options};

#[test]
fn generating_on_a_device_continues_the_prompt() {
    let folder = Folder::new("vulkan");
    assert!(train(&folder, &[]).status.success());
    let out = folder.path("out");
    let write = |device: &str, weights: &str| {
        let mut command = upbeat();
        command.args([
            "generate",
            "--checkpoint",
            &out,
            "--prompt",
            "let x",
            "--tokens",
            "30",
            "--temperature",
            "0",
        ]);
        command.args(["--device", device, "--weights", weights]).output().unwrap()
    };
    let on_cpu = write("cpu", "f32");
    assert!(on_cpu.status.success(), "{}", stderr(&on_cpu));
    is_refusal(
        &write("vulkan:no such device", "f32"),
        if is_there() { "no Vulkan device is" } else { "--device cpu always works" },
    );
    for nothing in ["", " ", "vulkan:"] {
        is_refusal(&write(nothing, "f32"), "it is cpu, best, vulkan, or a Vulkan device's place, kind");
    }
    is_refusal(&write("abacus", "f32"), "--device cpu always works");
    let on = |output: &std::process::Output| {
        let said = stderr(output);
        assert!(output.status.success(), "{said}");
        said.lines()
            .find_map(|line| line.strip_prefix("device: ").map(str::to_owned))
            .expect("the device is said")
    };
    for word in ["cpu", "CPU", " Cpu "] {
        let again = write(word, "f32");
        assert_eq!((on(&again).as_str(), &again.stdout), ("cpu", &on_cpu.stdout), "{word}");
    }
    is_refusal(&write("cpu", "f16"), "--weights f16 needs --device vulkan");
    let mut without = upbeat();
    without.args(["generate", "--checkpoint", &out, "--tokens", "3", "--device", "Best"]);
    // No device has that name, so the best is the CPU, and that is why.
    let why = on(&without.env("UPBEAT_VULKAN_DEVICE", "no such device").output().unwrap());
    assert!(why.starts_with("cpu, as "), "{why}");
    assert!(!is_there() || why.contains("no Vulkan device is \"no such device\""), "{why}");
    if is_there() {
        let name = Device::open(&Options::new().device(Choice::Any)).unwrap().info().name.clone();
        for word in ["VULKAN:ANY", "any", &name.to_uppercase(), &format!("vulkan:{name}")] {
            let said = on(&write(word, "f32"));
            assert!(said.starts_with(&format!("{name}, ")), "{word}: {said}");
        }
        let best = on(&without.env("UPBEAT_VULKAN_DEVICE", "any").output().unwrap());
        assert!(best.starts_with(&name), "{best}");
        for weights in ["f32", "f16"] {
            let on_device = write("vulkan:any", weights);
            assert!(on_device.status.success(), "{}", stderr(&on_device));
            // That they are the same tokens wherever rounding does not decide is shown in `nn/tests/vulkan.rs`.
            let text = String::from_utf8(on_device.stdout).unwrap();
            assert!(text.starts_with("let x") && text.chars().count() == 5 + 30 + 1, "{text}");
        }
    }
}

/// What is neither on nor off is not taken for off.
#[test]
fn a_switch_in_the_environment_is_on_or_off() {
    let info = |value: &str| {
        let output = upbeat().arg("info").env("UPBEAT_VULKAN_VALIDATE", value).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let refused = "UPBEAT_VULKAN_VALIDATE=\"perhaps\" is none of 1, true, yes, on, 0, false, no and off";
    assert!(info("perhaps").contains(refused), "{}", info("perhaps"));
    for known in ["", "0", "No", "off", "YES", "true"] {
        assert!(!info(known).contains("UPBEAT_VULKAN_VALIDATE"), "{known}");
    }
    let mut command = upbeat();
    command.args(["bench", "vulkan", "--small"]).env("UPBEAT_VULKAN_VALIDATE", "perhaps");
    is_refusal(&command.output().unwrap(), refused);
}

#[test]
fn training_says_what_a_gpu_can_do() {
    let says = "training runs on the CPU alone; leave it out, and let `upbeat generate --device vulkan`";
    for device in ["vulkan", "Vulkan:0", "discrete"] {
        is_refusal(&upbeat().args(["train", "--device", device]).output().unwrap(), says);
    }
    let folder = Folder::new("trained-on-the-cpu");
    for device in ["cpu", "BEST"] {
        let output = train(&folder, &["--device", device]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

#[test]
fn the_help_names_the_environment() {
    let help = upbeat().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let variables =
        include_str!("../../README.md").lines().filter_map(|line| line.strip_prefix("| `UPBEAT_"));
    let mut count = 0;
    for variable in variables.filter_map(|line| line.split('`').next()) {
        assert!(help.contains(&format!("UPBEAT_{variable} ")), "{variable} is missing in:\n{help}");
        count += 1;
    }
    assert!(count >= 9, "the search itself works: {count}");
}

/// `bench vulkan --small --json` with more arguments.
fn bench(more: &[&str]) -> Command {
    let mut command = upbeat();
    command.args(["bench", "vulkan", "--small", "--json"]).args(more).env("UPBEAT_VULKAN_DEVICE", "any");
    command
}

/// Whether a record is of a row whose name begins so.
fn is_of(record: &Value, family: &str) -> bool {
    record["work"].as_str().unwrap().starts_with(family)
}

/// What a family's goal is a share of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goal {
    Submissions,
    Copies,
    Peer,
    Nothing,
}

/// Those of [`FAMILIES`] that the device can do: not every one stores f16.
fn families() -> impl Iterator<Item = (&'static str, bool, Goal)> {
    let device = Device::open(&Options::new().device(Choice::Any)).unwrap();
    let half = device.limits().f16_storage;
    FAMILIES.into_iter().filter(move |(family, ..)| half || !family.contains("f16"))
}

/// Families of rows, whether PyTorch has them, and their goals.
const FAMILIES: [(&str, bool, Goal); 22] = [
    ("100 dependent dispatches (additions", false, Goal::Submissions),
    ("100 dependent dispatches (softmaxes", false, Goal::Submissions),
    ("copy: ", true, Goal::Copies),
    ("scale: ", true, Goal::Copies),
    ("add: ", true, Goal::Copies),
    ("GELU: ", true, Goal::Copies),
    ("SwiGLU: ", true, Goal::Copies),
    ("softmax: ", true, Goal::Copies),
    ("LayerNorm: ", true, Goal::Copies),
    ("RMSNorm: ", true, Goal::Copies),
    ("sum of rows: ", true, Goal::Copies),
    ("Gray-Scott: ", false, Goal::Copies),
    ("Ricci: ", false, Goal::Copies),
    ("GEMM f32: ", true, Goal::Peer),
    ("GEMM f32 by f16: ", true, Goal::Nothing),
    ("GEMM f16: ", true, Goal::Peer),
    ("GEMV f32: ", true, Goal::Nothing),
    ("GEMV f32 by f16: ", true, Goal::Nothing),
    ("attention f32: ", true, Goal::Nothing),
    ("attention f16: ", true, Goal::Peer),
    ("decode f32: ", true, Goal::Nothing),
    ("decode f16: ", true, Goal::Nothing),
];

#[test]
fn every_row_is_measured_and_its_lines_can_be_read() {
    if !is_there() {
        return;
    }
    let records = objects(&bench(&[]).output().unwrap());
    let families: Vec<_> = families().collect();
    for record in &records {
        assert!(!record["work"].as_str().unwrap().contains(" 0 "), "{record} is of nothing");
        assert_eq!(record["bench"], "vulkan");
        assert!(record["value"].as_f64().unwrap() > 0.0, "{record}");
        assert!(families.iter().any(|(family, ..)| is_of(record, family)), "{record}");
    }
    for (family, _, goal) in families {
        let of: Vec<_> = records.iter().filter(|record| is_of(record, family)).collect();
        assert!(!of.is_empty(), "{family}");
        for record in of {
            assert_eq!(record["goal"].is_f64(), goal != Goal::Nothing, "{record}");
            // A goal beside a peer that is not there is neither met nor missed.
            let is_known = matches!(goal, Goal::Submissions | Goal::Copies);
            assert_eq!(record["met"].is_boolean(), is_known, "{record}");
            assert_eq!(record["peer"] == "the fastest copy", record["limit"].is_f64(), "{record}");
            assert!(goal != Goal::Copies || record["limit"].is_f64(), "{record}");
        }
    }
    let info = upbeat().arg("info").env("UPBEAT_VULKAN_DEVICE", "any").output().unwrap();
    assert!(String::from_utf8_lossy(&info.stdout).contains("used where asked for: "));
}

#[test]
fn rows_can_be_chosen_and_text_ends_with_a_summary() {
    if !is_there() {
        return;
    }
    let records = objects(&bench(&["--rows", "RMSNorm,decode f32"]).output().unwrap());
    assert!(records.iter().all(|record| is_of(record, "RMSNorm: ") || is_of(record, "decode f32: ")));
    assert!(records.iter().any(|record| is_of(record, "RMSNorm: ")));
    is_refusal(&bench(&["--device", "no such device"]).output().unwrap(), "no Vulkan device is");
    is_refusal(&bench(&["--device", "CPU"]).output().unwrap(), "`upbeat bench kernels`");
    let mut chosen = bench(&["--rows", "RMSNorm", "--device", "any"]);
    let chosen = chosen.env("UPBEAT_VULKAN_DEVICE", "no such device").output().unwrap();
    assert!(!objects(&chosen).is_empty(), "the option goes before the environment");
    let unknown = "no row's name has abacus in it; there are 100 dependent";
    is_refusal(&bench(&["--rows", "abacus"]).output().unwrap(), unknown);
    let mut command = upbeat();
    command.args(["bench", "vulkan", "--small", "--rows", "GEMM f32:"]).env("UPBEAT_VULKAN_DEVICE", "any");
    let text = command.output().unwrap();
    assert!(text.status.success(), "{}", stderr(&text));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("| GEMM f32: ") && text.contains("0 of 0 goals met"), "{text}");
}

#[test]
#[cfg(unix)]
fn a_program_beside_is_asked_for_each_row() {
    if !is_there() {
        return;
    }
    // Its answer is the question: as many seconds as threads were named, taken by the rest of the line.
    let rows = bench(&["--rows", "copy,GEMM f32:,attention f32", "--peer", "cat"]).output().unwrap();
    let beside = |record: &Value| record["peer"].is_string() && record["peer"] != "the fastest copy";
    let records: Vec<_> = objects(&rows).into_iter().filter(beside).collect();
    for record in &records {
        let (work, peer) = (record["work"].as_str().unwrap(), record["peer"].as_str().unwrap());
        assert!(peer.ends_with(work), "{record}");
        let ratio = record["value"].as_f64().unwrap() / record["peer_value"].as_f64().unwrap();
        assert!((record["ratio"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-6, "{record}");
        assert_eq!(record["met"].is_boolean(), record["goal"].is_f64(), "{record}");
    }
    for family in ["copy: ", "GEMM f32: ", "attention f32: "] {
        assert!(records.iter().any(|record| is_of(record, family)), "{family}");
    }
    is_refusal(&bench(&["--peer", "true"]).output().unwrap(), "ended before it answered for the row");
    is_refusal(&bench(&["--peer", "upbeat-has-no-such-program"]).output().unwrap(), "cannot be started");
}

/// A double of PyTorch that computes nothing: every call succeeds, and whatever is timed takes 20 ms.
#[cfg(unix)]
const TORCH: &str = "
__version__ = 'double'
class Anything:
    def __getattr__(self, name):
        return Anything()
    def __call__(self, *arguments, **named):
        return Anything()
    def __iter__(self):
        return iter((Anything(), Anything()))
    def __mul__(self, other):
        return Anything()
class Event(Anything):
    def elapsed_time(self, other):
        return 20.0
class Cuda(Anything):
    def is_available(self):
        return True
    def get_device_name(self):
        return 'nothing'
    def Event(self, enable_timing):
        return Event()
cuda, functional = Cuda(), Anything()
def __getattr__(name):
    return Anything()
";

/// Its times are right or wrong on a GPU alone; this shows that the program knows the rows by the names that they have.
#[test]
#[cfg(unix)]
fn the_program_with_pytorch_knows_the_rows() {
    let python = Command::new("python3").arg("--version").output();
    if !is_there() || !python.is_ok_and(|python| python.status.success()) {
        eprintln!("SKIPPED: the peers' program needs python3");
        return;
    }
    let folder = Folder::new("double");
    std::fs::create_dir_all(folder.path("torch")).unwrap();
    for file in ["torch/__init__.py", "torch/nn.py"] {
        std::fs::write(folder.path(file), TORCH).unwrap();
    }
    let mut command = bench(&["--peer", "python3 benches/vulkan-peers.py"]);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command.env("PYTHONPATH", folder.path("")).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    let records = objects(&output);
    for (family, is_known, _) in families() {
        let mut of = records.iter().filter(|record| is_of(record, family));
        let is_pytorch = |peer: &str| peer.starts_with("PyTorch double on nothing");
        let beside = of.any(|record| record["peer"].as_str().is_some_and(is_pytorch));
        assert_eq!(beside, is_known, "{family}: {}", stderr(&output));
    }
}
