//! Fork and join: two closures, the second one on offer to thieves while the first one runs.
//!
//! Common path, nobody idle: a frame is filled in and two flags are read; no read-modify-write, no fence, no clock, not even
//! an index that one join stores and the next one loads. Panics
//! follow faults 1 to 3 of `docs/faults.md`: no frame is left while a thief may still use it.

use std::panic::resume_unwind;

use super::frame::{called, Frame, Worker};
use super::job::withdraw;
use super::unwind::{catch, discard, Payload};
use crate::deque::Front;
use crate::sync::left_out;

impl Worker {
    /// Runs `a` and `b`, in parallel when another worker is idle, and returns both results.
    ///
    /// `a` runs first on this worker; `b` runs after it, or meanwhile on a worker that stole it. This is the fastest
    /// form of [`join`](crate::join): the worker is handed down, so no thread-local is read.
    ///
    /// Fork from the worker that a closure is given. The free functions ([`join`](crate::join), [`par`](crate::par)) fork
    /// from the closure of the free function, scope or task around them, so inside `a` they put their own work on offer but
    /// not `b`.
    ///
    /// The two must not wait for each other; see [`join`](crate::join).
    ///
    /// # Panics
    /// When either closure panics, after both have stopped; `a`'s panic wins. If `a` panics and `b` has not
    /// begun, `b` is dropped without running.
    ///
    /// Aborts when the worker of a join around this one was smuggled into `a` and used there (it is neither `Send` nor `Sync`, so
    /// this takes a wrapper that claims otherwise), and tasks would come back in the wrong order.
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
        self.fork_from(self.front(), self.front().is_asked(), a, b)
    }

    /// [`join`](Self::join) that makes its oldest frames public only if `answer` says so. A loop asks between its chunks instead, so that one
    /// too short to share is not shared.
    #[inline(always)]
    pub(crate) fn fork<A, B, RA, RB>(&self, answer: bool, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce(&Worker) -> RA + Send,
        B: FnOnce(&Worker) -> RB + Send,
        RA: Send,
        RB: Send,
    {
        self.fork_from(self.thread().front(), answer, a, b)
    }

    /// Forks, answering first if `answer`; inside the left side forks look at `front`.
    #[inline(always)]
    fn fork_from<A, B, RA, RB>(&self, front: &Front, answer: bool, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce(&Worker) -> RA + Send,
        B: FnOnce(&Worker) -> RB + Send,
        RA: Send,
        RB: Send,
    {
        let frame = Frame::new(self, front, b);
        let kept = frame.copy_closure();
        if answer {
            self.thread().answer(frame.worker());
        }
        let ra = match catch(|| a(frame.worker())) {
            Ok(ra) => ra,
            Err(payload) => left_panicked(&frame, payload),
        };
        if frame.worker().is_private() {
            // SAFETY: the frame is private; its closure is taken here only.
            let b = unsafe { frame.take_closure_or(kept) };
            (ra, b(frame.parent()))
        } else {
            (ra, right_of_public(&frame))
        }
    }
}

/// The right side of a join whose frame was published: run here if nobody has it, else the thief's result, once there is one;
/// its panic goes on here.
#[cold]
#[inline(never)]
fn right_of_public<B, RB>(frame: &Frame<B, RB>) -> RB
where
    B: FnOnce(&Worker) -> RB + Send,
    RB: Send,
{
    if let Some(worker) = frame.worker().thread().take_back(frame.worker(), frame.parent()) {
        // SAFETY: the pop made the frame ours again; its closure is taken here only.
        let b = unsafe { frame.take_closure() };
        return called(b, worker);
    }
    // SAFETY: a stolen frame was published.
    frame.worker().thread().wait_for_thief(unsafe { frame.worker().latch() });
    // SAFETY: the latch is set, and this is the only place that takes the result on this path.
    let result = unsafe { frame.take_result() };
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// `a` panicked: `b` is withdrawn, or waited for if a thief has it, before the panic goes on.
#[cold]
#[inline(never)]
fn left_panicked<B, RB>(frame: &Frame<B, RB>, payload: Payload) -> !
where
    B: FnOnce(&Worker) -> RB + Send,
    RB: Send,
{
    let worker = frame.worker();
    if worker.is_private() || worker.thread().take_back(worker, frame.parent()).is_some() {
        // SAFETY: the frame is private, or the pop made it ours again; its closure is taken here only.
        withdraw(unsafe { frame.take_closure() });
    } else if !left_out!("join_left_waits") {
        // SAFETY: a stolen frame was published.
        worker.thread().wait_for_thief(unsafe { worker.latch() });
        // SAFETY: the latch is set, and this is the only place that takes the result on this path.
        discard(unsafe { frame.take_result() });
    }
    resume_unwind(payload)
}
