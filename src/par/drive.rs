//! The driver of every loop over indices: who runs which stretch, in chunks of which size, and who is let in.
//!
//! A *stretch* is run in order by one worker, as the left side of a join whose right side is "help me". Whoever steals that takes the
//! upper half of what nobody has begun and runs it as a stretch of its own. If nobody did, the right side finds nothing left. The
//! worker notices that it was helped when the end of its share has moved; then it goes on with the rest under a new join.

use std::mem::forget;
use std::ops::{ControlFlow, Range};

use super::pace::{Pace, Rest};
use super::share::Share;
use super::site::{ask, Site};
use crate::sync::{AtomicBool, Ordering};
use crate::task::cancel::{self, CancelToken};
use crate::task::frame::Worker;

/// What a loop does with its indices, which count from 0.
pub(super) trait Loop: Sync {
    /// What a worker makes of the indices that it ran, from first to last.
    type Part: Send;

    /// Elements that an index stands for.
    fn weight(&self) -> usize {
        1
    }

    /// The part of a stretch that begins at `first`, when nothing of it was run.
    fn begin(&self, first: usize) -> Self::Part;

    /// Runs `items`, which follow those that `part` is made of; may end the loop.
    fn run(&self, part: &mut Self::Part, items: Range<usize>) -> ControlFlow<()>;

    /// One part of two neighbours. They have a gap between them if the loop was ended.
    fn merge(&self, left: Self::Part, right: Self::Part) -> Self::Part;
}

/// Runs `body` for `count` indices, under the token that this thread is under.
pub(super) fn drive<L: Loop>(worker: &Worker, count: usize, body: &L) -> L::Part {
    let token = cancel::current();
    // Positions are 32 bits wide; in a longer loop one stands for several indices.
    let unit = count.div_ceil(u32::MAX as usize).max(1);
    let job = Job { body, count, unit, token: token.as_ref(), ended: AtomicBool::new(false) };
    job.stretch(worker, 0..count.div_ceil(unit) as u32, Pace::new(), body.begin(0))
}

/// A loop that runs.
struct Job<'a, L> {
    body: &'a L,
    count: usize,
    /// Indices that one position stands for.
    unit: usize,
    /// What may stop it between two chunks.
    token: Option<&'a CancelToken>,
    /// Nobody needs to begin any more. Relaxed: who learns of it late does needless work.
    ended: AtomicBool,
}

impl<L: Loop> Job<'_, L> {
    /// The indices at `positions`.
    #[inline]
    fn items(&self, positions: &Range<u32>) -> Range<usize> {
        let (first, end) = (positions.start as usize * self.unit, positions.end as usize);
        first..self.count.min(end.saturating_mul(self.unit))
    }

    /// The elements there.
    #[inline]
    fn elements(&self, positions: &Range<u32>) -> usize {
        self.items(positions).len().saturating_mul(self.body.weight())
    }

    #[inline]
    fn site(&self) -> Site {
        Site::of(Self::drain as *const ())
    }

    fn stretch(&self, worker: &Worker, positions: Range<u32>, pace: Pace, part: L::Part) -> L::Part {
        let end = positions.end;
        let offered = self.site().is_offered(worker, self.elements(&positions));
        let share = Share::new(positions);
        let (left, right) = worker.fork(
            offered,
            |worker| worker.entered(|| self.drain(worker, &share, end, pace, part)),
            |worker| self.help(worker, &share),
        );
        match right {
            Some(right) => self.body.merge(left, right),
            None => left,
        }
    }

    /// The right side of a stretch; almost always nothing is left when its worker gets there.
    fn help(&self, worker: &Worker, share: &Share) -> Option<L::Part> {
        if self.ended.load(Ordering::Relaxed) {
            return None;
        }
        let half = share.take_half()?;
        let part = self.body.begin(self.items(&half).start);
        Some(under(self.token, || self.stretch(worker, half, Pace::new(), part)))
    }

    /// Runs what is in `share`, which ended at `end`, in chunks.
    fn drain(&self, worker: &Worker, share: &Share, end: u32, mut pace: Pace, mut part: L::Part) -> L::Part {
        let unwinds = EndOnUnwind(&self.ended);
        while let Some(taken) = share.take_front(pace.chunk()) {
            if self.body.run(&mut part, self.items(&taken.items)).is_break() {
                self.ended.store(true, Ordering::Relaxed);
            }
            let left = taken.end - taken.items.end;
            if left == 0 || self.ended.load(Ordering::Relaxed) {
                break;
            }
            if let Some(token) = self.token {
                token.check();
            }
            let look = pace.step(taken.items.len() as u32, left);
            if look.known {
                self.site().note((look.each / (self.unit * self.body.weight()) as f64) as f32);
            }
            if taken.end != end {
                // Somebody has the upper half, and our frame with it: the rest needs a frame of its own.
                if let Some(rest) = share.take_front(u32::MAX) {
                    part = self.stretch(worker, rest.items, pace, part);
                }
                break;
            }
            offer(worker, look.rest);
        }
        forget(unwinds);
        part
    }
}

/// Makes frames public if somebody asked and `rest` is worth sharing, or if it is worth waking somebody.
#[inline]
pub(super) fn offer(worker: &Worker, rest: Rest) {
    if worker.is_asked() {
        if rest.is_worth_sharing() {
            worker.answer();
        }
    } else if rest.is_worth_waking() && worker.is_private() && ask(worker) {
        worker.answer();
    }
}

/// Runs a thief's part of a loop, so that loops inside it are under the loop's token as well.
pub(super) fn under<R>(token: Option<&CancelToken>, f: impl FnOnce() -> R) -> R {
    match token {
        Some(token) => cancel::under(Some(token.clone()), f),
        None => f(),
    }
}

/// Ends the loop for all when one of them panics.
struct EndOnUnwind<'a>(&'a AtomicBool);

impl Drop for EndOnUnwind<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
