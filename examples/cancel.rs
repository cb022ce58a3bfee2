//! Cancelling work: spawned tasks, a loop, and a scope. Run with `cargo run --release --example cancel`.

use std::sync::atomic::{AtomicUsize, Ordering};
use upbeat::{CancelToken, Cancelled, Priority, Spawn};

/// The first divisor of `n` above 1 that one of the loop's workers meets. The others stop at their next chunk.
fn any_divisor(n: usize) -> Option<usize> {
    let (token, found) = (CancelToken::new(), AtomicUsize::new(0));
    let outcome = token.run(|| {
        upbeat::par::for_each(2..n, |candidate| {
            if n.is_multiple_of(candidate) {
                found.store(candidate, Ordering::Relaxed);
                token.cancel();
            }
        })
    });
    match outcome {
        Ok(()) => None,
        Err(Cancelled) => Some(found.into_inner()),
    }
}

fn main() {
    // Tasks that share a token: those that have not begun when it is cancelled never do.
    let token = CancelToken::new();
    let tasks: Vec<_> = (0..1000)
        .map(|i| {
            let (seen, options) = (token.clone(), Spawn::new().priority(Priority::High).cancel(&token));
            upbeat::spawn_with(options, move || {
                if i == 10 {
                    seen.cancel();
                }
                i
            })
        })
        .collect();
    let outcomes: Vec<_> = tasks.into_iter().map(upbeat::JoinHandle::join).collect();
    let (finished, cancelled): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(cancelled.iter().all(|outcome| outcome.as_ref().is_err_and(|payload| payload.is::<Cancelled>())));
    println!("{} tasks finished, {} were dropped", finished.len(), cancelled.len());
    assert_eq!(finished.len() + cancelled.len(), 1000);
    assert!(!finished.is_empty(), "the one that cancels finishes");

    let n = 1_000_003 * 999_983;
    let divisor = any_divisor(n).expect("it is a product");
    assert!(n % divisor == 0);
    println!("{n} = {divisor} · {}", n / divisor);

    // A scope says whether all of it ran.
    let token = CancelToken::new();
    let complete = upbeat::scope_with(&token, |scope| (0..100).for_each(|_| scope.spawn(|_| ())));
    assert_eq!(complete, Ok(()));
    let stopped = upbeat::scope_with(&token, |scope| {
        scope.spawn(|_| ());
        token.cancel();
    });
    assert_eq!(stopped, Err(Cancelled));
}
