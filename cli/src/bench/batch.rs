//! Forming batches: upbeat's batcher beside a locked queue and, where the command is built with them, tokio's channel and crossbeam's queue; and what batches are for, products by common weights, beside a task for each.

use upbeat_benches::batches::{measure, Row};
use upbeat_kernel_benches::requests::{self, CLIENTS, WEIGHTS};

use super::record::Record;
use crate::args::BatchArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// About as many rows as there are, for the bar.
const ROWS: f64 = 24.0;
/// How many times as many products as with a task for each the design asks for.
const GAIN: f64 = 3.0;

/// Runs the bench.
pub(super) fn run(args: &BatchArgs, output: &mut Output) -> Result<(), Failure> {
    let progress = Progress::new();
    let mut rows = 0;
    let mut met = 0;
    progress.at(0.0, "batches");
    let mut show = |row: Row| {
        rows += 1;
        met += usize::from(row.met() == Some(true));
        let text = match args.json {
            true => format!("{}\n", record(&row).to_json()),
            false => text(&row),
        };
        progress.text(output, &text);
        progress.at((f64::from(rows) / ROWS).min(1.0), &row.work);
    };
    measure(args.small, &mut show);
    for weights in WEIGHTS {
        for rows in [1, 4] {
            products(rows, weights, args.small).into_iter().for_each(&mut show);
        }
    }
    drop(progress);
    if !args.json {
        output.line(format_args!("{met} of {rows} goals met"));
        if !cfg!(feature = "peers") {
            output.line("built without peers; --features peers measures tokio and crossbeam beside");
        }
    }
    Ok(())
}

/// Products of `rows` rows: time an item, and how long the slowest but one in a hundred waits.
fn products(rows: usize, weights: (usize, usize), small: bool) -> [Row; 2] {
    let measured = requests::measure(rows, weights, small);
    let (k, n) = measured.weights;
    let of = |what: &str, value, peer, goal| Row {
        work: format!("{CLIENTS} clients, {rows} x {k} by {k} x {n}, {:.0} a batch: {what}", measured.items),
        unit: "us",
        value,
        peers: vec![("a task an item", peer)],
        goal,
    };
    let ((time, wait), (alone, alone_wait)) = (measured.batched, measured.alone);
    [of("an item", time, alone, Some(alone / GAIN)), of("waiting, 99 %", wait, alone_wait, None)]
}

fn text(row: &Row) -> String {
    let mut text = format!("{:<56} {:>10.1} {}", row.work, row.value, row.unit);
    if let Some((name, value)) = row.peer() {
        text += &format!("; {:.2} x {name} ({value:.1})", row.value / value);
    }
    if let Some(goal) = row.goal {
        text += &format!("; goal {goal:.1}");
    }
    text += match row.met() {
        Some(true) => ": met\n",
        Some(false) => ": missed\n",
        None => "\n",
    };
    text
}

/// As every bench says it. Without a goal of its own a row is to be no slower than its best peer.
fn record(row: &Row) -> Record {
    let peer = row.peer();
    Record {
        bench: "batch",
        work: row.work.clone(),
        unit: row.unit,
        value: row.value,
        limit: None,
        peer: peer.map(|(name, _)| name.into()),
        peer_value: peer.map(|(_, value)| value),
        goal: row.goal.or(peer.map(|(_, value)| value)),
        met: row.met(),
    }
}
