//! The simulating commands: answers are labelled and come again, files are written, bad input is refused in one sentence.

#[expect(dead_code, reason = "trainings are what the other tests share")]
mod common;

use std::fs;

use common::{objects, refused, run, stderr, Folder};
use serde_json::Value;
use upbeat::{Learning, Runtime};

/// The objects of standard output, one a line; each says that it is simulated.
#[track_caller]
fn simulated(arguments: &[&str]) -> Vec<Value> {
    let lines = objects(&run(arguments));
    assert!(!lines.is_empty() && lines.iter().all(|line| line["simulated"] == true), "{lines:?}");
    lines
}

#[test]
fn a_run_is_the_same_for_a_seed_and_another_for_another() {
    let of = |seed| {
        let arguments =
            ["sim", "run", "--machine", "2x32", "--workload", "memory-tree", "--workers", "8", "--seed"];
        simulated(&[&arguments[..], &[seed, "--json"]].concat()).remove(0)
    };
    let first = of("1");
    assert_eq!(first, of("1"));
    assert_ne!(first["makespan_ns"], of("2")["makespan_ns"]);
    assert_eq!(first["leaves"], 16_000);
    let efficiency = first["efficiency"].as_f64().unwrap();
    assert!(efficiency > 0.3 && efficiency < 1.0, "{first}");
    assert!(first["bound_ns"].as_u64() <= first["makespan_ns"].as_u64());
}

#[test]
fn every_name_that_is_listed_can_be_run_and_says_that_it_is_simulated() {
    let list = String::from_utf8(run(&["sim"]).stdout).unwrap();
    let names = |what: &str| -> Vec<String> {
        let line = list.lines().find(|line| line.starts_with(what)).unwrap();
        line[what.len()..].split(',').map(|name| name.trim().to_string()).collect()
    };
    for (list, option) in [
        ("machines", "--machine"),
        ("workloads", "--workload"),
        ("policies", "--policy"),
        ("settings", "--settings"),
        ("idling", "--idling"),
    ] {
        for name in names(list) {
            let output = run(&["sim", "run", "--workers", "2", option, &name]);
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success() && text.contains("(simulated)"), "{name}: {text}");
        }
    }
}

#[test]
fn budgets_are_compared_on_every_trace() {
    let rows = simulated(&["sim", "idle", "--periods", "2000", "--json"]);
    assert_eq!(rows.len(), 38);
    for row in &rows {
        let ratio = |key: &str| row[key].as_f64().unwrap();
        assert!(
            ratio("hedge") >= 1.0 && ratio("ski_rental") <= 2.0 && ratio("best_fixed") <= ratio("ski_rental"),
            "{row}"
        );
    }
    let text = String::from_utf8(run(&["sim", "idle", "--periods", "2000"]).stdout).unwrap();
    assert!(text.contains("made-up") && text.contains("beside ski rental it costs 0."), "{text}");
    refused(&["sim", "idle", "--periods", "0"], "--periods");
}

#[test]
fn machines_and_graphs_are_read_from_files() {
    let folder = Folder::new("sim-files");
    fs::write(folder.path("machine"), "base 4x28\nnodes 2\ncores 4 # small\n").unwrap();
    fs::write(folder.path("graph"), "upbeat-graph 1\nfork 100 1 2\nwork 50000\nwork 50000\n").unwrap();
    let (machine, graph) = (folder.path("machine"), folder.path("graph"));
    let found = simulated(&["sim", "run", "--machine", &machine, "--graph", &graph, "--json"]).remove(0);
    assert_eq!((&found["workers"], &found["leaves"], &found["steals"]), (&8.into(), &2.into(), &1.into()));
    let makespan = found["makespan_ns"].as_u64().unwrap();
    assert!((50_100..100_000).contains(&makespan), "both at once: {makespan}");

    fs::write(folder.path("machine"), "cores many\n").unwrap();
    refused(&["sim", "run", "--machine", &machine], "line 1: cores takes one whole number");
    fs::write(folder.path("graph"), "upbeat-graph 1\nfork 1 2 3\n").unwrap();
    refused(&["sim", "run", "--graph", &graph], "line 2: there is no node 2");
    refused(&["sim", "run", "--graph", &folder.path("none")], "cannot be read");
    refused(&["sim", "run", "--machine", &folder.path("")], "cannot be read");
}

#[test]
fn scaling_writes_a_table_and_a_picture_that_say_what_they_are() {
    let folder = Folder::new("sim-scaling");
    let out = folder.path("out");
    let arguments =
        ["sim", "scaling", "--machine", "2-core", "--workload", "skewed-loop", "--seeds", "1", "--out", &out];
    let output = run(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    for ending in ["md", "csv", "svg"] {
        let text = fs::read_to_string(folder.path(&format!("out/simulated-skewed-loop.{ending}"))).unwrap();
        assert!(text.matches("(simulated)").count() >= 3, "each line is labelled: {text}");
    }
    let points = simulated(&[&arguments[..], &["--json"]].concat());
    assert_eq!(points.len(), 6, "three lines of two numbers of workers");
    refused(&["sim", "scaling", "--out", "/dev/null/out"], "cannot be written");
}

#[test]
fn a_comparison_has_a_row_for_each_policy_and_an_interval_around_its_mean() {
    let rows =
        simulated(&["sim", "compare", "--workload", "tree", "--workers", "4", "--seeds", "3", "--json"]);
    assert_eq!(rows.len(), 8);
    assert_eq!((&rows[0]["policy"], &rows[0]["ratio"]), (&"nearest".into(), &1.0.into()));
    for row in &rows {
        let number = |key: &str| row[key].as_f64().unwrap();
        assert!(number("low") <= number("ratio") && number("ratio") <= number("high"), "{row}");
    }
    let worst = simulated(&["sim", "compare", "--sweep", "2", "--json"]);
    assert_eq!(worst.len(), 7);
}

/// What the numbers are is the machine's affair; that all five are there is ours.
#[test]
fn calibrating_runs_five_workloads_really_and_simulated() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return refused(&["sim", "calibrate"], "takes two cores");
    }
    let output = run(&["sim", "calibrate", "--rounds", "1", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = rows.iter().map(|row| row["workload"].as_str().unwrap()).collect();
    assert_eq!(names, ["tree", "uts", "skewed-loop", "quicksort", "layers"]);
    for row in &rows {
        assert!(
            row["real_ns"].as_f64().unwrap() > 0.0 && row["simulated_ns"].as_f64().unwrap() > 0.0,
            "{row}"
        );
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_simulated() {
    for (arguments, words) in [
        ("run --machine 3x3", "3x3 is neither a machine (2-core, 2x32, 4x28, 8x32) nor a file"),
        ("run --workload forest", "there is no workload forest: choose among tree, memory-tree"),
        ("run --policy best", "there is no policy best: choose among nearest"),
        ("run --settings loud", "there is no settings loud: choose among on-request"),
        ("run --idling never", "there is no idling never: choose among today, spin"),
        ("run --workers 0", "must not be zero"),
        ("run --workers 65", "2x32 has 64 CPUs, too few for 65 workers"),
        ("run --seed -1", "--seed"),
        ("run --workload tree --graph g", "--graph"),
        ("compare --workload tree,forest", "there is no workload forest"),
        ("compare --seeds 0", "--seeds"),
        ("compare --machine 2-core", "too few for 32 workers"),
        ("compare --sweep 0", "--sweep"),
        ("scaling --workload forest", "there is no workload forest"),
        ("calibrate --rounds 0", "--rounds"),
        ("dream", "dream"),
    ] {
        let all: Vec<&str> = std::iter::once("sim").chain(arguments.split(' ')).collect();
        refused(&all, words);
    }
}

#[test]
fn weights_are_learned_kept_and_judged() {
    let folder = Folder::new("sim-learn");
    let (data, weights) = (folder.path("regions.txt"), folder.path("new/learned.policy"));
    let learn = ["sim", "learn", "--regions", "24", "--data", &data, "--out", &weights, "--json"];
    let fits = simulated(&learn);
    assert_eq!(
        (fits.len(), &fits[0]["regions"]),
        (10, &Value::from(24)),
        "all, some kept apart, eight kinds of work"
    );
    let (regions, first) = (fs::read_to_string(&data).unwrap(), fs::read_to_string(&weights).unwrap());
    assert_eq!(regions.lines().count(), 25);
    simulated(&learn);
    assert_eq!(fs::read_to_string(&weights).unwrap(), first, "the same regions give the same weights");
    let judge =
        ["sim", "judge", "--cases", "2", "--seeds", "2", "--weights", &weights, "--data", &data, "--json"];
    let found = simulated(&judge);
    assert_eq!(found.len(), 6, "five policies, and how the bandit compares with single configurations");
    for score in &found[..5] {
        assert!(score["regret_at_500"][0].as_f64().unwrap() >= 1.0, "{score}");
        assert!(score["worst_first_100"].as_f64().unwrap() < 1.2, "{score}");
    }
    fs::write(&weights, first.replacen("network 16", "network 17", 1)).unwrap();
    refused(&["sim", "judge", "--weights", &weights], "16, 16 and 16 units");
    fs::write(&data, "upbeat-regions 1\n7 3 0.5\n").unwrap();
    refused(&["sim", "judge", "--data", &data], "line 2 is not a region");
    refused(&["sim", "learn", "--data", &data, "--out", &weights], "line 2 is not a region");
    refused(&["sim", "judge", "--weights", &folder.path("none")], "cannot be read");
}

#[test]
fn what_a_runtime_chose_is_chosen_again() {
    let folder = Folder::new("sim-replay");
    let runtime = Runtime::builder().workers(2).learning(Learning::Learned).policy_log(30).build().unwrap();
    while runtime.policy_log().unwrap().regions() < 30 {
        let work = || (0..200_000_u64).fold(0, |sum, number| std::hint::black_box(sum ^ number));
        runtime.install(|worker| worker.join(|_| work(), |_| work()));
    }
    let (file, text) = (folder.path("policy.log"), runtime.policy_log().unwrap().to_string());
    fs::write(&file, &text).unwrap();
    let sites = objects(&run(&["sim", "replay", &file, "--json"]));
    let chosen =
        |site: &Value| site["chosen"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
    assert_eq!(sites.iter().map(chosen).sum::<u64>(), 30, "{sites:?}");
    let told = String::from_utf8(run(&["sim", "replay", &file]).stdout).unwrap();
    assert!(told.ends_with("30 regions came out as they were chosen\n"), "{told}");
    fs::write(&file, text.replacen("chosen 0", "chosen 1", 1)).unwrap();
    refused(&["sim", "replay", &file], "do not match its hash");
    refused(&["sim", "replay", &folder.path("none")], "cannot be read");
}
