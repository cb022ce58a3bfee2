//! Making work public: answering requests, sending it to the node of its data, dealing a loop out.

use super::run::{WORTH_SHARING, WORTH_WAKING};
use super::worker::{Current, Frame, Kind, Sent, Status, NO_TASK};
use super::Engine;
use crate::program::Task;
use crate::rate::HEARTBEAT;
use crate::settings::{Placement, Sharing};

impl Engine<'_> {
    /// What a worker does when it looks up, at `now`; how long that takes.
    pub(super) fn attend(&mut self, w: usize, now: u64) -> u64 {
        let worker = &mut self.workers[w];
        if worker.above.private == 0 {
            return 0;
        }
        if let Sharing::Timer(beat) = self.settings.sharing {
            worker.asked = false;
            if now - worker.last_beat < beat {
                return 0;
            }
            worker.last_beat = now;
            return self.expose(w, now, 1);
        }
        let mut is_asked = worker.asked;
        if let (Current::Drain, Some(frame)) = (worker.current, worker.frames.last()) {
            if let Kind::Loop { each, .. } = frame.kind {
                let rest = each.of(frame.task.hi - frame.task.lo);
                let is_worth = |least| rest.is_none_or(|rest| rest >= least);
                is_asked = is_asked && is_worth(WORTH_SHARING) || self.hungry > 0 && is_worth(WORTH_WAKING);
            }
        }
        if !is_asked {
            return 0;
        }
        worker.asked = false;
        let private = worker.above.private;
        let exposed = private.div_ceil(2);
        let cost = self.expose(w, now, exposed) + self.overhead(w, self.machine.answer);
        self.tally.answers += 1;
        let public = self.workers[w].public.len();
        // More are hungry than there is on offer: the next fork is offered as well, down to a tree with a leaf for each worker.
        let levels = self.workers.len().next_power_of_two().ilog2() as usize;
        if (private - exposed) as usize + public < levels && self.hungry > public {
            self.workers[w].asked = true;
        }
        let is_rare = now - self.workers[w].last_wake >= HEARTBEAT || self.workers[w].last_wake == 0;
        if self.watcher == super::NONE && self.sleepers > 0 && is_rare {
            self.workers[w].last_wake = now;
            if self.wake_one(now, None) {
                return cost + self.overhead(w, self.machine.wake[0]);
            }
        }
        cost
    }

    /// Makes the oldest `count` private frames public; how long that takes.
    fn expose(&mut self, w: usize, now: u64, count: u32) -> u64 {
        let mut cost = 0;
        let mut left = count;
        let mut at = self.workers[w].above.first_private;
        while left > 0 {
            let frame = &self.workers[w].frames[at as usize];
            if frame.is_shareable() && frame.status == Status::Private {
                left -= 1;
                self.workers[w].above.private -= 1;
                self.tally.promotions += 1;
                cost += self.machine.promote;
                match self.destination(w, at) {
                    Some(node) => cost += self.send(w, at, node, now),
                    None => {
                        self.tickets += 1;
                        let worker = &mut self.workers[w];
                        let frame = &mut worker.frames[at as usize];
                        (frame.status, frame.ticket, frame.since) = (Status::Public, self.tickets, now);
                        worker.public.push_back(at);
                    }
                }
            }
            at += 1;
        }
        let worker = &mut self.workers[w];
        worker.above.first_private = at;
        self.changed(w);
        self.overhead(w, cost)
    }

    /// The other node that a frame should go to, if it should.
    fn destination(&self, w: usize, at: u32) -> Option<u32> {
        if !self.settings.push {
            return None;
        }
        let frame = &self.workers[w].frames[at as usize];
        let task = match frame.kind {
            Kind::Loop { .. } if frame.task.hi - frame.task.lo < 2 => return None,
            Kind::Loop { .. } => upper_half(frame.task),
            _ => frame.task,
        };
        let home = self.layout.host(self.program.home(task)?);
        (home != self.workers[w].node).then_some(home)
    }

    /// Sends a private frame to a node; how long that takes besides. Of a loop the upper half goes.
    fn send(&mut self, w: usize, at: u32, node: u32, now: u64) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        let worker = &mut self.workers[w];
        let frame = &mut worker.frames[at as usize];
        (frame.status, frame.ticket, frame.since, frame.other) = (Status::Sent, ticket, now, node);
        if let Kind::Loop { .. } = frame.kind {
            let (kind, whole) = (frame.kind, frame.task);
            let half = upper_half(whole);
            frame.task = half;
            // The loop's frame is the newest: the owner goes on with the lower half under a frame of its own.
            worker.push_private(kind, whole.over(whole.lo, half.lo));
        }
        self.put(node as usize, Sent::Frame { owner: w, at, ticket });
        self.tally.pushed += 1;
        let remote = *self.machine.probe.last().expect("there are distances");
        match self.wake_one(now, Some(node)) {
            true => remote + self.machine.wake[0],
            false => remote,
        }
    }

    /// Deals a loop's parts out to nodes or workers, keeps its own and waits for the others; how long that takes.
    pub(super) fn deal(&mut self, w: usize, range: Task, placement: Placement, now: u64) -> u64 {
        let workers = self.workers.len();
        let parts = match placement {
            Placement::Nodes => (self.machine.nodes as usize).min(workers),
            _ => workers,
        };
        let nodes: Vec<u32> = (0..parts).map(|part| self.layout.node(part * workers / parts)).collect();
        let own = match placement {
            Placement::Nodes => nodes.iter().position(|&node| node == self.workers[w].node).unwrap_or(0),
            _ => w,
        };
        let bound = |part: usize| {
            let length = (range.hi - range.lo) as usize;
            range.lo + (length * part / parts) as u32
        };
        let at = self.workers[w].frames.len() as u32;
        self.workers[w].frames.push(Frame::new(Kind::Gather { remaining: 0 }, NO_TASK));
        let (mut sent, mut cost) = (0, 0);
        for (part, &node) in nodes.iter().enumerate() {
            let task = range.over(bound(part), bound(part + 1));
            if part != own && task.lo < task.hi {
                self.put(node as usize, Sent::Part { owner: w, at, task });
                sent += 1;
                cost += self.machine.promote;
            }
        }
        // One is woken for each node; who takes a part and leaves another wakes the next one.
        for (part, &node) in nodes.iter().enumerate() {
            let is_first = part == 0 || nodes[part - 1] != node;
            if is_first && self.inboxes[node as usize].live > 0 && self.wake_one(now, Some(node)) {
                cost += self.machine.wake[0];
            }
        }
        self.workers[w].frames[at as usize].kind = Kind::Gather { remaining: sent };
        self.begin_loop(w, range.over(bound(own), bound(own + 1)));
        self.tally.promotions += u64::from(sent);
        self.overhead(w, cost)
    }

    /// The inbox that everybody looks at.
    pub(super) fn injector(&self) -> usize {
        self.machine.nodes as usize
    }

    /// The inbox of what a worker took beyond what it runs.
    pub(super) fn loot(&self, w: usize) -> usize {
        self.machine.nodes as usize + 1 + w
    }

    pub(super) fn put(&mut self, inbox: usize, sent: Sent) {
        let inbox = &mut self.inboxes[inbox];
        inbox.entries.push_back((self.now, sent));
        inbox.live += 1;
        self.live += 1;
    }

    /// An entry of an inbox is no longer to be had.
    pub(super) fn is_gone_from(&mut self, inbox: usize) {
        self.inboxes[inbox].live -= 1;
        self.live -= 1;
    }

    /// Takes the oldest thing from an inbox; frames that their owners took back are passed over.
    pub(super) fn take_sent(&mut self, inbox: usize) -> Option<Sent> {
        if self.inboxes[inbox].live == 0 {
            self.inboxes[inbox].entries.clear();
            return None;
        }
        loop {
            let (_, sent) = self.inboxes[inbox].entries.pop_front().expect("a live entry is there");
            if self.is_live(&sent) {
                self.is_gone_from(inbox);
                return Some(sent);
            }
        }
    }

    fn is_live(&self, sent: &Sent) -> bool {
        match *sent {
            Sent::Frame { owner, at, ticket } => {
                let frame = self.workers[owner].frames.get(at as usize);
                frame.is_some_and(|frame| frame.status == Status::Sent && frame.ticket == ticket)
            }
            _ => true,
        }
    }
}

/// The upper half of a range, the larger one of an odd number.
pub(super) fn upper_half(task: Task) -> Task {
    task.over(task.lo + (task.hi - task.lo) / 2, task.hi)
}
