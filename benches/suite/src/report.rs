//! Results as text for people: a line a contender, the verdict on ours, and the sum of it all.

use std::fmt::Write;

use crate::outcome::{mean_ratio, Outcome, WORST_RATIO};
use crate::rows::{Goal, Kind};

/// The value of the geometric mean over all rows that is to be reached.
pub const MEAN_RATIO: f64 = 0.80;

/// A value with its unit; nanoseconds become what can be read.
pub fn quantity(value: f64, unit: &str) -> String {
    if unit != "ns" {
        return format!("{value:.2} {unit}");
    }
    match value {
        v if v < 1e3 => format!("{v:.1} ns"),
        v if v < 1e6 => format!("{:.2} us", v / 1e3),
        v if v < 1e9 => format!("{:.3} ms", v / 1e6),
        v => format!("{:.3} s", v / 1e9),
    }
}

/// The goal in words.
pub fn goal(outcome: &Outcome) -> String {
    match outcome.goal {
        Goal::Peer(most) => format!("{most:.3} of the best peer"),
        Goal::Value(most) => quantity(most, outcome.unit),
        Goal::Sequential(most) => format!("{most:.2} of sequential"),
    }
}

/// Whether a goal is met, in a word.
pub fn met(is_met: bool) -> &'static str {
    if is_met {
        "met"
    } else {
        "missed"
    }
}

/// A measured row: what was done, then a line a contender.
pub fn text(outcome: &Outcome) -> String {
    let (kept, discarded) = outcome.rounds;
    let mut text = format!("{}: {}", outcome.group, outcome.work);
    if kept > 1 {
        let _ = write!(text, "   [{kept} rounds, {discarded} discarded]");
    }
    text.push('\n');
    for entry in &outcome.entries {
        let median = quantity(entry.median, outcome.unit);
        let (best, tail) = (quantity(entry.best, outcome.unit), quantity(entry.tail, outcome.unit));
        let _ = write!(text, "  {:<24} {median:>14}  best {best:>14}  99 % {tail:>14}", entry.name);
        if entry.kind == Kind::Ours {
            let _ = write!(text, "  {}", verdict(outcome));
        }
        text.push('\n');
    }
    if let Some(limit) = outcome.limit {
        let _ = writeln!(text, "  {:<24} {:>14}", "limit", quantity(limit, outcome.unit));
    }
    text
}

fn verdict(outcome: &Outcome) -> String {
    let ratio = match (outcome.ratio(), outcome.peer()) {
        (Some(ratio), Some(peer)) => format!("{ratio:.3} x {}; ", peer.name),
        _ => String::new(),
    };
    let met = outcome.met().map_or("unknown without peers", met);
    format!("{ratio}goal {}: {met}", goal(outcome))
}

/// All rows in a sentence or two.
pub fn summary(outcomes: &[Outcome]) -> String {
    let met = outcomes.iter().filter(|outcome| outcome.met() == Some(true)).count();
    let mut text = format!("{met} of {} goals met", outcomes.len());
    if let Some(mean) = mean_ratio(outcomes) {
        let worse: Vec<_> = outcomes
            .iter()
            .filter_map(|o| Some(o).zip(o.ratio().filter(|&ratio| ratio > WORST_RATIO)))
            .collect();
        let _ = write!(
            text,
            "; geometric mean of the ratios to the best peer {mean:.3} (goal {MEAN_RATIO}); {} rows above {WORST_RATIO}",
            worse.len()
        );
        for (outcome, ratio) in worse {
            let _ = write!(text, "\n  {ratio:.3}  {}: {}", outcome.group, outcome.work);
        }
    }
    text
}

/// The rows as a Markdown table.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| work | upbeat | best sequential | limit | best peer | its value | ratio | goal | met |\n\
         |---|---:|---:|---:|---|---:|---:|---|---|\n",
    );
    for outcome in outcomes {
        let value = |value: Option<f64>| value.map_or("–".into(), |value| quantity(value, outcome.unit));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            outcome.work,
            value(Some(outcome.ours().median)),
            value(outcome.sequential().map(|entry| entry.median)),
            value(outcome.limit),
            outcome.peer().map_or("–", |peer| peer.name),
            value(outcome.peer().map(|peer| peer.median)),
            outcome.ratio().map_or("–".into(), |ratio| format!("{ratio:.3}")),
            goal(outcome),
            outcome.met().map_or("–", |met| if met { "yes" } else { "**no**" }),
        );
    }
    text
}
