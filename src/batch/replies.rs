//! Where results wait for those who submitted the items: cells that are used again, so that a warm batcher allocates nothing.
//!
//! A cell belongs to an item and its handle. Who of the two comes last, the completion of an abandoned cell or the handle of a complete
//! one, gives it back. Rooms of cells are made as they are needed and stay until the batcher goes.

use std::mem::replace;
use std::task::{Poll, Waker};

use super::stack::Stack;
use super::word::{LEASED, NO_LABEL};
use super::BatchError;
use crate::sync::{lock, AtomicU32, Mutex, OnceLock};

/// Cells of the first room; each room has twice as many as the one before.
const FIRST: usize = 64;
const ROOMS: usize = 20;
const _: () = assert!((FIRST << ROOMS) - FIRST <= LEASED as usize, "each cell is a label");

/// The cell of an item that nobody waits for.
pub(super) const NOBODY: u32 = NO_LABEL;

enum Outcome<R> {
    /// Not there yet; whom to wake then.
    Pending(Option<Waker>),
    /// Nobody will ask.
    Abandoned,
    Ready(Result<R, BatchError>),
    Taken,
}

struct Cell<R> {
    /// The cell below on the stack, plus one.
    below: AtomicU32,
    outcome: Mutex<Outcome<R>>,
}

pub(super) struct Replies<R> {
    rooms: [OnceLock<Box<[Cell<R>]>>; ROOMS],
    free: Stack,
    /// Rooms there are.
    made: Mutex<usize>,
}

impl<R> Replies<R> {
    pub(super) fn new() -> Self {
        Self { rooms: std::array::from_fn(|_| OnceLock::new()), free: Stack::new(), made: Mutex::new(0) }
    }

    fn cell(&self, index: u32) -> &Cell<R> {
        let at = index as usize + FIRST;
        let room = (at / FIRST).ilog2() as usize;
        let Some(cells) = self.rooms[room].get() else { unreachable!("the room of a cell in use exists") };
        &cells[at - (FIRST << room)]
    }

    /// A cell without a result; `None` when there are as many as can be named, 64 million.
    pub(super) fn begin(&self) -> Option<u32> {
        let index = loop {
            if let Some(index) = self.free.pop(|index| &self.cell(index).below) {
                break index;
            }
            if !self.make_room() {
                return None;
            }
        };
        *lock(&self.cell(index).outcome) = Outcome::Pending(None);
        Some(index)
    }

    /// Puts the cells `from` to `to`, which lie on each other already, on the stack.
    fn put(&self, from: u32, to: u32) {
        self.free.push(from, to, |index| &self.cell(index).below);
    }

    #[cold]
    fn make_room(&self) -> bool {
        let mut made = lock(&self.made);
        if !self.free.is_empty() {
            return true;
        }
        if *made == ROOMS {
            return false;
        }
        let (count, first) = ((FIRST << *made) as u32, ((FIRST << *made) - FIRST) as u32);
        let cell =
            |index| Cell { below: AtomicU32::new(first + index + 2), outcome: Mutex::new(Outcome::Taken) };
        self.rooms[*made].get_or_init(|| (0..count).map(cell).collect());
        *made += 1;
        self.put(first, first + count - 1);
        true
    }

    /// Gives a cell back that was begun for nothing.
    pub(super) fn cancel(&self, index: u32) {
        *lock(&self.cell(index).outcome) = Outcome::Taken;
        self.put(index, index);
    }

    /// Whether nobody will ask for the result. The cell is given back then, and the item need not be run.
    pub(super) fn is_abandoned(&self, index: u32) -> bool {
        let mut outcome = lock(&self.cell(index).outcome);
        if !matches!(*outcome, Outcome::Abandoned) {
            return false;
        }
        *outcome = Outcome::Taken;
        drop(outcome);
        self.put(index, index);
        true
    }

    /// Hands a result over. Whom to wake, and the result if nobody will ask; both are the caller's, for they may run anybody's code.
    pub(super) fn complete(
        &self,
        index: u32,
        result: Result<R, BatchError>,
    ) -> (Option<Waker>, Option<Result<R, BatchError>>) {
        let mut outcome = lock(&self.cell(index).outcome);
        match replace(&mut *outcome, Outcome::Taken) {
            Outcome::Pending(waker) => {
                *outcome = Outcome::Ready(result);
                (waker, None)
            }
            Outcome::Abandoned => {
                drop(outcome);
                self.put(index, index);
                (None, Some(result))
            }
            Outcome::Ready(_) | Outcome::Taken => unreachable!("an item is completed once"),
        }
    }

    pub(super) fn is_ready(&self, index: u32) -> bool {
        matches!(*lock(&self.cell(index).outcome), Outcome::Ready(_))
    }

    /// The result if it is there; else `waker` is woken when it comes, and no other one.
    pub(super) fn poll(&self, index: u32, waker: Waker) -> Poll<Result<R, BatchError>> {
        let mut outcome = lock(&self.cell(index).outcome);
        let before = match replace(&mut *outcome, Outcome::Taken) {
            Outcome::Ready(result) => return Poll::Ready(result),
            Outcome::Pending(before) => before,
            Outcome::Abandoned | Outcome::Taken => unreachable!("the handle has not been used up"),
        };
        *outcome = Outcome::Pending(Some(waker));
        drop(outcome);
        // Dropped outside the lock: it may run anybody's code.
        drop(before);
        Poll::Pending
    }

    /// The handle goes. A result that was there and not taken is the caller's to drop.
    pub(super) fn abandon(&self, index: u32) -> Option<Result<R, BatchError>> {
        let mut outcome = lock(&self.cell(index).outcome);
        let unclaimed = match replace(&mut *outcome, Outcome::Taken) {
            Outcome::Pending(waker) => {
                *outcome = Outcome::Abandoned;
                drop(outcome);
                drop(waker);
                return None;
            }
            Outcome::Ready(result) => Some(result),
            Outcome::Taken => None,
            Outcome::Abandoned => unreachable!("a handle goes once"),
        };
        drop(outcome);
        self.put(index, index);
        unclaimed
    }
}
