//! `join` and `join_context`: `upbeat`'s join behind a look at the thread-local.
//!
//! The left closure runs with the join's own frame as the thread's worker, so a join inside it finds the innermost frame. The
//! right one needs no such step: on its own worker the frame around the join is the thread's worker again, and a thief begins a
//! chain of its own.

use upbeat::embed;
use upbeat::Worker;

use crate::registry::in_worker;
use crate::FnContext;

/// Runs `oper_a` and `oper_b`, in parallel when another thread of the pool is idle, and returns both results.
///
/// `oper_a` runs first on this thread; `oper_b` after it, or meanwhile on a thread that stole it. On a thread outside any pool both
/// run in the global one.
///
/// # Panics
/// When either panics, after both have run; `oper_a`'s panic wins.
///
/// ```
/// let (a, b) = rayon_core::join(|| 1 + 1, || "two");
/// assert_eq!((a, b), (2, "two"));
/// ```
#[inline]
pub fn join<A, B, RA, RB>(oper_a: A, oper_b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    in_worker(|worker, _| {
        let b = Always::new(move |_| oper_b());
        worker.join(|worker| embed::entered(worker, oper_a), move |_| b.run(false))
    })
}

/// [`join`], whose closures learn whether they run on another thread than the one that called it.
///
/// # Panics
/// As `join`.
///
/// ```
/// let (a, b) = rayon_core::join_context(|a| a.migrated(), |b| b.migrated());
/// assert_eq!((a, b), (true, true)); // both migrated to the global pool
/// ```
#[inline]
pub fn join_context<A, B, RA, RB>(oper_a: A, oper_b: B) -> (RA, RB)
where
    A: FnOnce(FnContext) -> RA + Send,
    B: FnOnce(FnContext) -> RB + Send,
    RA: Send,
    RB: Send,
{
    in_worker(|worker, injected| {
        // Its caller splits work into few large parts. One that lies hidden behind such a part could not be had for long.
        embed::offer_next(worker);
        let b = Always::new(move |migrated| oper_b(FnContext::new(migrated)));
        worker.join_context(
            |worker: &Worker, _| embed::entered(worker, || oper_a(FnContext::new(injected))),
            move |_, context| b.run(injected || context.migrated()),
        )
    })
}

/// A closure that is run even if the join withdraws it because the left one panicked.
struct Always<F: FnOnce(bool) -> R, R>(Option<F>);

impl<F: FnOnce(bool) -> R, R> Always<F, R> {
    #[inline(always)]
    fn new(f: F) -> Self {
        Self(Some(f))
    }

    #[inline(always)]
    fn run(mut self, migrated: bool) -> R {
        match self.0.take() {
            Some(f) => f(migrated),
            None => unreachable!("it is run once"),
        }
    }
}

impl<F: FnOnce(bool) -> R, R> Drop for Always<F, R> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f(false);
        }
    }
}
