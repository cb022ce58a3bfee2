//! The driver of every loop over indices: who runs which stretch, in chunks of which size, and who is let in.
//!
//! A *stretch* is run in order by one worker, as the left side of a join whose right side is "help me". Whoever steals that takes the
//! upper half of what nobody has begun and runs it as a stretch of its own. If nobody did, the right side finds nothing left. The
//! worker notices that it was helped when the end of its share has moved; then it goes on with the rest under a new join.

use std::mem::forget;
use std::ops::{ControlFlow, Range};

use super::pace::{Look, Pace, Rest};
use super::placed;
use super::share::Share;
use super::site::{ask, is_alone_allowed, Site};
use crate::sync::{AtomicBool, Ordering};
use crate::task::cancel::{self, CancelToken};
use crate::task::frame::Worker;
use crate::topology::memory::Span;

/// What a loop does with its indices, which count from 0.
pub(super) trait Loop: Sync {
    /// What a worker makes of the indices that it ran, from first to last.
    type Part: Send;

    /// Elements that an index stands for.
    fn weight(&self) -> usize {
        1
    }

    /// The memory that the indices `items` work on, if that is known.
    fn data(&self, _items: Range<usize>) -> Option<Span> {
        None
    }

    /// The part of a stretch that begins at `first`, when nothing of it was run.
    fn begin(&self, first: usize) -> Self::Part;

    /// Runs `items`, which follow those that `part` is made of; may end the loop.
    fn run(&self, part: &mut Self::Part, items: Range<usize>) -> ControlFlow<()>;

    /// One part of two neighbours. They have a gap between them if the loop was ended.
    fn merge(&self, left: Self::Part, right: Self::Part) -> Self::Part;
}

/// Indices that are driven at a time: positions in a share are 32 bits wide. Whoever needs more waits at the end of each block, a
/// second of work at least.
const BLOCK: usize = if cfg!(test) { 1000 } else { u32::MAX as usize };

/// Runs `body` for `count` indices, under the token that this thread is under. A loop that was short the last times begins where it is
/// called, on a worker or not; it is handed to a worker, and shared, when it turns out longer.
pub(super) fn drive<L: Loop>(count: usize, body: &L) -> L::Part {
    let (token, ended) = (cancel::current(), AtomicBool::new(false));
    let stop = Stop { token: token.as_ref(), ended: &ended };
    let job = Job { body, first: 0, stop };
    let (mut first, mut part) = (0, body.begin(0));
    let elements = count.saturating_mul(body.weight());
    if job.site().is_short(count, elements) && is_alone_allowed() {
        (first, part) = job.begin_alone(count, part);
        if first == count || stop.is_ended() {
            return part;
        }
    }
    let is_short = || job.site().is_not_worth_waking(elements);
    crate::on_current_worker(|worker| match placed::runs(worker, first, count, body, is_short) {
        None => drive_range(first..count, part, worker, body, stop),
        Some(runs) => placed::drive(worker, runs, body, stop, part),
    })
}

/// The same on a worker that is at hand, for a loop that is not short.
pub(super) fn drive_on<L: Loop>(worker: &Worker, count: usize, body: &L) -> L::Part {
    let (token, ended) = (cancel::current(), AtomicBool::new(false));
    drive_range(0..count, body.begin(0), worker, body, Stop { token: token.as_ref(), ended: &ended })
}

/// The indices of `items`, which are some; `part` is of those before.
pub(super) fn drive_range<L: Loop>(
    items: Range<usize>,
    mut part: L::Part,
    worker: &Worker,
    body: &L,
    stop: Stop<'_>,
) -> L::Part {
    let mut first = items.start;
    loop {
        let length = (items.end - first).min(BLOCK);
        let job = Job { body, first, stop };
        part = job.stretch(worker, 0..length as u32, Pace::new(), part);
        first += length;
        if first == items.end || stop.is_ended() {
            return part;
        }
    }
}

/// What may stop a loop between two chunks.
#[derive(Clone, Copy)]
pub(super) struct Stop<'a> {
    pub(super) token: Option<&'a CancelToken>,
    /// Nobody needs to begin any more. Relaxed: who learns of it late does needless work.
    ended: &'a AtomicBool,
}

impl Stop<'_> {
    #[inline]
    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    #[inline]
    fn check_token(&self) {
        if let Some(token) = self.token {
            token.check();
        }
    }
}

/// A block of a loop that runs.
struct Job<'a, L> {
    body: &'a L,
    /// The index at position 0.
    first: usize,
    stop: Stop<'a>,
}

impl<L: Loop> Job<'_, L> {
    /// The indices at `positions`.
    #[inline]
    fn items(&self, positions: &Range<u32>) -> Range<usize> {
        self.first + positions.start as usize..self.first + positions.end as usize
    }

    /// The elements there.
    #[inline]
    fn elements(&self, positions: &Range<u32>) -> usize {
        positions.len().saturating_mul(self.body.weight())
    }

    #[inline]
    fn site(&self) -> Site {
        Site::of(Self::drain as *const ())
    }

    /// Runs the first of `count` indices, until all are done or the rest is worth sharing; how many, and what became of them.
    fn begin_alone(&self, count: usize, mut part: L::Part) -> (usize, L::Part) {
        let mut pace = Pace::new();
        let mut done = 0;
        loop {
            let chunk = (count - done).min(pace.chunk() as usize);
            if self.body.run(&mut part, done..done + chunk).is_break() {
                self.stop.end();
            }
            done += chunk;
            if done == count || self.stop.is_ended() {
                return (done, part);
            }
            self.stop.check_token();
            let look = pace.step(chunk as u32, u32::try_from(count - done).unwrap_or(u32::MAX));
            if look.known {
                self.note(&look);
                if look.rest.is_worth_sharing() {
                    return (done, part);
                }
            }
        }
    }

    fn note(&self, look: &Look) {
        self.site().note((look.each / self.body.weight() as f64) as f32);
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
        if self.stop.is_ended() {
            return None;
        }
        let half = share.take_half()?;
        let part = self.body.begin(self.items(&half).start);
        Some(under(self.stop.token, || self.stretch(worker, half, Pace::new(), part)))
    }

    /// Runs what is in `share`, which ended at `end`, in chunks.
    fn drain(&self, worker: &Worker, share: &Share, end: u32, mut pace: Pace, mut part: L::Part) -> L::Part {
        let unwinds = EndOnUnwind(self.stop);
        while let Some(taken) = share.take_front(pace.chunk()) {
            if self.body.run(&mut part, self.items(&taken.items)).is_break() {
                self.stop.end();
            }
            let left = taken.end - taken.items.end;
            if left == 0 || self.stop.is_ended() {
                break;
            }
            self.stop.check_token();
            let look = pace.step(taken.items.len() as u32, left);
            if look.known {
                self.note(&look);
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
struct EndOnUnwind<'a>(Stop<'a>);

impl Drop for EndOnUnwind<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    /// In tests a block is short.
    #[test]
    fn a_loop_of_many_blocks_runs_each_index_once() {
        for workers in [1, 3] {
            let runtime = crate::Runtime::builder().workers(workers).build().unwrap();
            for count in [999, 1000, 1001, 10_007] {
                let visits: Vec<_> = (0..count).map(|_| AtomicU32::new(0)).collect();
                let squares = runtime.install(|_| {
                    crate::par::for_each(0..count, |i| {
                        visits[i].fetch_add(1, Ordering::Relaxed);
                    });
                    crate::par::map(0..count, |i| i * i)
                });
                assert!(visits.iter().all(|visits| visits.load(Ordering::Relaxed) == 1));
                assert!(squares.into_iter().eq((0..count).map(|i| i * i)));
                let last = |i| i == count - 1;
                assert_eq!(runtime.install(|_| crate::par::find_any(0..count, last)), Some(count - 1));
            }
        }
    }
}
