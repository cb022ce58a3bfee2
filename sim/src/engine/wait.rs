//! Waiting for a thief: polling, helping it with what descends from the task, sleeping; and being told.

use super::search::NAP;
use super::worker::{Current, Home, Kind, Sent, State, Status};
use super::Engine;
use crate::rate::Verdict;

/// Polls before a waiter sleeps, as in the runtime.
const SPINS: u32 = 400;

impl Engine<'_> {
    /// `w` cannot go on before what its newest frame waits for is done; its next event.
    pub(super) fn wait(&mut self, w: usize, from: u64) -> u64 {
        self.begin_hunger(w, State::Waiting);
        self.changed(w);
        let worker = &mut self.workers[w];
        worker.busy_since = None;
        (worker.polls, worker.nap, worker.wait_began) = (0, NAP, from);
        from
    }

    /// Looks whether it is done, else for something to help with.
    pub(super) fn poll(&mut self, w: usize, now: u64) -> u64 {
        let worker = &self.workers[w];
        let at = worker.top();
        let frame = worker.frames[at as usize];
        let is_over = match frame.kind {
            Kind::Gather { remaining } => remaining == 0,
            _ => frame.status == Status::Done,
        };
        if is_over {
            self.end_hunger(w);
            let is_wanted = self.hungry > 0;
            let worker = &mut self.workers[w];
            worker.current = Current::Pop;
            worker.busy_since = Some(now);
            // Whoever ran it has nothing to do now.
            worker.asked |= is_wanted;
            self.changed(w);
            return self.run(w, now);
        }
        let helps = match frame.kind {
            Kind::Gather { .. } => self.help_gather(w, at, now),
            _ => self.help_thief(w, frame.other as usize, frame.at, now),
        };
        if let Some(next) = helps {
            return next;
        }
        let worker = &mut self.workers[w];
        if worker.polls < SPINS {
            worker.polls += 1;
            return now + self.machine.pause;
        }
        worker.state = State::Dozing;
        let nap = worker.nap;
        worker.nap = (nap * 2).min(NAP * 4);
        now + nap
    }

    /// Takes the thief's oldest public task, if it descends from the one that the thief runs for us: if it lies above that one's root.
    fn help_thief(&mut self, w: usize, thief: usize, root: u32, now: u64) -> Option<u64> {
        let oldest = self.workers[thief].public.front().copied();
        if oldest.is_some_and(|at| at < root) {
            return None;
        }
        let (since, ticket) = (self.workers[w].wait_began, self.workers[thief].oldest());
        let rule = self.rule;
        match self.sight(w, thief).look(now, Some(since), ticket, &rule) {
            Verdict::Wait => None,
            Verdict::Ask => {
                self.workers[thief].asked = true;
                self.tally.requests += 1;
                None
            }
            Verdict::Take => {
                let at = self.workers[thief].public.pop_front()?;
                self.changed(thief);
                self.sight(w, thief).took();
                let cost = self.machine.steal[self.layout.distance(w, thief)];
                self.run_frame(w, thief, at, thief, now, cost)
            }
        }
    }

    /// Takes a part that was dealt out with ours and that nobody has begun; the own node's first.
    fn help_gather(&mut self, w: usize, at: u32, now: u64) -> Option<u64> {
        let own = self.workers[w].node as usize;
        let is_ours = |(_, sent): &(u64, Sent)| matches!(*sent, Sent::Part { owner, at: a, .. } if owner == w && a == at);
        let nodes = std::iter::once(own).chain((0..self.machine.nodes as usize).filter(|&node| node != own));
        for node in nodes {
            let entries = &self.inboxes[node].entries;
            if let Some(place) = entries.iter().position(is_ours) {
                let (_, part) = self.inboxes[node].entries.remove(place).expect("it was found there");
                self.is_gone_from(node);
                return Some(self.run_sent(w, part, super::NONE, now));
            }
        }
        None
    }

    /// Tells who waits for a task that it is done; what that costs the teller.
    pub(super) fn tell(&mut self, w: usize, home: Home, now: u64) -> u64 {
        let (owner, at) = match home {
            Home::Main => {
                self.is_done = true;
                return 0;
            }
            Home::Job { arrived } => {
                self.tally.times.push(now - arrived);
                self.jobs_left -= 1;
                self.is_done = self.jobs_left == 0;
                return 0;
            }
            Home::Frame { owner, at } => {
                self.workers[owner].frames[at as usize].status = Status::Done;
                (owner, at)
            }
            Home::Gather { owner, at } => {
                let Kind::Gather { remaining } = &mut self.workers[owner].frames[at as usize].kind else {
                    unreachable!("parts are of a loop that was dealt out")
                };
                *remaining -= 1;
                if *remaining > 0 {
                    return 0;
                }
                (owner, at)
            }
        };
        let waiter = &mut self.workers[owner];
        if waiter.frames.len() as u32 != at + 1 {
            return 0;
        }
        match waiter.state {
            State::Waiting => {
                self.queue.set(owner, now + self.machine.latch);
                0
            }
            State::Dozing => {
                waiter.state = State::Waiting;
                self.queue.set(owner, now + self.machine.wake[1]);
                self.tally.wakes += 1;
                self.overhead(w, self.machine.wake[0])
            }
            _ => 0,
        }
    }
}
