//! What a thread remembers of the loops that it ran: how long an element of each takes.
//!
//! Before its first item is done a loop knows nothing of its grain: two items may be two nanoseconds or two seconds. So each
//! thread keeps, in a small table by the address of the loop's compiled code, what the last ones took. It is a hint: a wrong one makes a
//! loop offer itself for nothing, or only when somebody asks; entries that collide replace each other.

#[cfg(not(upbeat_loom))]
use std::cell::Cell;

use super::pace::Rest;
use crate::runtime::current::with_current;
use crate::runtime::{global, Mode};
use crate::task::frame::Worker;

/// One loop in the program's code.
#[derive(Clone, Copy)]
pub(super) struct Site(usize);

/// Items of which the first one is a small part, whatever it takes.
const MANY: usize = 16;
/// Loops that a thread remembers.
#[cfg(not(upbeat_loom))]
const REMEMBERED: usize = 64;

#[cfg(not(upbeat_loom))]
crate::sync::thread_local! {
    /// Address and ticks an element.
    static SITES: [Cell<(usize, f32)>; REMEMBERED] = const { [const { Cell::new((0, 0.0)) }; REMEMBERED] };
}

impl Site {
    /// The loop whose code is at `code`.
    #[inline]
    pub(super) fn of(code: *const ()) -> Self {
        Self(code.addr())
    }

    /// Ticks that an element took the last times, if any are remembered.
    #[cfg(not(upbeat_loom))]
    #[inline]
    pub(super) fn each(self) -> Option<f32> {
        // Gone while the thread ends: then nothing is known.
        let (code, each) = SITES.try_with(|sites| sites[self.slot()].get()).unwrap_or_default();
        (code == self.0).then_some(each)
    }

    /// Nothing: executions of a model must not depend on the ones before.
    #[cfg(upbeat_loom)]
    pub(super) fn each(self) -> Option<f32> {
        let _ = self.0;
        None
    }

    /// Elements of this loop have just taken `each` ticks.
    #[cfg(not(upbeat_loom))]
    #[inline]
    pub(super) fn note(self, each: f32) {
        let _ = SITES.try_with(|sites| {
            let slot = &sites[self.slot()];
            let (code, before) = slot.get();
            slot.set((self.0, if code == self.0 { (before + each) / 2.0 } else { each }));
        });
    }

    /// As [`each`](Self::each) above.
    #[cfg(upbeat_loom)]
    pub(super) fn note(self, _each: f32) {}

    /// Functions begin at multiples of 16, one after the other.
    #[cfg(not(upbeat_loom))]
    #[inline]
    fn slot(self) -> usize {
        (self.0 >> 4 ^ self.0 >> 10) % REMEMBERED
    }

    /// Whether a loop of `items`, which are `elements`, is remembered to be over before anybody could help. Such a loop needs no
    /// worker. Not so if it has a few items only: if these are long this time, to have begun alone costs too much.
    #[inline]
    pub(super) fn is_short(self, items: usize, elements: usize) -> bool {
        items >= MANY
            && self.each().is_some_and(|each| !Rest::of(f64::from(each), elements).is_worth_sharing())
    }

    /// Whether a loop of `elements` is remembered to be too short to wake somebody for.
    #[inline]
    pub(super) fn is_not_worth_waking(self, elements: usize) -> bool {
        self.each().is_some_and(|each| !Rest::of(f64::from(each), elements).is_worth_waking())
    }

    /// Whether a loop of `elements` should offer itself before it begins: yes if somebody looks for work, for its first item may be long
    /// this time and wait for another one; else if it is worth waking somebody for. A loop that nothing is known of is taken for long.
    #[inline]
    pub(super) fn is_offered(self, worker: &Worker, elements: usize) -> bool {
        worker.is_asked() || (!self.is_not_worth_waking(elements) && ask(worker))
    }
}

/// Whether a short loop may be kept from other workers: not in the modes that decide otherwise.
pub(super) fn is_alone_allowed() -> bool {
    let mode = with_current(|worker| worker.map(Worker::mode));
    mode.unwrap_or_else(|| global().mode()) == Mode::OnRequest
}

/// Asks the worker itself for work; false when there is nobody to share with, and in modes that do not share.
#[cold]
pub(super) fn ask(worker: &Worker) -> bool {
    if worker.num_workers() > 1 {
        worker.offer_next();
    }
    worker.is_asked()
}
