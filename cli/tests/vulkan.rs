//! The command on a Vulkan device: writes text, measures, and says what to do where there is none.

#[expect(dead_code, reason = "checkpoints are what the other tests share")]
mod common;

use common::{is_refusal, objects, stderr, train, upbeat, Folder};

/// Whether there is a device, one that computes on the CPU included. Says loudly that a test is skipped, unless Vulkan is required.
fn is_there() -> bool {
    let there = upbeat_vulkan::devices().is_ok_and(|devices| !devices.is_empty());
    let required = std::env::var("UPBEAT_REQUIRE_VULKAN").is_ok_and(|word| word == "1");
    assert!(there || !required, "UPBEAT_REQUIRE_VULKAN=1, but there is no Vulkan device");
    if !there {
        eprintln!("SKIPPED: a test that needs Vulkan, because there is no device");
    }
    there
}

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
    is_refusal(&write("abacus", "f32"), "it is cpu, vulkan, or vulkan:");
    is_refusal(&write("cpu", "f16"), "--weights f16 needs --device vulkan");
    if is_there() {
        for weights in ["f32", "f16"] {
            let on_device = write("vulkan:any", weights);
            assert!(on_device.status.success(), "{}", stderr(&on_device));
            // That they are the same tokens wherever rounding does not decide is shown in `nn/tests/vulkan.rs`.
            let text = String::from_utf8(on_device.stdout).unwrap();
            assert!(text.starts_with("let x") && text.chars().count() == 5 + 30 + 1, "{text}");
        }
    }
}

#[test]
fn every_row_is_measured_and_its_lines_can_be_read() {
    if !is_there() {
        return;
    }
    let mut command = upbeat();
    command.args(["bench", "vulkan", "--small", "--json"]).env("UPBEAT_VULKAN_DEVICE", "any");
    let records = objects(&command.output().unwrap());
    assert_eq!(records.len(), 5);
    for record in &records {
        assert_eq!(record["bench"], "vulkan");
        assert!(record["value"].as_f64().unwrap() > 0.0, "{record}");
    }
    let info = upbeat().arg("info").env("UPBEAT_VULKAN_DEVICE", "any").output().unwrap();
    assert!(String::from_utf8_lossy(&info.stdout).contains("used where asked for: "));
}
