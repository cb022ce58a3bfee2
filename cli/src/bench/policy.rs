//! Learned settings of parallel regions beside every fixed one, on two real workers, and what learning costs.

use upbeat_benches::policies::{measure, Cost, Plan, Row, Work, GOAL, ROWS};
use upbeat_benches::report::met;

use super::record::Record;
use crate::args::PolicyArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Runs the bench.
pub(super) fn run(args: &PolicyArgs, output: &mut Output) -> Result<(), Failure> {
    let plan = Plan { limit: super::limit(args.seconds)?, small: args.small };
    let progress = Progress::new();
    let (mut rows, mut met) = (0, 0);
    let mut ratios = Vec::new();
    progress.at(0.0, "policies");
    measure(plan, &mut |row| {
        rows += 1;
        let (is_met, text, name) = match &row {
            Row::Work(work) => (work.met(), of_work(work), &work.work[..]),
            Row::Cost(cost) => (cost.time <= cost.goal, of_cost(cost), cost.what),
        };
        met += usize::from(is_met);
        if let Row::Work(work) = &row {
            ratios.push(work.learned);
        }
        let text = match args.json {
            true => records(&row).iter().map(|record| format!("{}\n", record.to_json())).collect(),
            false => text,
        };
        progress.text(output, &text);
        progress.at(f64::from(rows) / ROWS as f64, name);
    })?;
    drop(progress);
    if !args.json {
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        output.line(format_args!(
            "best fixed to learned: {mean:.3} in the geometric mean, {least:.3} at least"
        ));
        output.line(format_args!("{met} of {rows} goals met"));
    }
    Ok(())
}

fn of_cost(cost: &Cost) -> String {
    let Cost { what, time, goal } = cost;
    format!("{what}: {time:.1} ns; goal {goal:.0}: {}\n", met(time <= goal))
}

fn of_work(work: &Work) -> String {
    let micros = |time: f64| time / 1e3;
    let (kept, discarded) = work.rounds;
    let mut text = format!(
        "{}: {kept} rounds, {discarded} discarded, measured {}\n  us a call:",
        work.work,
        match work.attempts {
            1 => String::from("once"),
            times => format!("{times} times"),
        }
    );
    for entry in &work.entries {
        text += &format!(" {} {:.1},", entry.name, micros(entry.median));
    }
    text += &format!(" sequential {:.1}\n", micros(work.sequential));
    text += &format!(
        "  best fixed: {}; its time to the learned one's {:.3}, to the bandit's {:.3}; static to the same again {:.3}; goal {GOAL}: {}\n",
        work.entries[work.best].name,
        work.learned,
        work.bandit,
        work.same,
        met(work.met())
    );
    for entry in [work.beside(), work.ours()] {
        let chosen = entry.chosen.iter().filter(|(_, count)| *count > 0);
        let chosen: Vec<_> = chosen.map(|(name, count)| format!("{name} {count}")).collect();
        text += &match chosen.is_empty() {
            true => format!("  {} learned nothing: its regions are too short\n", entry.name),
            false => {
                format!("  {} chose {}; began anew {} times\n", entry.name, chosen.join(", "), entry.changes)
            }
        };
    }
    text
}

/// As every bench says it. A work is two records, whose ratios are of single rounds and not of the medians beside them.
fn records(row: &Row) -> Vec<Record> {
    match row {
        Row::Cost(Cost { what, time, goal }) => vec![Record {
            bench: "policy",
            work: (*what).into(),
            unit: "ns",
            value: *time,
            limit: None,
            peer: None,
            peer_value: None,
            goal: Some(*goal),
            met: Some(time <= goal),
        }],
        Row::Work(work) => {
            let best = &work.entries[work.best];
            let of = |entry: &upbeat_benches::policies::Entry, ratio: f64| Record {
                bench: "policy",
                work: format!("{}: {}", work.work, entry.name),
                unit: "ns a call",
                value: entry.median,
                limit: None,
                peer: Some(best.name.into()),
                peer_value: Some(entry.median * ratio),
                goal: Some(1.0 / GOAL),
                met: Some(ratio >= GOAL),
            };
            vec![of(work.beside(), work.bandit), of(work.ours(), work.learned)]
        }
    }
}
