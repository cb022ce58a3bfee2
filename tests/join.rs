//! What a join promises: both results, on any number of workers, at any depth.

use upbeat::{Runtime, Worker};

fn fib(worker: &Worker, n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = worker.join(|w| fib(w, n - 1), |w| fib(w, n - 2));
    a + b
}

#[test]
fn returns_both_results_on_any_number_of_workers() {
    for workers in [1, 2, 3, 8] {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        for _ in 0..20 {
            assert_eq!(runtime.install(|w| fib(w, 22)), 17_711, "{workers} workers");
        }
    }
}

#[test]
fn nests_deeper_than_the_ring() {
    fn down(worker: &Worker, depth: u64) -> u64 {
        if depth == 0 {
            return 0;
        }
        let (a, b) = worker.join(|w| down(w, depth - 1), move |_| depth);
        a + b
    }
    let runtime = Runtime::builder().workers(3).stack_size(64 << 20).build().unwrap();
    assert_eq!(runtime.install(|w| down(w, 20_000)), 20_000 * 20_001 / 2);
}
