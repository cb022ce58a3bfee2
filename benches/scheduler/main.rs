//! What a join costs when nothing is stolen, and how coarse leaves are shared: upbeat, rayon and chili in one
//! interleaved run, answers checked.
//!
//! `cargo bench --bench scheduler` measures; without `--bench` (as `cargo test --benches` runs it) each body runs once. Pin the
//! process (`taskset -c 0,1`) for steady numbers: worker 0 of each runtime then shares a core with its peers in turn.

mod arguments;
mod measure;
mod serial;
mod workloads;

use arguments::Arguments;
use measure::{Measure, Row};
use std::time::Duration;
use upbeat::{Pin, Runtime};
use upbeat_benches::affinity::Cpus;
use workloads::{busy_leaf, chili_runs, rayon_runs, sequential, sequential_right_first, upbeat_runs, Node};

fn main() {
    let arguments = Arguments::read();
    let measure = Measure::from_args();
    let one = Runtime::builder().workers(1).pin(Pin::Cores).build().expect("a runtime of one worker");
    let two = Runtime::builder().workers(2).pin(Pin::Cores).build().expect("a runtime of two workers");
    let cpus = Cpus::read();
    if arguments.takes("serial") {
        cpus.pin(0);
        serial::run(&two, &arguments);
        cpus.release();
    }
    if !arguments.takes("joins") {
        return;
    }
    let rayon_one =
        rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a rayon pool of one thread");
    let rayon_two =
        rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a rayon pool of two threads");
    let chili = |threads| {
        chili::ThreadPool::with_config(chili::Config {
            thread_count: std::num::NonZero::new(threads),
            ..Default::default()
        })
    };
    let (chili_one, chili_two) = (chili(1), chili(2));
    upbeat_info();

    // One worker: the price of a join. Both sequential orders are measured; the better one is the baseline.
    let node = Node::tree(10);
    let joins = 1023;
    let inner = if measure.is_test() { 1 } else { 200 };
    measure.overhead(
        "tree of 1023 nodes, one worker",
        joins * inner,
        1.0,
        1023,
        &mut [
            Row::new("sequential", || measure::repeat(inner, || sequential::tree((), &node))),
            Row::new("sequential, right first", || {
                measure::repeat(inner, || sequential_right_first::tree((), &node))
            }),
            Row::new("upbeat", || one.install(|w| measure::repeat(inner, || upbeat_runs::tree(w, &node)))),
            Row::new("chili", || {
                let mut scope = chili_one.scope();
                measure::repeat(inner, || chili_runs::tree(&mut scope, &node))
            }),
            Row::new("rayon", || {
                rayon_one.install(|| measure::repeat(inner, || rayon_runs::tree((), &node)))
            }),
        ],
    );
    let n = if measure.is_test() { 12 } else { 27 };
    measure.overhead(
        "fib, no cut-off, one worker",
        workloads::fib_joins(n),
        1.8,
        workloads::fib_answer(n),
        &mut [
            Row::new("sequential", || sequential::fib((), n)),
            Row::new("sequential, right first", || sequential_right_first::fib((), n)),
            Row::new("upbeat", || one.install(|w| upbeat_runs::fib(w, n))),
            Row::new("chili", || chili_runs::fib(&mut chili_one.scope(), n)),
            Row::new("rayon", || rayon_one.install(|| rayon_runs::fib((), n))),
        ],
    );

    // Two workers.
    let leaf = if measure.is_test() { Duration::from_micros(50) } else { Duration::from_millis(13) };
    let leaf = || busy_leaf(leaf);
    measure.speedup(
        "2 coarse leaves of 13 ms, two workers",
        0.6,
        2,
        &mut [
            Row::new("sequential", || leaf() + leaf()),
            Row::new("upbeat", || {
                let (a, b) = two.join(leaf, leaf);
                a + b
            }),
            Row::new("chili", || {
                let (a, b) = chili_two.scope().join(|_| leaf(), |_| leaf());
                a + b
            }),
            Row::new("rayon", || {
                let (a, b) = rayon_two.join(leaf, leaf);
                a + b
            }),
        ],
    );
    let deep = Node::tree(if measure.is_test() { 8 } else { 20 });
    let nodes = deep.count();
    measure.speedup(
        "tree of 1M nodes, two workers",
        1.0,
        nodes,
        &mut [
            Row::new("sequential", || sequential::tree((), &deep)),
            Row::new("sequential, right first", || sequential_right_first::tree((), &deep)),
            Row::new("upbeat", || two.install(|w| upbeat_runs::tree(w, &deep))),
            Row::new("chili", || chili_runs::tree(&mut chili_two.scope(), &deep)),
            Row::new("rayon", || rayon_two.install(|| rayon_runs::tree((), &deep))),
        ],
    );
    let n = if measure.is_test() { 12 } else { 32 };
    measure.speedup(
        "fib(32), no cut-off, two workers",
        1.0,
        workloads::fib_answer(n),
        &mut [
            Row::new("sequential", || sequential::fib((), n)),
            Row::new("upbeat", || two.install(|w| upbeat_runs::fib(w, n))),
            Row::new("chili", || chili_runs::fib(&mut chili_two.scope(), n)),
            Row::new("rayon", || rayon_two.install(|| rayon_runs::fib((), n))),
        ],
    );
}

/// Says what is measured where.
fn upbeat_info() {
    println!("upbeat {}, {} CPUs", env!("CARGO_PKG_VERSION"), upbeat::topology::machine().cpus.len());
}
