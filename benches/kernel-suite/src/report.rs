//! The table as text, and as Markdown for a record.

use std::fmt::Write;

use crate::case::Goal;
use crate::measure::Outcome;

/// The head of [`line()`]'s columns.
pub fn head() -> String {
    format!(
        "{:58} {:>2} {:>8} {:<7} {:>8} {:>6} {:>9} {:>6} {:>7}  {}",
        "", "T", "rate", "", "limit", "share", "peer", "ratio", "allocs", "goal"
    )
}

/// The goal in words.
pub fn goal(outcome: &Outcome) -> String {
    let share = outcome.share_needed().map(|share| format!("{:.0} % of the limit", 100.0 * share));
    let times = outcome.goal.peer.map(|times| format!("{times:.2} x the peer"));
    let parts: Vec<String> = share.into_iter().chain(times).collect();
    if parts.is_empty() {
        return String::from("none was set");
    }
    parts.join(" and ")
}

/// Whether it is met, in a word.
fn met(outcome: &Outcome) -> &'static str {
    match outcome.met() {
        Some(true) => "met",
        Some(false) => "missed",
        None if outcome.goal == Goal::NONE => "–",
        None => "no peer is measured beside",
    }
}

fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "–".into())
}

/// One row of the table for a terminal.
pub fn line(outcome: &Outcome) -> String {
    format!(
        "{:58} {:>2} {:>8.1} {:<7} {:>8.1} {:>5.0}% {:>9} {:>6} {:>7}  {}: {}",
        format!("{}: {}", outcome.group, outcome.work),
        outcome.workers,
        outcome.rate,
        outcome.unit,
        outcome.limit,
        100.0 * outcome.share(),
        or_dash(outcome.peer.as_ref().map(|(_, rate)| format!("{rate:.1}"))),
        or_dash(outcome.ratio().map(|ratio| format!("{ratio:.2}"))),
        or_dash(outcome.allocations.map(|count| format!("{count:.1}"))),
        goal(outcome),
        met(outcome),
    )
}

/// All rows as a Markdown table.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| work | workers | rate | limit | share | peer | its rate | ratio | allocations | goal | met |\n\
         |---|---:|---:|---:|---:|---|---:|---:|---:|---|---|\n",
    );
    for o in outcomes {
        let (name, rate) = o.peer.clone().unzip();
        let _ = writeln!(
            text,
            "| {}: {} | {} | {:.1} {} | {:.1} | {:.0} % | {} | {} | {} | {} | {} | {} |",
            o.group,
            o.work,
            o.workers,
            o.rate,
            o.unit,
            o.limit,
            100.0 * o.share(),
            or_dash(name),
            or_dash(rate.map(|rate: f64| format!("{rate:.1}"))),
            or_dash(o.ratio().map(|ratio| format!("{ratio:.2}"))),
            or_dash(o.allocations.map(|count| format!("{count:.1}"))),
            goal(o),
            o.met().map_or("–", |met| if met { "yes" } else { "**no**" }),
        );
    }
    text
}

/// All rows in a sentence.
pub fn summary(outcomes: &[Outcome]) -> String {
    let known = outcomes.iter().filter_map(Outcome::met);
    let (met, known) = known.fold((0, 0), |(met, known), is| (met + u32::from(is), known + 1));
    format!(
        "{met} of {known} goals met; {} rows have no goal, or one of a peer that is not measured beside",
        outcomes.len() as u32 - known
    )
}
