//! `upbeat tune`: what it finds is saved, shown and used; bad files are refused or said to be ignored.

#[expect(dead_code, reason = "trainings are what the other tests share")]
mod common;

use std::fs;

use common::{is_there, run, stderr, upbeat, Folder};
use serde_json::Value;

fn info(variable: &str, value: &str) -> Value {
    let output = upbeat().args(["info", "--json"]).env(variable, value).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn sizes_are_searched_saved_shown_and_used() {
    let folder = Folder::new("tune");
    let file = folder.path("cache/upbeat/tuning");
    let output = run(&["tune", "--rounds", "1", "--out", &file]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().filter(|line| line.contains("GFLOP/s")).count() >= 4, "{text}");
    assert!(text.contains("best of") && text.contains(&format!("saved in {file}")), "{text}");

    let saved = fs::read_to_string(&file).unwrap();
    for (variable, value) in [("UPBEAT_TUNING", file.clone()), ("XDG_CACHE_HOME", folder.path("cache"))] {
        let tuning = &info(variable, &value)["tuning"];
        assert_eq!(tuning["reason"], format!("saved in {file}"));
        for name in ["private_bytes", "shared_bytes", "task_work", "tasks"] {
            assert!(saved.contains(&format!("{name} = {}\n", tuning[name])), "{name} in {saved}");
        }
    }

    // A file that was asked for must be right; one that is only found is ignored, and that is said.
    fs::write(&file, saved.replace("machine = ", "machine = another ")).unwrap();
    for command in [&["info"][..], &["train", "--steps", "1"], &["tune", "--dry-run"]] {
        let output = upbeat().args(command).env("UPBEAT_TUNING", &file).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(stderr(&output).contains("tune again"), "{}", stderr(&output));
    }
    let reason = info("XDG_CACHE_HOME", &folder.path("cache"))["tuning"]["reason"].to_string();
    assert!(reason.contains("the caches suggest them, as") && reason.contains("tune again"), "{reason}");
}

#[test]
fn a_search_that_is_not_saved_leaves_nothing_and_one_that_cannot_be_fails() {
    let folder = Folder::new("tune-dry");
    let dry = ["tune", "--rounds", "1", "--dry-run"];
    let output = upbeat().args(dry).env("XDG_CACHE_HOME", folder.path("cache")).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8(output.stdout).unwrap().contains("nothing was saved"));
    assert!(!fs::exists(folder.path("cache")).unwrap());

    for (arguments, words) in [
        (vec!["tune", "--rounds", "0"], "--rounds"),
        (vec!["tune", "--dry-run", "--out", "x"], "--out"),
        (vec!["tune", "--workers", "0"], "workers"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    let homeless = upbeat().args(["tune"]).env_remove("XDG_CACHE_HOME").env_remove("HOME").output().unwrap();
    assert_eq!(homeless.status.code(), Some(2));
    assert!(stderr(&homeless).contains("set XDG_CACHE_HOME or HOME"), "{}", stderr(&homeless));
    let file = folder.path("text.rs");
    let output = run(&["tune", "--rounds", "1", "--out", &format!("{file}/tuning")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot be written"), "{}", stderr(&output));
}

/// `tune` for any Vulkan device, on tiny work.
fn tune(more: &[&str]) -> std::process::Output {
    let mut command = upbeat();
    command.args(["tune", "--device", "vulkan", "--small", "--rounds", "1"]);
    command.args(more).env("UPBEAT_VULKAN_DEVICE", "any").output().unwrap()
}

#[test]
fn shapes_of_a_vulkan_device_are_searched_saved_shown_and_used() {
    if !is_there() {
        return;
    }
    let folder = Folder::new("tune-vulkan");
    let file = folder.path("new/shapes");
    let output = tune(&["--only", "few_rows,attention_row", "--out", &file]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let found = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(
        (found("few_rows"), found("attention_row"), found("gemm"), found("elements")),
        (1, 1, 0, 0),
        "{text}"
    );
    assert!(text.contains(&format!("saved in {file}")) && !text.contains("wrong"), "{text}");

    // What the clock made of it aside: with other shapes, it is shown that they are used.
    let saved = fs::read_to_string(&file).unwrap();
    for tunable in upbeat_vulkan::tuning::Tunable::ALL {
        assert!(saved.contains(&format!("\n{} = ", tunable.name())), "{saved}");
    }
    let line = |name: &str| saved.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
    let changed = saved.replace(line("few_rows"), "few_rows = 2").replace(line("elements"), "elements = 64");
    let changed = changed.replace(line("attention_row"), "attention_row = 128 by 16");
    fs::write(&file, &changed).unwrap();
    let shown = |variable: &str, value: &str| {
        let mut command = upbeat();
        command.args(["info", "--json"]).env("UPBEAT_VULKAN_DEVICE", "any").env(variable, value);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["vulkan"].clone()
    };
    let vulkan = shown("UPBEAT_VULKAN_TUNING", &file);
    assert_eq!(vulkan["tuning"]["changed"], 2, "{vulkan}");
    assert_eq!(vulkan["tuning"]["reason"], format!("saved in {file}"));
    // What is not searched stays as it was.
    let mut again = upbeat();
    again.args([
        "tune", "--device", "vulkan", "--small", "--rounds", "1", "--only", "few_rows", "--out", &file,
    ]);
    let again = again.env("UPBEAT_VULKAN_DEVICE", "any").env("UPBEAT_VULKAN_TUNING", &file).output().unwrap();
    assert!(again.status.success(), "{}", stderr(&again));
    assert!(fs::read_to_string(&file).unwrap().contains("\nelements = 64\n"));

    // The usual file is found by itself.
    let cache = folder.path("cache");
    let mut usual = upbeat();
    usual.args(["tune", "--device", "vulkan", "--rounds", "1", "--only", "few_rows"]);
    let usual = usual.env("UPBEAT_VULKAN_DEVICE", "any").env("XDG_CACHE_HOME", &cache).output().unwrap();
    assert!(usual.status.success(), "{}", stderr(&usual));
    let reason = shown("XDG_CACHE_HOME", &cache)["tuning"]["reason"].as_str().unwrap().to_owned();
    let path = reason.strip_prefix("saved in ").unwrap();
    assert!(path.starts_with(&format!("{cache}/upbeat/vulkan-tuning-")), "{reason}");
    fs::write(path, changed.replace("device = ", "device = another ")).unwrap();
    let reason = shown("XDG_CACHE_HOME", &cache)["tuning"]["reason"].to_string();
    assert!(reason.contains("by themselves, as ") && reason.contains("tune again"), "{reason}");

    // One that was asked for must be right.
    fs::write(&file, changed.replace("elements = 64", "elements = 63")).unwrap();
    let vulkan = shown("UPBEAT_VULKAN_TUNING", &file);
    assert!(vulkan["chosen"].is_null(), "{vulkan}");
    let mut refused = upbeat();
    refused.args(["tune", "--device", "vulkan", "--dry-run"]).env("UPBEAT_VULKAN_DEVICE", "any");
    let refused = refused.env("UPBEAT_VULKAN_TUNING", &file).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("elements = 63 is no shape that there is"), "{}", stderr(&refused));
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    for (arguments, words) in [
        (&["tune", "--only", "gemm"][..], "--only and --small are for Vulkan devices"),
        (&["tune", "--small"], "--only and --small are for Vulkan devices"),
        (&["tune", "--device", "no such device"], "--device cpu always works"),
        (&["tune", "--device", ""], "it is cpu, best, vulkan, or a Vulkan device's place"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    if !is_there() {
        return;
    }
    let folder = Folder::new("tune-vulkan-refused");
    let file = folder.path("text.rs");
    let below = format!("{file}/shapes");
    for (more, words) in [
        (&["--only", "abacus"][..], "no name has \"abacus\" in it; there are gemm_wide, "),
        (&["--workers", "2"], "--workers is for the CPU"),
        (&["--only", "few_rows", "--out", &below], "cannot be written"),
    ] {
        let output = tune(more);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    let mut homeless = upbeat();
    homeless.args(["tune", "--device", "vulkan"]).env("UPBEAT_VULKAN_DEVICE", "any");
    let homeless = homeless.env_remove("XDG_CACHE_HOME").env_remove("HOME").output().unwrap();
    assert_eq!(homeless.status.code(), Some(2));
    assert!(stderr(&homeless).contains("set XDG_CACHE_HOME or HOME"), "{}", stderr(&homeless));
    let dry = tune(&["--only", "few_rows", "--dry-run"]);
    assert!(dry.status.success(), "{}", stderr(&dry));
    assert!(String::from_utf8(dry.stdout).unwrap().contains("nothing was saved"));
    let small = tune(&["--only", "few_rows"]);
    assert!(small.status.success(), "{}", stderr(&small));
    assert!(String::from_utf8(small.stdout)
        .unwrap()
        .contains("nothing was saved, for such small work says little"));
}
