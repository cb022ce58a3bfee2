//! `upbeat info --topology` draws the machine that it is told, this one without being told any, and refuses what it cannot draw.

#[expect(dead_code, reason = "trainings are what the other tests share")]
mod common;

use std::fs;

use common::{is_refusal, run, stderr, upbeat, Folder};

fn drawn(arguments: &[&str]) -> String {
    let output = run(&[&["info", "--topology"], arguments].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn this_machine_is_drawn_with_all_that_this_process_may_use() {
    let text = drawn(&[]);
    let cpus = upbeat::topology::machine().cpus;
    assert!(text.starts_with("this machine") && text.contains(&format!("{} CPU", cpus.len())), "{text}");
    let is_drawn = |id: usize| {
        let number = id.to_string();
        text.split(['[', ']', ' ', '\n']).any(|word| word == number)
    };
    assert!(cpus.iter().all(|cpu| is_drawn(cpu.id)), "{text}");
}

#[test]
fn a_described_machine_is_drawn_and_so_is_that_of_the_environment() {
    let text = drawn(&["--describe", "node:2 core:2 pu:2"]);
    assert!(text.contains("1 package, 2 memory nodes, 4 cores, 8 CPUs"), "{text}");
    assert!(text.contains("L3 32 MiB      [4 5] [6 7]") && text.contains("       1   20   10"), "{text}");
    let output = upbeat().args(["info", "--topology"]).env("UPBEAT_TOPOLOGY", "package:3").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("UPBEAT_TOPOLOGY, \"package:3\"\n3 packages, 3 memory nodes"), "{text}");
}

#[test]
fn a_copy_of_another_machines_files_is_drawn_with_what_it_lacks() {
    let folder = Folder::new("topology");
    for (file, content) in [
        ("cpu/online", "0-1"),
        ("cpu/cpu0/topology/thread_siblings_list", "0-1"),
        ("cpu/cpu1/topology/thread_siblings_list", "0-1"),
        ("node/node4/cpulist", "0-1"),
        ("node/node4/meminfo", "Node 4 MemTotal: 2097152 kB"),
        ("node/node4/distance", "10"),
    ] {
        let path = folder.path(file);
        fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let text = drawn(&["--sysfs", &folder.path(".")]);
    assert!(text.contains("node 4, 2 GiB") && text.contains("[0 1]"), "{text}");
    assert!(text.contains("note: CPU 0-1: which package it belongs to is not told"), "{text}");
}

#[test]
fn a_picture_is_written_beside_the_text() {
    let folder = Folder::new("picture");
    let path = folder.path("machine.svg");
    let text = drawn(&["--describe", "package:2 core:4", "--svg", &path]);
    assert!(text.ends_with(&format!("picture in {path}\n")), "{text}");
    let svg = fs::read_to_string(path).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains(">package 1</text>") && svg.contains(">7</text>"),
        "{svg}"
    );
}

#[test]
fn what_cannot_be_drawn_is_refused_in_a_sentence() {
    let folder = Folder::new("undrawn");
    let missing = folder.path("missing/machine.svg");
    for (arguments, words) in [
        (&["--describe", "core:0"][..], "--describe: \"core:0\" does not say a number"),
        (&["--describe", ""], "there are none"),
        (&["--sysfs", "/nonexistent"], "/nonexistent has no file cpu/online"),
        (&["--describe", "core:1", "--svg", &missing], "cannot be written"),
        (&["--describe", "core:1", "--sysfs", "/"], "cannot be used with"),
        (&["--json"], "cannot be used with"),
    ] {
        is_refusal(&run(&[&["info", "--topology"], arguments].concat()), words);
    }
    let output = upbeat().arg("info").env("UPBEAT_TOPOLOGY", "cores:4").output().unwrap();
    is_refusal(&output, "UPBEAT_TOPOLOGY=\"cores:4\": \"cores:4\" names none of the levels");
    assert_eq!(run(&["info", "--svg", "machine.svg"]).status.code(), Some(2), "without --topology");
}
