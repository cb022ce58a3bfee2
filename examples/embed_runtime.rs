//! A runtime of one's own: configured, used from several threads, asked what it did, and shut down.
//! Run with `cargo run --release --example embed_runtime`.

use std::thread;
use upbeat::{BuildError, Runtime, Stealing, Worker};

fn fib(worker: &Worker, n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = worker.join(|w| fib(w, n - 1), |w| fib(w, n - 2));
    a + b
}

fn main() -> Result<(), BuildError> {
    let runtime = Runtime::builder()
        .workers(2)
        .stealing(Stealing::Nearest)
        .thread_name(|i| format!("embedded-{i}"))
        .on_panic(|_| eprintln!("a detached task panicked"))
        .build()?;

    // Any thread may hand work in; a task that outlives its caller gives a handle.
    let later = runtime.spawn(|| thread::current().name().map(str::to_owned));
    thread::scope(|threads| {
        for n in [20, 25] {
            let runtime = &runtime;
            threads.spawn(move || {
                let expected = [(20, 6765), (25, 75_025)].iter().find(|(m, _)| *m == n).map(|(_, f)| *f);
                assert_eq!(Some(runtime.install(|worker| fib(worker, n))), expected);
            });
        }
    });
    let name = later.join().expect("the task did not panic");
    assert!(name.is_some_and(|name| name.starts_with("embedded-")));

    let total = runtime.metrics().total();
    println!(
        "busy {:?}, {} tasks promoted, {} stolen",
        total.busy,
        total.promotions,
        total.steals.iter().sum::<u64>()
    );
    runtime.shutdown();
    Ok(())
}
