//! `upbeat tune`: what it finds is saved, shown and used; bad files are refused or said to be ignored.

#[expect(dead_code, reason = "trainings are what the other tests share")]
mod common;

use std::fs;

use common::{run, stderr, upbeat, Folder};
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
