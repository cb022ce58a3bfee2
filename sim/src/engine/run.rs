//! Running tasks: a segment of them an event, until something happens that others can see.

use super::worker::{Current, Kind, Pace, Status};
use super::{Engine, NONE};
use crate::program::{Cost, Next, Task};
use crate::queue::NEVER;
use crate::settings::Placement;

/// As `src/par/pace.rs`, at 3 ticks a ns: a chunk lasts at least `SHORT` and at most `LONG` ns, is an eighth of a short rest, and grows
/// 64-fold at most. What takes less than `BLUR` is not known well.
const SHORT: u64 = 1_000;
const LONG: u64 = 6_700;
const SHARES: u64 = 8;
const GROWTH: u32 = 64;
const BLUR: u64 = 21;
/// A rest of a loop that is worth half of it being taken, and one that is worth waking somebody, ns.
pub(super) const WORTH_SHARING: u64 = 3_300;
pub(super) const WORTH_WAKING: u64 = 27_000;

/// What a look at the newest frame led to.
enum Popped {
    /// There is more to run.
    On,
    /// Others are concerned, so it must wait for the end of the segment.
    Later,
    /// The worker does something else; its next event.
    Else(u64),
}

impl Engine<'_> {
    /// Runs until the end of a segment; when that is.
    pub(super) fn run(&mut self, w: usize, now: u64) -> u64 {
        self.end_stream(w);
        let mut spent = self.attend(w, now);
        loop {
            match self.workers[w].current {
                Current::Task(task) => {
                    spent += self.step(w, task, now + spent);
                    let worker = &self.workers[w];
                    if worker.asked && worker.above.private > 0 {
                        return now + spent;
                    }
                }
                Current::Drain => spent += self.drain(w),
                Current::Pop => match self.pop(w, now, spent) {
                    Popped::On => {}
                    Popped::Later => return now + spent,
                    Popped::Else(next) => return next,
                },
            }
            if spent >= self.machine.resolution {
                return now + spent;
            }
        }
    }

    fn step(&mut self, w: usize, task: Task, now: u64) -> u64 {
        let step = self.program.step(task);
        let mut spent = self.charge(w, step.cost);
        if let Some(then) = step.then {
            self.workers[w].frames.push(super::Frame::new(Kind::Then, then));
        }
        if let Some(region) = step.region {
            let began = now + spent;
            let settings = self.chooser.choose(region, began);
            self.limit = (began.saturating_add(self.chooser.limit()), region);
            self.set(settings);
            self.workers[w].frames.push(super::Frame::new(Kind::Region { region, began }, task));
        }
        match step.next {
            Next::Done => {
                self.tally.leaves += 1;
                self.workers[w].current = Current::Pop;
            }
            Next::Fork(left, right) => {
                let is_outermost = self.workers[w].above.open == 0;
                let worker = &mut self.workers[w];
                worker.push_private(Kind::Fork, right);
                worker.current = Current::Task(left);
                // Forks in a root are offered whenever somebody has nothing to do; inside a tree somebody has to ask.
                worker.asked |= is_outermost && self.hungry > 0;
                self.tally.forks += 1;
                spent += self.overhead(w, self.machine.fork);
            }
            Next::Loop(range) => {
                spent += self.overhead(w, self.machine.fork);
                let placement =
                    if self.program.is_placed() { Placement::Workers } else { self.settings.placement };
                match placement {
                    Placement::Caller => self.begin_loop(w, range),
                    _ => spent += self.deal(w, range, placement, now),
                }
            }
        }
        spent
    }

    /// A stretch of a loop begins on `w`.
    pub(super) fn begin_loop(&mut self, w: usize, range: Task) {
        let worker = &mut self.workers[w];
        worker.push_private(Kind::Loop { chunk: 1, each: Pace::default() }, range);
        worker.current = Current::Drain;
    }

    /// Runs the next chunk of the newest frame's loop.
    fn drain(&mut self, w: usize) -> u64 {
        let worker = &mut self.workers[w];
        let frame = worker.frames.last_mut().expect("a loop has a frame");
        let Kind::Loop { chunk, each } = frame.kind else { unreachable!("only loops are drained") };
        let Task { lo, hi, .. } = frame.task;
        if lo >= hi {
            worker.current = Current::Pop;
            return 0;
        }
        if frame.status != Status::Private && frame.status != Status::Public {
            // Somebody has the upper half, and the frame with it: the rest needs a frame of its own.
            let rest = frame.task;
            frame.task.lo = hi;
            worker.push_private(Kind::Loop { chunk, each }, rest);
            return self.overhead(w, self.machine.fork);
        }
        let items = chunk.min(hi - lo);
        let taken = frame.task.over(lo, lo + items);
        frame.task.lo = lo + items;
        let left = hi - lo - items;
        let took = self.charge(w, self.program.stretch(taken)).max(1);
        self.tally.leaves += u64::from(items);
        let each = Pace { ns: took, items };
        let rest = each.of(left).unwrap_or_default();
        let is_known = took > BLUR || left / 64 <= items;
        let chunk = if is_known && rest < WORTH_SHARING {
            left.max(1)
        } else {
            let target = (rest / SHARES).clamp(SHORT, LONG);
            let most = u64::from(items.saturating_mul(GROWTH));
            (target * u64::from(items) / took).min(most).max(1) as u32
        };
        let frame = self.workers[w].frames.last_mut().expect("it is still there");
        frame.kind = Kind::Loop { chunk, each };
        took + self.overhead(w, self.machine.fork)
    }

    /// Goes on with what the newest frame says, `spent` after `now`.
    fn pop(&mut self, w: usize, now: u64, spent: u64) -> Popped {
        let worker = &mut self.workers[w];
        let at = worker.top();
        let frame = worker.frames[at as usize];
        match frame.kind {
            Kind::Then => {
                worker.pop_frame();
                worker.current = Current::Task(frame.task);
                return Popped::On;
            }
            Kind::Region { region, began } => {
                worker.pop_frame();
                let time = now + spent - began;
                self.tally.times.push(time);
                self.chooser.ended(region, time);
                return Popped::On;
            }
            Kind::Fork | Kind::Loop { .. } if frame.status == Status::Private => {
                worker.above.private -= 1;
                worker.pop_frame();
                if matches!(frame.kind, Kind::Fork) {
                    worker.current = Current::Task(frame.task);
                }
                return Popped::On;
            }
            Kind::Fork | Kind::Loop { .. } if frame.status == Status::Done => {
                worker.pop_frame();
                return Popped::On;
            }
            _ => {}
        }
        if spent > 0 {
            return Popped::Later;
        }
        match (frame.kind, frame.status) {
            (Kind::Root { .. }, _) => Popped::Else(self.finish(w, now)),
            (Kind::Gather { remaining: 0 }, _) => {
                worker.pop_frame();
                Popped::On
            }
            (Kind::Gather { .. }, _) | (_, Status::Stolen) => Popped::Else(self.wait(w, now)),
            (kind, status) => {
                match status {
                    Status::Public => {
                        let newest = worker.public.pop_back();
                        assert_eq!(newest, Some(at), "the newest public frame is the newest of all");
                    }
                    _ => self.is_gone_from(frame.other as usize),
                }
                let is_outermost = self.workers[w].above.open == 1;
                self.took_back(w, frame.since, is_outermost, now);
                self.changed(w);
                let worker = &mut self.workers[w];
                match kind {
                    Kind::Loop { .. } if frame.task.lo < frame.task.hi => {
                        // It was sent whole and nobody wanted it.
                        worker.frames[at as usize].status = Status::Private;
                        worker.above.private += 1;
                        worker.above.first_private = worker.above.first_private.min(at);
                        worker.current = Current::Drain;
                    }
                    Kind::Loop { .. } => {
                        worker.pop_frame();
                    }
                    _ => {
                        worker.pop_frame();
                        worker.current = Current::Task(frame.task);
                    }
                }
                // At the end of the taking, so that what it runs next is seen at its time.
                Popped::Else(now + self.overhead(w, self.machine.promote))
            }
        }
    }

    fn took_back(&mut self, w: usize, since: u64, is_outermost: bool, now: u64) {
        self.tally.taken_back += 1;
        self.note_wait(since, now);
        // What came back unstolen to a root is followed by an offer, if somebody is still without work; inside a tree the next one is most
        // likely a small one.
        self.workers[w].asked |= is_outermost && self.hungry > 0;
    }

    /// How long a public task lay there while somebody had nothing to do.
    pub(super) fn note_wait(&mut self, since: u64, now: u64) {
        if self.free > 0 {
            let waited = now - since.max(self.free_since).min(now);
            self.tally.longest_wait = self.tally.longest_wait.max(waited);
        }
    }

    /// What a cost is for this worker, now.
    fn charge(&mut self, w: usize, cost: Cost) -> u64 {
        let worker = &mut self.workers[w];
        worker.spent.useful += cost.ns;
        if cost.memory == 0 {
            return cost.ns;
        }
        let home = cost.home as usize;
        if worker.stream.is_none() {
            worker.stream = Some((cost.home, cost.memory));
            self.streams[home] += u64::from(cost.memory);
        }
        let waits = cost.ns * u64::from(cost.memory) / 1024;
        let slowdown = self.machine.slowdown(worker.node, cost.home);
        let took = cost.ns - waits + self.machine.waits(waits, slowdown, self.streams[home]);
        // Never faster than alone: rounding apart.
        worker.spent.inflated += took - cost.ns.min(took);
        took.max(cost.ns)
    }

    /// The segment is over, and with it what it took of a node's memory.
    pub(super) fn end_stream(&mut self, w: usize) {
        if let Some((home, memory)) = self.workers[w].stream.take() {
            self.streams[home as usize] -= u64::from(memory);
        }
    }

    /// A root's task is done: tells who waits for it, and looks for something else.
    fn finish(&mut self, w: usize, now: u64) -> u64 {
        let worker = &mut self.workers[w];
        let root = worker.pop_frame();
        let Kind::Root { home, victim, began, below } = root.kind else {
            unreachable!("only roots are finished")
        };
        worker.above = below;
        if victim != NONE {
            self.sight(w, victim).ran(now - began);
            self.tally.stolen_time[self.layout.distance(w, victim)] += now - began;
        }
        let cost = self.tell(w, home, now);
        if self.is_done {
            return NEVER;
        }
        if self.workers[w].frames.is_empty() {
            self.idle(w, now + cost)
        } else {
            self.wait(w, now + cost)
        }
    }
}
