//! Training from the command line: the same bits for any number of workers and after any pause, a whole checkpoint
//! whatever happens, and the files it promises.

#[expect(dead_code, reason = "refusals and what programs read are what the other tests share")]
mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use common::{checkpoint_bytes, run, small, stderr, train, upbeat, Folder};

/// Standard output as text.
fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A training with other steps and workers than [`small`]'s.
fn bits(name: &str, runs: &[&[&str]], steps: &str, workers: &str) -> (Vec<u8>, Vec<u8>) {
    let folder = Folder::new(name);
    let mut arguments = small(&folder);
    for (option, value) in [("--steps", steps), ("--workers", workers)] {
        let at = arguments.iter().position(|a| a == option).unwrap() + 1;
        arguments[at] = value.into();
    }
    for more in runs {
        let output = upbeat().args(&arguments).args(*more).args(["--evaluate-every", "5"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    checkpoint_bytes(&folder)
}

#[test]
fn one_and_two_workers_give_the_same_bits_after_fifty_steps() {
    let one = bits("one", &[&[]], "50", "1");
    assert!(one == bits("two", &[&[]], "50", "2"));
    assert!(one == bits("three", &[&[]], "50", "3"));
    assert!(one != bits("seed", &[&["--seed", "2"]], "50", "2"), "another seed is another training");
}

#[test]
fn ten_steps_and_ten_more_are_twenty() {
    let whole = bits("whole", &[&[]], "20", "2");
    assert!(whole == bits("parts", &[&["--stop-after", "10"], &["--resume"]], "20", "2"));
    assert!(
        whole
            == bits(
                "many",
                &[&["--stop-after", "5"], &["--resume", "--stop-after", "15"], &["--resume"]],
                "20",
                "1"
            )
    );
}

#[test]
fn a_finished_training_can_be_made_longer_but_not_shorter() {
    let folder = Folder::new("longer");
    let with_steps = |steps: &str, more: &[&str]| {
        let mut arguments = small(&folder);
        let at = arguments.iter().position(|a| a == "--steps").unwrap() + 1;
        arguments[at] = steps.into();
        upbeat().args(&arguments).args(more).output().unwrap()
    };
    assert!(with_steps("10", &[]).status.success());
    let longer = with_steps("15", &["--resume"]);
    assert!(longer.status.success(), "{}", stderr(&longer));
    assert!(stdout(&longer).contains("15 of 15 steps; 5 of them now"), "{}", stdout(&longer));
    let shorter = with_steps("12", &["--resume"]);
    assert_eq!(shorter.status.code(), Some(2));
    assert!(stderr(&shorter).contains("steps"), "{}", stderr(&shorter));
}

#[test]
fn a_training_leaves_what_its_summary_names() {
    let folder = Folder::new("summary");
    let output = train(&folder, &[]);
    let text = stdout(&output);
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    for words in [
        "a sample after step 3",
        "held-out loss",
        "tokens/s",
        "GFLOP/s",
        "workers busy",
        "beats",
        "promotions",
        "steals",
        "allocations",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let svg = fs::read_to_string(folder.path("out/loss.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    let trace: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path("out/trace.json")).unwrap()).unwrap();
    let events = trace.as_array().unwrap();
    let named = |name: &str| events.iter().filter(|e| e["name"] == name && e["ph"] == "X").count();
    assert_eq!((named("step 1"), named("step 6"), named("optimizer")), (1, 1, 6));
    assert!(named("busy") > 0, "the workers' rows are there");
    let busy: Vec<&str> = text.lines().filter(|l| l.contains("workers busy")).collect();
    assert!(busy[0].contains("0: ") && busy[0].contains("1: "), "{busy:?}");
}

#[test]
fn a_new_training_moves_an_older_checkpoint_aside() {
    let folder = Folder::new("aside");
    assert!(train(&folder, &[]).status.success());
    let old = checkpoint_bytes(&folder);
    assert!(train(&folder, &["--seed", "5"]).status.success());
    assert!(checkpoint_bytes(&folder) != old);
    let generations: Vec<_> = fs::read_dir(folder.path("out/checkpoint-1")).unwrap().collect();
    assert_eq!(generations.len(), 2, "the lock and one generation");
    let newest = generations
        .into_iter()
        .map(|e| e.unwrap().path())
        .find(|p| p.is_dir())
        .map(|p| fs::read(p.join("parameters.safetensors")).unwrap());
    assert!(newest == Some(old.0), "the old parameters are there, every byte");
}

#[test]
fn generating_repeats_with_its_seed_and_continues_the_prompt() {
    let folder = Folder::new("generate");
    assert!(train(&folder, &[]).status.success());
    let write = |seed: &str| {
        let out = folder.path("out");
        let output =
            run(&["generate", "--checkpoint", &out, "--prompt", "let x", "--tokens", "40", "--seed", seed]);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let text = write("1");
    assert!(text.starts_with("let x") && text.chars().count() == 5 + 40 + 1, "{text}");
    assert_eq!(write("1"), text);
    assert_ne!(write("2"), text);
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_and_the_training_goes_on_to_the_same_bits() {
    let (folder, other) = (Folder::new("interrupt"), Folder::new("uninterrupted"));
    let endless = |folder: &Folder| {
        let mut arguments = small(folder);
        let at = arguments.iter().position(|a| a == "--steps").unwrap() + 1;
        arguments[at] = "1000000".into();
        arguments.extend(["--evaluate-every".into(), "100".into()]);
        arguments
    };
    let mut child =
        upbeat().args(endless(&folder)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The line after step 100 says that training is under way.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().starts_with("step   100")), "the training says how it goes");
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let rest: Vec<String> = lines.map(|l| l.unwrap()).collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(stderr(&output), "error: interrupted\n");
    let made = rest.iter().find_map(|l| l.split_once(" of 1000000 steps")).expect("a summary").0;
    let later = (made.parse::<u64>().unwrap() / 100 * 100 + 200).to_string();
    let output = upbeat().args(endless(&folder)).args(["--resume", "--stop-after", &later]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let output = upbeat().args(endless(&other)).args(["--stop-after", &later]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(checkpoint_bytes(&folder) == checkpoint_bytes(&other), "after {made} and {later} steps");
}

// fault 61: the process is killed at any moment
#[test]
fn a_killed_training_leaves_a_whole_checkpoint() {
    let folder = Folder::new("killed");
    let mut arguments = small(&folder);
    let at = arguments.iter().position(|a| a == "--steps").unwrap() + 1;
    arguments[at] = "1000000".into();
    arguments.extend(["--save-every".into(), "1".into()]);
    assert!(upbeat().args(&arguments).args(["--stop-after", "1"]).output().unwrap().status.success());
    for round in 0..8u64 {
        let mut child = upbeat()
            .args(&arguments)
            .arg("--resume")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Any moment will do: the promise holds for all of them.
        std::thread::sleep(std::time::Duration::from_millis(40 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let output = run(&["generate", "--checkpoint", &folder.path("out"), "--tokens", "1"]);
        assert!(output.status.success(), "round {round}: {}", stderr(&output));
    }
}

#[test]
fn the_machine_is_told_to_people_and_programs() {
    let text = stdout(&run(&["info"]));
    for words in ["processors", "NUMA nodes", "instruction sets", "kernels use", "workers"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let output =
        upbeat().args(["info", "--json"]).env("UPBEAT_WORKERS", "3").env("UPBEAT_ISA", "scalar").output();
    let json: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(json["workers"]["chosen"], 3);
    assert_eq!(json["workers"]["reason"], "UPBEAT_WORKERS asks for it");
    assert_eq!(json["instruction_set"]["chosen"], "scalar");
    assert!(json["cpus"].as_array().is_some_and(|c| !c.is_empty()));
    // Tests of the workspace run the kernels with 16 lanes too: this package's dependencies ask for it.
    let sets = json["instruction_sets"].as_array().unwrap();
    let supported = |name| sets.iter().find(|set| set["name"] == name).map(|set| &set["supported"]);
    assert_eq!(supported("emulated512"), supported("avx2"));
}

#[test]
fn a_training_in_bf16_goes_on_to_the_same_bits_and_in_no_other_type() {
    let whole = bits("bf16-whole", &[&["--dtype", "bf16"]], "20", "2");
    let parts: [&[&str]; 3] = [
        &["--dtype", "bf16", "--stop-after", "5"],
        &["--resume", "--stop-after", "15"],
        &["--resume", "--dtype", "bf16"],
    ];
    assert!(whole == bits("bf16-parts", &parts, "20", "1"));
    assert!(whole.0 != bits("bf16-not", &[&[]], "20", "2").0, "f32 is another training");

    let folder = Folder::new("bf16-refused");
    let output = train(&folder, &["--dtype", "bf16"]);
    assert!(
        output.status.success() && stdout(&output).contains("GFLOP/s in steps, bf16"),
        "{}",
        stdout(&output)
    );
    let refused = train(&folder, &["--resume", "--dtype", "f32"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--dtype bf16, and --dtype f32 was given"), "{}", stderr(&refused));
    let written = run(&["generate", "--checkpoint", &folder.path("out"), "--tokens", "5"]);
    assert!(written.status.success(), "{}", stderr(&written));
}
