//! A user's context that tasks inherit from whoever spawns them, such as the current span of `tracing`.
//!
//! It is captured where a task is spawned, added to a scope, or installed, and entered around its code wherever that runs: around a
//! closure, each poll of a future, and every part of a join that is stolen. What a worker has entered stands on its
//! list, and a frame that becomes public notes the place, so a join that nobody steals knows nothing of all this.

use std::any::Any;
use std::sync::Arc;

use crate::runtime::registry::Registry;
use crate::runtime::worker::WorkerThread;
use crate::sync::{lock, Mutex};
use crate::task::frame::Worker;

/// A captured context.
pub(crate) type Captured = Arc<dyn Any + Send + Sync>;

type Enter = dyn Fn(&(dyn Any + Send + Sync), &mut dyn FnMut()) + Send + Sync;

/// How to capture a context and how to enter one.
pub(crate) struct Inheritance {
    capture: Box<dyn Fn() -> Captured + Send + Sync>,
    enter: Box<Enter>,
}

impl Inheritance {
    pub(crate) fn new<C: Send + Sync + 'static>(
        capture: impl Fn() -> C + Send + Sync + 'static,
        enter: impl Fn(&C, &mut dyn FnMut()) + Send + Sync + 'static,
    ) -> Self {
        Self {
            capture: Box::new(move || Arc::new(capture())),
            enter: Box::new(move |captured, run| {
                let Some(captured) = captured.downcast_ref() else {
                    unreachable!("one hook captures and enters")
                };
                enter(captured, run);
            }),
        }
    }

    /// # Panics
    /// When the user's hook does not run what it was given, and with the panics of both.
    fn enter<R>(&self, captured: &Captured, f: impl FnOnce() -> R) -> R {
        let (mut f, mut result) = (Some(f), None);
        (self.enter)(&**captured, &mut || {
            if let Some(f) = f.take() {
                result = Some(f());
            }
        });
        result.unwrap_or_else(|| panic!("the task context was entered, but the task was not run"))
    }
}

/// What a worker has entered, the latest last: one for each task that is open on its stack. Alone on its cache lines, for thieves lock it.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Entered(Mutex<Vec<Captured>>);

impl Entered {
    /// The one at `place`, counted from 1; none at 0. A public frame's place is there until the frame's task is done.
    fn at(&self, place: u32) -> Option<Captured> {
        let index = (place as usize).checked_sub(1)?;
        lock(&self.0).get(index).cloned()
    }
}

impl Registry {
    /// The context of this moment, where the runtime has such a thing.
    pub(crate) fn capture(&self) -> Option<Captured> {
        self.inheritance.as_ref().map(|inheritance| (inheritance.capture)())
    }

    /// `f` in the context of this moment.
    pub(crate) fn inherit<R>(&self, f: impl FnOnce(&Worker) -> R + Send) -> impl FnOnce(&Worker) -> R + Send {
        let captured = self.capture();
        move |worker: &Worker| worker.thread().within(captured.as_ref(), || f(worker))
    }
}

impl WorkerThread {
    /// Where on its list the context of the task that this worker runs stands; 0 for none.
    pub(crate) fn place(&self) -> u32 {
        self.place.get()
    }

    /// Fetches the context of a task that was stolen from worker `victim`, for [`enter_stolen`](Self::enter_stolen).
    pub(crate) fn receive(&self, victim: usize, place: u32) {
        let registry = self.registry();
        if registry.inheritance.is_some() {
            self.received.set(registry.peers[victim].entered.at(place));
        }
    }

    /// Runs a stolen task in its context, at the root of a chain of its own.
    pub(crate) fn enter_stolen<R>(&self, f: impl FnOnce(&Worker) -> R) -> R {
        let captured = self.received.take();
        self.within(captured.as_ref(), || self.enter(f))
    }

    /// Runs a task's code in its context.
    pub(crate) fn within<R>(&self, captured: Option<&Captured>, f: impl FnOnce() -> R) -> R {
        let registry = self.registry();
        let (Some(inheritance), Some(captured)) = (&registry.inheritance, captured) else { return f() };
        let entered = &registry.peers[self.index()].entered;
        let place = {
            let mut entered = lock(&entered.0);
            entered.push(captured.clone());
            entered.len() as u32
        };
        let _leave = Leave { thread: self, entered, before: self.place.replace(place) };
        inheritance.enter(captured, f)
    }
}

/// Takes the latest context off the list, unwinding included.
struct Leave<'a> {
    thread: &'a WorkerThread,
    entered: &'a Entered,
    before: u32,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let left = lock(&self.entered.0).pop();
        self.thread.place.set(self.before);
        // A captured context's destructor is anybody's code: not under the lock, and it may not unwind here.
        super::unwind::discard(left);
    }
}
