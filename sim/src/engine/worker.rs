//! What a simulated worker owns: its stack of frames, the part of it that is public, and what it remembers as a thief.

use std::collections::VecDeque;

use upbeat::simulation::Hedge;
use upbeat::Generator;

use crate::program::{Region, Task};

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Runs tasks; its event is the end of a segment.
    Running,
    /// Looks at victims; its event is the end of a look.
    Searching,
    /// Waits for a thief and polls.
    Waiting,
    /// The same, asleep for a while.
    Dozing,
    /// Watches the others, asleep for a while.
    Napping,
    /// Asleep until somebody wakes it.
    Parked,
    /// Woken, and not yet running.
    Waking,
}

/// What a running worker does next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Current {
    /// This task.
    Task(Task),
    /// The next chunk of the loop whose frame is the newest.
    Drain,
    /// Whatever the newest frame says.
    Pop,
}

/// What a frame is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// The right side of a join.
    Fork,
    /// The rest of a loop: the owner takes chunks from its front, a thief half from its back.
    Loop { chunk: u32, each: Pace },
    /// What follows.
    Then,
    /// The end of a region.
    Region { region: Region, began: u64 },
    /// Parts that were dealt out and are not done.
    Gather { remaining: u32 },
    /// The bottom of a task from elsewhere: who waits for it, and what of the stack below was private.
    Root { home: Home, victim: usize, began: u64, below: Below },
}

/// Which frames below a root, or above it, others may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Below {
    /// Frames of joins and loops.
    pub(super) open: u32,
    /// Private ones of them; all are at `first_private` or above.
    pub(super) private: u32,
    pub(super) first_private: u32,
}

/// What the last chunk of a loop took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    pub(super) ns: u64,
    pub(super) items: u32,
}

impl Pace {
    /// How long `items` take at that; `None` before the first chunk.
    pub(super) fn of(self, items: u32) -> Option<u64> {
        (self.items > 0).then(|| self.ns * u64::from(items) / u64::from(self.items))
    }
}

/// Who waits for a task.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home {
    /// The frame of a join or a loop.
    Frame { owner: usize, at: u32 },
    /// The frame of what was dealt out.
    Gather { owner: usize, at: u32 },
    /// Nobody: it came from outside at this time.
    Job { arrived: u64 },
    /// The end of the program.
    Main,
}

/// Who may run a frame's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Its owner alone.
    Private,
    /// Its owner, and whoever takes it.
    Public,
    /// The same, but it lies in an inbox.
    Sent,
    /// A thief runs it.
    Stolen,
    /// The thief is done.
    Done,
}

/// A frame of a worker's stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) task: Task,
    pub(super) status: Status,
    /// The thief of a stolen one, the inbox of one that was sent.
    pub(super) other: u32,
    /// The thief's root of it.
    pub(super) at: u32,
    /// Tells it from others that were public, as an index in the ring does.
    pub(super) ticket: u64,
    /// When it became public.
    pub(super) since: u64,
}

/// A frame's task when it has none.
pub(super) const NO_TASK: Task = Task::new(1, 0, 0, 0, 0);

impl Frame {
    pub(super) fn new(kind: Kind, task: Task) -> Self {
        Self { kind, task, status: Status::Private, other: 0, at: 0, ticket: 0, since: 0 }
    }

    /// Whether others may have its task.
    pub(super) fn is_shareable(&self) -> bool {
        matches!(self.kind, Kind::Fork | Kind::Loop { .. })
    }
}

/// Something that lies in an inbox.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sent {
    /// A frame, if it still has this ticket and is still [`Status::Sent`].
    Frame { owner: usize, at: u32, ticket: u64 },
    /// A part of a loop that was dealt out.
    Part { owner: usize, at: u32, task: Task },
    /// What came from outside.
    Job { task: Task, arrived: u64 },
}

/// A queue that several workers take from.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbox {
    /// With the times at which they came.
    pub(super) entries: VecDeque<(u64, Sent)>,
    /// Entries that are still to be had.
    pub(super) live: u32,
}

/// How long a worker did what, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) useful: u64,
    pub(super) inflated: u64,
    pub(super) overhead: u64,
}

/// A worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) state: State,
    pub(super) current: Current,
    pub(super) node: u32,
    pub(super) frames: Vec<Frame>,
    /// Indices of public frames, the oldest first: `[top, split)` of the ring.
    pub(super) public: VecDeque<u32>,
    /// What is above the newest root.
    pub(super) above: Below,
    /// Somebody wants work.
    pub(super) asked: bool,
    /// When it began what it runs.
    pub(super) busy_since: Option<u64>,
    /// What it takes of which node's memory, in 1/1024 of a stream.
    pub(super) stream: Option<(u32, u32)>,
    pub(super) last_wake: u64,
    pub(super) last_beat: u64,

    pub(super) generator: Generator,
    pub(super) order: Vec<usize>,
    /// Whether `order` is of this round; whether the round leaves other nodes out.
    pub(super) is_drawn: bool,
    pub(super) is_patient: bool,
    /// Whom of the order it looks at, and whether the look is paid for.
    pub(super) at: usize,
    pub(super) is_paid: bool,
    pub(super) idle_since: u64,
    /// When the present period without work began, as the `hedge` sees it, and when it ended for who was woken.
    pub(super) period: u64,
    pub(super) woken_at: u64,
    pub(super) hedge: Hedge,
    pub(super) spin_until: u64,
    pub(super) poll_until: u64,
    pub(super) nap: u64,
    pub(super) polls: u32,
    pub(super) wait_began: u64,

    pub(super) spent: Spent,
}

impl Worker {
    pub(super) fn new(node: u32, wake: u64, seed: u64) -> Self {
        Self {
            state: State::Searching,
            current: Current::Pop,
            node,
            frames: Vec::with_capacity(64),
            public: VecDeque::with_capacity(64),
            above: Below::default(),
            asked: false,
            busy_since: None,
            stream: None,
            last_wake: 0,
            last_beat: 0,
            generator: Generator::new(seed),
            order: Vec::new(),
            is_drawn: false,
            is_patient: false,
            at: 0,
            is_paid: false,
            idle_since: 0,
            period: 0,
            woken_at: 0,
            hedge: Hedge::new(wake, 1_000, seed),
            spin_until: 0,
            poll_until: 0,
            nap: 0,
            polls: 0,
            wait_began: 0,
            spent: Spent::default(),
        }
    }

    /// The index of the newest frame.
    pub(super) fn top(&self) -> u32 {
        self.frames.len() as u32 - 1
    }

    pub(super) fn push_private(&mut self, kind: Kind, task: Task) {
        self.frames.push(Frame::new(kind, task));
        self.above.open += 1;
        self.above.private += 1;
    }

    /// Removes the newest frame; what is private begins below its end.
    pub(super) fn pop_frame(&mut self) -> Frame {
        let frame = self.frames.pop().expect("a running worker has a frame");
        self.above.first_private = self.above.first_private.min(self.frames.len() as u32);
        self.above.open -= u32::from(frame.is_shareable());
        frame
    }

    /// The ticket of its oldest public frame.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.public.front().map(|&at| self.frames[at as usize].ticket)
    }
}
