//! Loops over data that several memory nodes have: each part of the indices goes to the node that has its data.
//!
//! A loop that names its data is asked where they are, a piece at a time. If they are on several nodes, the neighbouring pieces of a node are one
//! *run*, and the runs are the tasks of a scope, each bound for its node (`src/task/directed.rs`). On its node a run is an ordinary stretch, of
//! which idle workers take halves, those of the node first. So what is placed is where work begins. For a run of another node the caller waits as long as any
//! worker would (200 µs at most); so a loop that was too short to wake somebody for the last times is not placed, nor one in a mode that decides otherwise.

use std::ops::Range;

use super::drive::{drive_range, under, Loop, Stop};
use crate::runtime::Mode;
use crate::task::cancel;
use crate::task::frame::Worker;
use crate::task::isolate;
use crate::task::priority::Spawn;
use crate::task::scope;

/// Fewer bytes than this a node are read into caches before it matters where they were.
const LEAST: usize = 1 << 20;
/// Pieces that are asked about: one system call for all.
const PIECES: usize = 64;
/// More runs than this a node, or than half of the pieces, are pages that take turns: those are everybody's.
const MOST: usize = 4;

/// Indices that are next to each other, and the node that has their data.
#[derive(Debug, PartialEq)]
pub(super) struct Run {
    items: Range<usize>,
    node: usize,
}

/// The runs of the indices from `first` to `count`; `None` where it does not matter where they run.
pub(super) fn runs<L: Loop>(
    worker: &Worker,
    first: usize,
    count: usize,
    body: &L,
    is_short: impl FnOnce() -> bool,
) -> Option<Vec<Run>> {
    let registry = worker.thread().registry();
    let homes = registry.topology.homes();
    // A region of isolation has one queue, whatever its tasks are bound for.
    if homes < 2 || worker.mode() != Mode::OnRequest || isolate::is_inside() {
        return None;
    }
    if body.data(first..count)?.bytes() < LEAST * homes || is_short() {
        return None;
    }
    let pieces = (count - first).min(PIECES);
    let cut =
        |piece: usize| first + (count - first) / pieces * piece + (count - first) % pieces * piece / pieces;
    let places =
        (0..pieces).map(|piece| body.data(cut(piece)..cut(piece + 1)).map(|span| span.at(offset(piece))));
    let nodes = registry.memory.nodes_at(&places.collect::<Option<Vec<_>>>()?);
    let known = |node: Option<usize>| node.filter(|&node| registry.topology.home_of(node).is_some());
    // What is nowhere yet goes with what is before it.
    let mut node = nodes.iter().copied().find_map(known)?;
    let mut runs: Vec<Run> = Vec::new();
    for (piece, found) in nodes.into_iter().enumerate() {
        node = known(found).unwrap_or(node);
        let items = cut(piece)..cut(piece + 1);
        match runs.last_mut().filter(|last| last.node == node) {
            Some(last) => last.items.end = items.end,
            None => runs.push(Run { items, node }),
        }
    }
    let is_here =
        |run: &Run| registry.topology.home_of(run.node) == Some(registry.topology.home(worker.index()));
    (runs.len() <= (MOST * homes).min(PIECES / 2) && !runs.iter().all(is_here)).then_some(runs)
}

/// Where in a piece to look, as a fraction: multiples of the golden ratio, for places at equal distances would all meet the same node of pages that
/// take turns.
fn offset(piece: usize) -> f64 {
    (piece as f64 * 0.618_033_988_749_895 + 0.5).fract()
}

/// Runs them; `part` is of the indices before.
pub(super) fn drive<L: Loop>(
    worker: &Worker,
    runs: Vec<Run>,
    body: &L,
    stop: Stop<'_>,
    part: L::Part,
) -> L::Part {
    let mut parts: Vec<Option<L::Part>> = runs.iter().map(|_| None).collect();
    let run = |items: Range<usize>| {
        let drive = |worker: &Worker| drive_range(items.clone(), body.begin(items.start), worker, body, stop);
        under(stop.token, || crate::on_current_worker(drive))
    };
    // The token stops each run between two chunks, as it does any loop. A scope under it would fail also where all had ended before.
    cancel::under(None, || {
        scope::run(worker, |scope| {
            for (part, Run { items, node }) in parts.iter_mut().zip(runs) {
                let run = &run;
                scope.spawn_with(Spawn::new().on_node(node), move |_| *part = Some(run(items)));
            }
        })
    });
    parts.into_iter().flatten().fold(part, |left, right| body.merge(left, right))
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::topology::memory::Span;
    use crate::topology::Machine;
    use crate::Runtime;

    /// Indices over bytes.
    struct Over<'a>(&'a [u8], usize);

    impl Loop for Over<'_> {
        type Part = ();

        fn data(&self, items: Range<usize>) -> Option<Span> {
            Some(Span::of(self.0).share(items, self.1))
        }

        fn begin(&self, _first: usize) {}

        fn run(&self, (): &mut (), _items: Range<usize>) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }

        fn merge(&self, (): (), (): ()) {}
    }

    #[test]
    fn runs_are_cut_where_the_node_changes_and_only_where_it_matters() {
        const MIB: usize = 1 << 20;
        let runtime =
            Runtime::builder().topology(Machine::synthetic("node:2 core:1").unwrap()).build().unwrap();
        let data = vec![0_u8; 8 * MIB];
        let runs_of = |data: &[u8], count| {
            let runs = runtime.install(|worker| runs(worker, 0, count, &Over(data, count), || false));
            runs.map(|runs| runs.into_iter().map(|run| (run.items, run.node)).collect::<Vec<_>>())
        };
        let bind = |part: Range<usize>, node| runtime.memory().bind(&data[part], node).unwrap();
        assert_eq!(runs_of(&data, 800), None, "nowhere");
        bind(6 * MIB..8 * MIB, 1);
        assert_eq!(runs_of(&data, 800), Some(vec![(0..800, 1)]), "what is nowhere goes with the rest");
        bind(0..4 * MIB, 0);
        assert_eq!(runs_of(&data, 800), Some(vec![(0..600, 0), (600..800, 1)]));
        assert_eq!(runs_of(&data, 3), Some(vec![(0..2, 0), (2..3, 1)]), "few indices");
        bind(0..MIB, 1);
        let whole = vec![(0..100, 1), (100..600, 0), (600..800, 1)];
        assert_eq!(runs_of(&data, 800), Some(whole));
        assert_eq!(runs_of(&data[..2 * MIB - 1], 800), None, "too few bytes");
        runtime.memory().interleave(&data[..]).unwrap();
        assert_eq!(runs_of(&data, 1 << 20), None, "pages in turn");
        let own = runtime.install(|worker| worker.index());
        bind(0..8 * MIB, runtime.topology().cpu(own).node);
        assert!(runs_of(&data, 800).is_none_or(|runs| runs.len() == 1), "one run at most");
    }
}
