//! Fork and join: two closures, the second one on offer to thieves while the first one runs.
//!
//! Common path, nobody idle: one push and one pop of the ring, no read-modify-write, no fence, no clock. Panics
//! follow faults 1 to 3 of `docs/faults.md`: no frame is left while a thief may still use it.

use std::panic::resume_unwind;

use super::job::{withdraw, StackJob};
use super::unwind::{catch, discard, Payload};
use crate::deque::{Pushed, Taken};
use crate::runtime::worker::Worker;

impl Worker {
    /// Runs `a` and `b`, in parallel when another worker is idle, and returns both results.
    ///
    /// `a` runs first on this worker; `b` runs after it, or meanwhile on a worker that stole it. This is the fastest
    /// form of [`join`](crate::join): the worker is handed down, so no thread-local is read.
    ///
    /// # Panics
    /// When either closure panics, after both have stopped; `a`'s panic wins. If `a` panics and `b` has not
    /// begun, `b` is dropped without running.
    ///
    /// ```
    /// fn fib(worker: &upbeat::Worker, n: u32) -> u64 {
    ///     if n < 2 {
    ///         return n.into();
    ///     }
    ///     let (a, b) = worker.join(|w| fib(w, n - 1), |w| fib(w, n - 2));
    ///     a + b
    /// }
    /// let runtime = upbeat::Runtime::new().unwrap();
    /// assert_eq!(runtime.install(|worker| fib(worker, 20)), 6765);
    /// ```
    #[inline(always)]
    pub fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce(&Worker) -> RA + Send,
        B: FnOnce(&Worker) -> RB + Send,
        RA: Send,
        RB: Send,
    {
        let job = StackJob::new(b);
        let kept = job.copy_closure();
        let index = match self.ring.push(job.header()) {
            Pushed::At(index) => index,
            Pushed::Stopped => match self.push_slowly(job.header()) {
                Pushed::At(index) => index,
                Pushed::Stopped => {
                    // SAFETY: the job was not published.
                    let b = unsafe { job.take_closure() };
                    return (a(self), b(self));
                }
            },
        };
        let ra = match catch(|| a(self)) {
            Ok(ra) => ra,
            Err(payload) => self.left_panicked(&job, index, payload),
        };
        if self.ring.pop(index, || self.reclaimed()) == Taken::Back {
            // SAFETY: the pop made the task ours, and its closure is taken here only.
            let b = unsafe { job.take_closure_or(kept) };
            (ra, b(self))
        } else {
            (ra, self.stolen_result(&job))
        }
    }

    /// The thief's result, once there is one; its panic goes on here.
    #[cold]
    #[inline(never)]
    fn stolen_result<B, RB>(&self, job: &StackJob<B, RB>) -> RB
    where
        B: FnOnce(&Worker) -> RB + Send,
        RB: Send,
    {
        self.wait_for_thief(job.latch());
        // SAFETY: the latch is set, and this is the only place that takes the result on this path.
        let result = unsafe { job.take_result() };
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// `a` panicked: `b` is withdrawn, or waited for if a thief has it, before the panic goes on.
    #[cold]
    #[inline(never)]
    fn left_panicked<B, RB>(&self, job: &StackJob<B, RB>, index: u64, payload: Payload) -> !
    where
        B: FnOnce(&Worker) -> RB + Send,
        RB: Send,
    {
        if self.ring.pop(index, || self.reclaimed()) == Taken::Back {
            // SAFETY: the pop made the task ours, and its closure is taken here only.
            withdraw(unsafe { job.take_closure() });
        } else {
            self.wait_for_thief(job.latch());
            // SAFETY: the latch is set, and this is the only place that takes the result on this path.
            discard(unsafe { job.take_result() });
        }
        resume_unwind(payload)
    }
}
