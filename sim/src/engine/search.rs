//! How a worker without work finds some, and when it sleeps: the loop of `src/runtime/search.rs`, and the watch of `src/sleep/README.md`.

use super::worker::{Below, Current, Frame, Home, Inbox, Kind, Pace, Sent, State, Status, NO_TASK};
use super::{share, Engine, NONE};
use crate::machine::Layout;
use crate::queue::NEVER;
use crate::rate::{Sight, Verdict};
use crate::settings::{Idling, Order, Sharing};

/// As in the runtime: how long a watcher polls before it naps, its first nap, and its longest while somebody else is awake and while nobody is.
const POLL: u64 = 30_000;
pub(super) const NAP: u64 = 50_000;
const LONGEST_NAP: [u64; 2] = [200_000, 4_000_000];
/// Who minds its node looks at its inbox each time it has looked at so many victims.
const LOOKS_BETWEEN: usize = 8;

impl Engine<'_> {
    /// What `thief` remembers of `victim`, to be changed.
    pub(super) fn sight(&mut self, thief: usize, victim: usize) -> &mut Sight {
        self.lines.set_due(thief, victim, 0);
        &mut self.sights[thief * self.workers.len() + victim]
    }

    /// `w` has no work from `from` on; its next event.
    pub(super) fn idle(&mut self, w: usize, from: u64) -> u64 {
        self.begin_hunger(w, State::Searching);
        self.changed(w);
        let worker = &mut self.workers[w];
        worker.busy_since = None;
        worker.asked = false;
        worker.idle_since = from;
        self.begin_period(w, from);
        self.begin_round(w, from)
    }

    /// `w` has nothing to do from `from` on: until when it spins.
    fn begin_period(&mut self, w: usize, from: u64) {
        let Idling { spin, learned, near, .. } = self.idling;
        let patience = if near { self.settings.patience } else { 0 };
        let worker = &mut self.workers[w];
        (worker.period, worker.woken_at) = (from, 0);
        worker.spin_until = from + patience + if learned { worker.hedge.budget() } else { spin };
    }

    /// A period without work is over at `now`, or was when `w` was woken.
    fn end_period(&mut self, w: usize, now: u64) {
        if self.idling.learned {
            let worker = &mut self.workers[w];
            let end = if worker.woken_at > 0 { worker.woken_at } else { now };
            worker.hedge.ended(end.saturating_sub(worker.period));
        }
    }

    /// A round over all victims begins; when the first look is due.
    fn begin_round(&mut self, w: usize, from: u64) -> u64 {
        let worker = &mut self.workers[w];
        worker.is_patient = from < worker.idle_since + self.settings.patience;
        (worker.at, worker.is_paid, worker.is_drawn) = (0, false, false);
        worker.state = State::Searching;
        from + self.machine.glance + self.machine.draw * self.round_length(w)
    }

    /// How many victims the round of `w` has.
    fn round_length(&self, w: usize) -> u64 {
        let worker = &self.workers[w];
        let among =
            if worker.is_patient { self.members[worker.node as usize].len() } else { self.workers.len() };
        among as u64 - 1
    }

    /// Draws the order of a round.
    fn draw(&mut self, w: usize) {
        let worker = &mut self.workers[w];
        self.orders.draw(
            self.settings.order,
            w,
            self.layout.topology(),
            &mut worker.generator,
            &mut worker.order,
        );
        if worker.is_patient {
            let (layout, node) = (&self.layout, worker.node);
            worker.order.retain(|&victim| layout.node(victim) == node);
        }
        worker.is_drawn = true;
    }

    /// When the round that begins `now` ends, if it is known to find nothing: no line has changed, nothing lies in an inbox, and no task or
    /// victim becomes old enough by then. What idle workers do most; to draw an order and make the looks takes ten times as long.
    fn end_of_quiet_round(&self, w: usize, now: u64) -> Option<u64> {
        let end = now + self.machine.glance * self.round_length(w);
        let worker = &self.workers[w];
        let are_quiet = |end| match worker.is_patient {
            true => {
                let own = &self.members[worker.node as usize];
                own.iter().all(|&victim| victim == w || self.lines.is_quiet(w, victim, end))
            }
            false => self.lines.are_quiet(w, end),
        };
        let is_quiet = self.live == 0 && are_quiet(end);
        debug_assert!(
            !is_quiet || self.finds_nothing(w, end),
            "a round was left out that would have led to something"
        );
        is_quiet.then_some(end)
    }

    /// The slow twin: looks at all victims.
    fn finds_nothing(&self, w: usize, end: u64) -> bool {
        let workers = self.workers.len();
        let mut others = (0..workers).filter(|&victim| victim != w);
        others.all(|victim| {
            if self.workers[w].is_patient && self.workers[victim].node != self.workers[w].node {
                return true;
            }
            let mut sight = self.sights[w * workers + victim];
            let (since, oldest) = (self.workers[victim].busy_since, self.workers[victim].oldest());
            self.lines.is_current(w, victim)
                && self.foreign(w, victim).is_none()
                && match self.settings.sharing {
                    Sharing::Timer(_) => oldest.is_none(),
                    Sharing::OnRequest(_) => sight.look(end, since, oldest, &self.rule) == Verdict::Wait,
                }
        })
    }

    /// A look at a victim is over, or a round begins.
    pub(super) fn search(&mut self, w: usize, now: u64) -> u64 {
        let is_paid = std::mem::take(&mut self.workers[w].is_paid);
        if self.workers[w].at == 0 && !is_paid && !self.workers[w].is_drawn {
            for inbox in [self.loot(w), self.workers[w].node as usize, self.injector()] {
                if let Some(sent) = self.take_sent(inbox) {
                    return self.run_sent(w, sent, NONE, now);
                }
            }
            if self.settings.order == Order::Oracle {
                return self.consult(w, now);
            }
            if let Some(end) = self.end_of_quiet_round(w, now) {
                return self.end_round(w, end);
            }
            self.draw(w);
        }
        let mut is_paid = is_paid;
        let mut t = now;
        loop {
            let at = self.workers[w].at;
            if self.idling.near && !is_paid && at % LOOKS_BETWEEN == LOOKS_BETWEEN - 1 {
                let here = [self.workers[w].node as usize, self.injector()];
                if let Some(inbox) = here.into_iter().find(|&inbox| self.inboxes[inbox].live > 0) {
                    if t > now {
                        return t;
                    }
                    let sent = self.take_sent(inbox).expect("a live entry is there");
                    return self.run_sent(w, sent, NONE, now);
                }
            }
            let Some(&victim) = self.workers[w].order.get(at) else { return self.end_round(w, t) };
            if !is_paid {
                if self.live == 0 && self.lines.is_quiet(w, victim, t + self.machine.glance) {
                    t += self.machine.glance;
                    self.workers[w].at += 1;
                    continue;
                }
                // A line that has not changed is in the thief's cache.
                if !self.lines.is_current(w, victim) {
                    self.workers[w].is_paid = true;
                    return t + self.machine.probe[self.layout.distance(w, victim)] / self.machine.overlap;
                }
                t += self.machine.glance;
            }
            is_paid = false;
            self.lines.fetch(w, victim);
            if let Some(inbox) = self.foreign(w, victim) {
                if t > now {
                    self.workers[w].is_paid = true;
                    return t;
                }
                if let Some(sent) = self.take_sent(inbox) {
                    return self.run_sent(w, sent, victim, now);
                }
            }
            let rule = self.rule;
            let (since, oldest) = (self.workers[victim].busy_since, self.workers[victim].oldest());
            let verdict = match self.settings.sharing {
                // What a timer has made public is there to be taken, and nobody is asked.
                Sharing::Timer(_) if oldest.is_some() => Verdict::Take,
                Sharing::Timer(_) => {
                    self.lines.set_due(w, victim, u64::MAX);
                    Verdict::Wait
                }
                Sharing::OnRequest(_) => {
                    let sight = self.sight(w, victim);
                    let verdict = sight.look(t, since, oldest, &rule);
                    let due = sight.due(&rule);
                    self.lines.set_due(w, victim, due);
                    verdict
                }
            };
            match verdict {
                Verdict::Take if t > now => {
                    self.workers[w].is_paid = true;
                    return t;
                }
                Verdict::Take => {
                    if let Some(next) = self.take(w, victim, now) {
                        return next;
                    }
                }
                Verdict::Ask => {
                    self.workers[victim].asked = true;
                    self.tally.requests += 1;
                }
                Verdict::Wait => {}
            }
            self.workers[w].at += 1;
        }
    }

    /// The inbox that a thief finds at `victim`: its node's, or what it has taken and not begun. Who minds nodes leaves the parts of a loop to
    /// the node that they were dealt out to, for a while.
    fn foreign(&self, w: usize, victim: usize) -> Option<usize> {
        let node = self.workers[victim].node;
        let Inbox { entries, live } = &self.inboxes[node as usize];
        if node != self.workers[w].node && *live > 0 {
            let is_reserved = match entries.front() {
                Some((came, Sent::Part { .. })) => {
                    self.idling.near && self.now < came + self.settings.patience
                }
                _ => false,
            };
            if !is_reserved {
                return Some(node as usize);
            }
        }
        let loot = self.loot(victim);
        (self.inboxes[loot].live > 0).then_some(loot)
    }

    /// Takes the victim's oldest public task, and more if the settings say so; the next event if there was anything to it.
    fn take(&mut self, w: usize, victim: usize, now: u64) -> Option<u64> {
        let public = self.workers[victim].public.len() as u32;
        let at = self.workers[victim].public.pop_front()?;
        self.changed(victim);
        self.sight(w, victim).took();
        let more = self.settings.batch.min(public.div_ceil(2)).saturating_sub(1);
        let loot = self.loot(w);
        for _ in 0..more {
            let at = self.workers[victim].public.pop_front().expect("half of them are there");
            let frame = &mut self.workers[victim].frames[at as usize];
            (frame.status, frame.other) = (Status::Sent, loot as u32);
            let ticket = frame.ticket;
            self.put(loot, Sent::Frame { owner: victim, at, ticket });
        }
        let cost = self.machine.steal[self.layout.distance(w, victim)];
        let next = self.run_frame(w, victim, at, victim, now, cost)?;
        self.orders.stole(w, victim);
        Some(next)
    }

    /// Begins what came from an inbox; `victim` is who had it, if it was a worker.
    pub(super) fn run_sent(&mut self, w: usize, sent: Sent, victim: usize, now: u64) -> u64 {
        let from = match sent {
            Sent::Frame { owner, .. } | Sent::Part { owner, .. } => owner,
            Sent::Job { .. } => w,
        };
        let cost = self.machine.steal[self.layout.distance(w, from)];
        match sent {
            Sent::Frame { owner, at, .. } => {
                self.run_frame(w, owner, at, victim, now, cost).expect("what is sent is not empty")
            }
            Sent::Part { owner, at, task } => {
                self.begin_root(w, Home::Gather { owner, at }, NONE, now, cost);
                self.begin_loop(w, task);
                self.count_steal(w, owner);
                self.begin_work(w, now, cost, true)
            }
            Sent::Job { task, arrived } => {
                self.begin_root(w, Home::Job { arrived }, NONE, now, cost);
                self.workers[w].current = Current::Task(task);
                self.begin_work(w, now, cost, false)
            }
        }
    }

    /// Begins the task of a frame of `owner`, found at `victim`; `None` when nothing is left of its loop.
    pub(super) fn run_frame(
        &mut self,
        w: usize,
        owner: usize,
        at: u32,
        victim: usize,
        now: u64,
        cost: u64,
    ) -> Option<u64> {
        let root = self.workers[w].frames.len() as u32;
        let frame = &mut self.workers[owner].frames[at as usize];
        let (kind, was, since) = (frame.kind, frame.status, frame.since);
        let mut task = frame.task;
        if let Kind::Loop { .. } = kind {
            if task.lo >= task.hi {
                frame.status = Status::Done;
                self.tally.empty += 1;
                return None;
            }
            if was == Status::Public {
                task = share::upper_half(task);
                frame.task.hi = task.lo;
            } else {
                frame.task.lo = frame.task.hi;
            }
        }
        (frame.status, frame.other, frame.at) = (Status::Stolen, w as u32, root);
        self.note_wait(since, now);
        self.count_steal(w, owner);
        self.begin_root(w, Home::Frame { owner, at }, victim, now, cost);
        match kind {
            Kind::Loop { .. } => self.begin_loop(w, task),
            _ => self.workers[w].current = Current::Task(task),
        }
        let has_more = !self.workers[owner].public.is_empty() || self.workers[owner].above.private > 0;
        Some(self.begin_work(w, now, cost, has_more))
    }

    fn count_steal(&mut self, w: usize, owner: usize) {
        let distance = self.layout.distance(w, owner);
        self.tally.steals[distance] += 1;
        self.tally.remote += u64::from(Layout::is_remote(distance));
    }

    /// The bottom of a task that `w` has taken.
    fn begin_root(&mut self, w: usize, home: Home, victim: usize, now: u64, cost: u64) {
        let worker = &mut self.workers[w];
        let below = worker.above;
        let root = Kind::Root { home, victim, began: now + cost, below };
        worker.frames.push(Frame::new(root, NO_TASK));
        worker.above = Below { open: 0, private: 0, first_private: worker.frames.len() as u32 };
    }

    /// `w` has something to run, after `cost`; passes the watch on, and wakes another one for what it has left behind.
    fn begin_work(&mut self, w: usize, now: u64, cost: u64, has_more: bool) -> u64 {
        self.end_hunger(w);
        self.end_period(w, now);
        if self.watcher == w {
            self.watcher = NONE;
        }
        let is_wanted = self.hungry > 0;
        let wakes = self.watcher == NONE || self.idling.tree && has_more;
        let wake = if wakes && self.wake_one(now, None) { self.machine.wake[0] } else { 0 };
        let worker = &mut self.workers[w];
        worker.asked = is_wanted;
        worker.busy_since = Some(now);
        worker.last_beat = now;
        self.changed(w);
        now + self.overhead(w, cost + wake)
    }

    /// A round found nothing.
    fn end_round(&mut self, w: usize, t: u64) -> u64 {
        self.tally.failed_steals += 1;
        let others_awake = self.sleepers + 1 < self.workers.len();
        let worker = &mut self.workers[w];
        if self.watcher == w {
            if t < worker.poll_until {
                return self.begin_round(w, t + self.machine.pause);
            }
            worker.state = State::Napping;
            let nap = worker.nap.min(LONGEST_NAP[usize::from(!others_awake)]);
            worker.nap = nap * 2;
            return t + nap;
        }
        if self.watcher == NONE {
            self.watcher = w;
            (worker.poll_until, worker.nap) = (t + POLL, NAP);
        } else if t >= worker.spin_until {
            let inboxes = [self.loot(w), self.workers[w].node as usize, self.injector()];
            if inboxes.iter().all(|&inbox| self.inboxes[inbox].live == 0) {
                return self.park(w);
            }
        }
        self.begin_round(w, t + self.machine.pause)
    }

    fn park(&mut self, w: usize) -> u64 {
        self.workers[w].state = State::Parked;
        self.asleep[w] = true;
        self.sleepers += 1;
        self.tally.parks += 1;
        NEVER
    }

    /// The watcher looks again.
    pub(super) fn end_nap(&mut self, w: usize, now: u64) -> u64 {
        let is_busy = self.hungry < self.workers.len();
        self.workers[w].poll_until = now + if is_busy { POLL } else { 0 };
        self.begin_round(w, now)
    }

    /// A sleeper that was woken is there.
    pub(super) fn wake_up(&mut self, w: usize, now: u64) -> u64 {
        self.end_period(w, now);
        self.begin_period(w, now);
        self.begin_round(w, now)
    }

    /// Wakes the sleeper of the highest index, of `node` if one is given; whether there was any. A node whose workers are awake needs nobody.
    pub(super) fn wake_one(&mut self, now: u64, node: Option<u32>) -> bool {
        if self.sleepers == 0 {
            return false;
        }
        let is_of = |w: &usize| node.is_none_or(|node| self.layout.node(*w) == node);
        let Some(w) = (0..self.asleep.len()).rev().filter(|&w| self.asleep[w]).find(is_of) else {
            return false;
        };
        self.asleep[w] = false;
        self.sleepers -= 1;
        self.tally.wakes += 1;
        self.workers[w].state = State::Waking;
        self.workers[w].woken_at = now;
        self.queue.set(w, now + self.machine.wake[1]);
        true
    }

    /// The oracle: the largest public task there is, as far as indices say, for its distance; else it asks who has most.
    fn consult(&mut self, w: usize, now: u64) -> u64 {
        let workers = self.workers.len();
        let others = || (0..workers).filter(|&v| v != w);
        let with_public = others().filter(|&v| !self.workers[v].public.is_empty());
        let size = |v: usize| {
            let task = self.workers[v].frames[self.workers[v].public[0] as usize].task;
            let home = self.program.home(task).unwrap_or(self.workers[w].node);
            let slowdown = u64::from(self.machine.slowdown(self.workers[w].node, home));
            (u64::from(task.hi - task.lo) << 10) / slowdown
        };
        let largest = with_public.min_by_key(|&v| (std::cmp::Reverse(size(v)), self.layout.distance(w, v)));
        if let Some(victim) = largest {
            if let Some(next) = self.take(w, victim, now) {
                return next;
            }
        }
        if let Some(inbox) = others().find_map(|victim| self.foreign(w, victim)) {
            if let Some(sent) = self.take_sent(inbox) {
                return self.run_sent(w, sent, NONE, now);
            }
        }
        let rest = |v: usize| match self.workers[v].frames.last() {
            Some(Frame { kind: Kind::Loop { each, .. }, task, .. }) => {
                Pace::of(*each, task.hi - task.lo).unwrap_or(u64::MAX)
            }
            _ => u64::from(self.workers[v].above.private),
        };
        let most = others().filter(|&v| self.workers[v].above.private > 0).max_by_key(|&v| rest(v));
        if let Some(victim) = most {
            self.workers[victim].asked = true;
            self.tally.requests += 1;
        }
        self.end_round(w, now)
    }
}
