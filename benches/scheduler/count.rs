//! Runs a workload some number of times and does nothing else, for `benches/instructions.sh`, which counts instructions.

use std::hint::black_box;

use upbeat::Runtime;
use upbeat_benches::timing::repeat;
use upbeat_benches::workloads::{count_joins, counted, on_upbeat, right_first, sequential, Layout, Node};

/// Nodes of the tree, and the number of `fib`.
const NODES: usize = 1023;
const FIB: u32 = 16;

/// Keeps an answer from being optimised away.
fn finish(answer: u64) {
    black_box(answer);
}

/// Runs `WORKLOAD RUNTIME CALLS`, or prints how many joins a call makes where the runtime is `joins`.
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    let [workload, runtime, calls] = words else {
        return Err("--count needs a workload, a runtime and a number of calls".into());
    };
    let calls: u64 = calls.parse().map_err(|error| format!("{calls}: {error}"))?;
    let tree = &*Node::balanced(NODES, Layout::LeftFirst);
    let install = |run: &(dyn Fn(&upbeat::Worker) -> u64 + Sync)| {
        let runtime = Runtime::builder().workers(1).build().expect("a runtime of one worker");
        runtime.install(run)
    };
    match (&**workload, &**runtime) {
        ("tree", "joins") => println!("{}", count_joins(|c| counted::tree(c, tree))),
        ("fib", "joins") => println!("{}", count_joins(|c| counted::fib(c, FIB))),
        ("tree", "sequential") => finish(repeat(calls, || sequential::tree((), black_box(tree)))),
        ("fib", "sequential") => finish(repeat(calls, || sequential::fib((), black_box(FIB)))),
        ("tree", "right-first") => finish(repeat(calls, || right_first::tree((), black_box(tree)))),
        ("fib", "right-first") => finish(repeat(calls, || right_first::fib((), black_box(FIB)))),
        ("tree", "upbeat") => finish(install(&|w| repeat(calls, || on_upbeat::tree(w, black_box(tree))))),
        ("fib", "upbeat") => finish(install(&|w| repeat(calls, || on_upbeat::fib(w, black_box(FIB))))),
        _ => return Err(format!("nothing is counted for {workload} {runtime}")),
    }
    Ok(())
}
