//! The measuring commands: every row runs and is checked, programs can read the lines, files are written, bad input is
//! refused before anything is measured.

#[expect(dead_code, reason = "trainings are what the other tests share")]
mod common;

use std::fs;

use common::{objects, refused, run, stderr, Folder};
use serde_json::Value;

const FIELDS: [&str; 10] =
    ["bench", "work", "unit", "value", "limit", "peer", "peer_value", "ratio", "goal", "met"];

/// Fails unless `record` has every field, none besides, and is of `bench`.
#[track_caller]
fn complete(record: &Value, bench: &str) {
    let object = record.as_object().unwrap();
    assert_eq!(object.keys().count(), FIELDS.len(), "{record}");
    assert!(FIELDS.iter().all(|field| object.contains_key(*field)), "{record}");
    assert_eq!(record["bench"], bench);
}

#[test]
fn every_row_of_the_scheduler_is_measured_and_its_lines_can_be_read() {
    let output = run(&["bench", "scheduler", "--small", "--seconds", "0", "--json"]);
    let records = objects(&output);
    assert!(records.len() > 30, "{} rows", records.len());
    for record in &records {
        complete(record, "scheduler");
        assert!(record["value"].is_f64() && record["goal"].is_f64(), "{record}");
        // With a peer there is a ratio to it, but of differences; without one there is none.
        let (value, peer) = (record["value"].as_f64().unwrap(), record["peer_value"].as_f64());
        let ratio = peer.map(|peer| value / peer);
        assert_eq!(record["ratio"].as_f64().map(|r| (r * 1e6) as i64), ratio.map(|r| (r * 1e6) as i64));
        assert_eq!(record["peer"].is_null(), record["peer_value"].is_null(), "{record}");
    }
    for group in ["joins", "trees", "sorts", "regions", "loops", "idle"] {
        assert!(records.iter().any(|r| r["work"].as_str().unwrap().starts_with(group)), "{group}");
    }
}

#[test]
fn every_row_of_batches_is_measured_and_its_lines_can_be_read() {
    let output = run(&["bench", "batch", "--small", "--json"]);
    let records = objects(&output);
    assert!(records.len() > 10, "{} rows", records.len());
    for record in &records {
        complete(record, "batch");
        assert!(record["value"].as_f64().unwrap() > 0.0 && record["goal"].is_f64(), "{record}");
    }
    let text = run(&["bench", "batch", "--small"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("goals met"));
}

#[test]
#[cfg(target_os = "linux")]
fn every_way_to_idle_is_measured_and_its_lines_can_be_read() {
    let records = objects(&run(&["bench", "idle", "--small", "--json"]));
    assert_eq!(records.len(), 7 * 5 * 3);
    for record in &records {
        complete(record, "idle");
        let is_hedge = record["work"].as_str().unwrap().ends_with(", hedge");
        assert_eq!(
            (record["met"].is_boolean(), record["peer"] == "ski rental"),
            (is_hedge, is_hedge),
            "{record}"
        );
    }
    let text = run(&["bench", "idle", "--small"]);
    assert_eq!(String::from_utf8_lossy(&text.stdout).matches("| hedge |").count(), 7);
    refused(&["bench", "idle", "--rounds", "0"], "--rounds");
}

#[test]
fn every_work_and_cost_of_the_policy_is_measured_and_its_lines_can_be_read() {
    let small = ["bench", "policy", "--small", "--seconds", "0"];
    let records = objects(&run(&[&small[..], &["--json"]].concat()));
    let of = |way: &str| records.iter().filter(|r| r["work"].as_str().unwrap().ends_with(way)).count();
    assert!(of(": learned") > 15 && of(": bandit") == of(": learned"), "{} rows", records.len());
    for record in &records {
        complete(record, "policy");
        assert!(record["goal"].is_f64() && record["met"].is_boolean(), "{record}");
        if let Some(peer) = record["peer_value"].as_f64() {
            let (value, ratio) = (record["value"].as_f64().unwrap(), record["ratio"].as_f64().unwrap());
            assert!(value > 0.0 && (ratio - value / peer).abs() < 1e-6, "{record}");
            // At the goal itself either may be rounded.
            let above = ratio - record["goal"].as_f64().unwrap();
            assert!(above.abs() < 1e-9 || (record["met"] == true) == (above < 0.0), "{record}");
        }
    }
    let text = run(&small);
    assert!(text.status.success(), "{}", stderr(&text));
    let text = String::from_utf8(text.stdout).unwrap();
    assert_eq!(text.matches("best fixed: ").count(), of(": learned"), "{text}");
    assert!(text.contains("goals met"), "{text}");
    refused(&["bench", "policy", "--seconds=-1"], "--seconds");
}

#[test]
fn every_row_of_the_kernels_is_measured_and_its_lines_can_be_read() {
    let output = run(&["bench", "kernels", "--small", "--rounds", "1", "--json"]);
    let records = objects(&output);
    assert!(records.len() > 30, "{} rows", records.len());
    for record in &records {
        complete(record, "kernels");
        assert!(
            record["value"].as_f64().unwrap() > 0.0 && record["limit"].as_f64().unwrap() > 0.0,
            "{record}"
        );
    }
    for group in ["gemm", "low-precision", "attention", "elementwise", "rows", "images", "flows", "views"] {
        assert!(records.iter().any(|r| r["work"].as_str().unwrap().starts_with(group)), "{group}");
    }
    refused(&["bench", "kernels", "nonsense"], "gemm, low-precision, attention");
    refused(&["bench", "kernels", "--rounds", "0"], "--rounds must be");
}

#[test]
#[cfg(unix)]
fn a_program_beside_is_asked_for_each_row() {
    let rows =
        |peer| run(&["bench", "kernels", "views", "--small", "--rounds", "1", "--json", "--peer", peer]);
    // Its answer is the question: as many seconds as workers were named, taken by the rest of the line.
    let records = objects(&rows("cat"));
    assert!(!records.is_empty());
    for record in &records {
        complete(record, "kernels");
        let (work, peer) = (record["work"].as_str().unwrap(), record["peer"].as_str().unwrap());
        let (row, workers) = work.rsplit_once(", ").unwrap();
        assert!(peer.ends_with(row) && workers.ends_with(" workers"), "{record}");
        assert!(record["ratio"].as_f64().unwrap() > 0.0, "{record}");
    }
    refused(
        &["bench", "kernels", "views", "--small", "--json", "--peer", "true"],
        "ended before it answered for the row",
    );
    refused(&["bench", "kernels", "--peer", "upbeat-has-no-such-program"], "cannot be started");
}

#[test]
fn groups_can_be_chosen_and_text_ends_with_a_summary() {
    let output = run(&["bench", "scheduler", "coarse", "--small", "--seconds", "0"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    // Each row's title says its rounds; the summary may name rows again, as they come out.
    let titles = text.lines().filter(|line| line.starts_with("coarse: ") && line.contains(" rounds, "));
    assert_eq!(titles.count(), 3, "{text}");
    assert!(text.contains("of 3 goals met"), "{text}");
    refused(&["bench", "scheduler", "sing"], "there is no group sing; there are joins, trees");
    refused(&["bench", "scheduler", "--seconds", "nan"], "--seconds");
}

#[test]
fn scaling_writes_tables_and_a_picture() {
    let folder = Folder::new("scaling");
    let out = folder.path("out/deep");
    let small = ["--small", "--seconds", "0", "--workers", "2,1", "--out", &out];
    let output = run(&[&["bench", "scaling"][..], &small].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let table = fs::read_to_string(folder.path("out/deep/scaling.md")).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with(&table) && printed.contains("written to"), "{printed}");
    let csv = fs::read_to_string(folder.path("out/deep/scaling.csv")).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let svg = fs::read_to_string(folder.path("out/deep/scaling.svg")).unwrap();
    for kind in ["strong", "weak", "memory"] {
        assert!(rows.iter().any(|row| row[0] == kind), "{kind}");
        assert!(table.contains(&format!("| {kind} |")) && svg.contains(&format!(">{kind}: ")));
    }
    assert_eq!(rows.len(), 2 * svg.matches(" workers").count().max(6), "{csv}");

    let records = objects(&run(&[&["bench", "scaling", "--json"][..], &small].concat()));
    assert_eq!(records.len(), rows.len());
    assert!(records.iter().all(|r| r["bench"] == "scaling" && r["value"].as_f64().unwrap() > 0.0));
}

#[test]
fn scaling_refuses_what_cannot_be_measured_or_written() {
    let folder = Folder::new("scaling-refused");
    refused(&["bench", "scaling", "--workers", "0,2"], "must not be zero");
    refused(&["bench", "scaling", "--workers", "two"], "--workers");
    refused(&["bench", "scaling", "--workers", "2", "--seconds=-1"], "--seconds");
    let file = folder.path("text.rs");
    refused(&["bench", "scaling", "--workers", "1", "--small", "--out", &file], "cannot be written");
}

#[test]
fn serving_gives_every_request_its_own_tokens_and_its_lines_can_be_read() {
    let small = ["bench", "serve", "--small", "--requests", "5", "--rounds", "2", "--workers", "2"];
    let records = objects(&run(&[&small[..], &["--json"]].concat()));
    for record in &records {
        complete(record, "serve");
        assert!(record["value"].as_f64().unwrap() > 0.0, "{record}");
    }
    let goals: Vec<_> = records.iter().filter(|record| record["goal"].is_f64()).collect();
    assert_eq!(goals.len(), 2, "tokens a second and the time a token");
    for record in goals {
        let ratio = record["value"].as_f64().unwrap() / record["peer_value"].as_f64().unwrap();
        assert!(
            (record["ratio"].as_f64().unwrap() - ratio).abs() < 1e-6 && record["met"].is_boolean(),
            "{record}"
        );
    }
    for way in ["one request alone", "one task a request", "continuous batching"] {
        let of = records.iter().filter(|record| record["work"].as_str().unwrap().starts_with(way));
        assert!(of.count() >= 10, "{way}: a rate and three shares of three times");
    }
    let output = run(&small);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("every request drew the same tokens in each way"), "{text}");
    assert_eq!(text.matches("(goal at ").count(), 2, "{text}");
}

#[test]
fn serving_refuses_what_cannot_be_measured() {
    for option in ["--requests", "--each", "--tokens", "--prompt", "--rows", "--rounds"] {
        refused(&["bench", "serve", "--small", option, "0"], &format!("{option} must be between 1 and 4096"));
    }
    refused(&["bench", "serve", "--small", "--stretch", "0.5"], "--stretch must be a number from 1 on");
    refused(&["bench", "serve", "--width", "100"], "multiple of 64");
    refused(&["bench", "serve", "--vocabulary", "0"], "vocabulary must not be zero");
    refused(&["bench", "serve", "--layers", "0"], "layers must not be zero");
    refused(&["bench", "serve", "--small", "--workers", "0"], "workers must not be zero");
}
