//! The frame of a join on its worker's stack, and [`Worker`], the part of it that closures get to see.
//!
//! A join's frame holds the right closure until somebody runs it. Frames link to the ones around them, so a worker's *private*
//! tasks are a chain on its stack: to fork is to fill in three words, and nobody else knows of it. When a thief asks,
//! `WorkerThread::answer` walks the chain and *publishes* the oldest frames into the ring.
//!
//! Who owns what: a private frame is its worker's alone. Publishing writes the latch and moves the function pointer; after
//! that the content belongs to whoever takes the frame from the ring: the owner's `pop`, or a thief's CAS. The thief gives it
//! back by setting the latch, and the frame stays until then. Models: `loom-tests/tests/join.rs`.

use std::cell::Cell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::null;

use super::latch::Latch;
use super::unwind::catch;
use super::Then;
use crate::deque::Front;
use crate::runtime::worker::WorkerThread;
use crate::sync::UnsafeCell;

/// Closures up to this size, bytes, are kept twice by a join: what fits a register. A larger copy would be spilled to the stack, and cost
/// more than reading the frame.
const COPIED: usize = 8;

/// Runs the task of a published frame on another worker; returns whether the owner sleeps and must be woken.
type Execute = unsafe fn(*const Worker, &WorkerThread) -> bool;

/// The worker that a closure runs on: the way to fork without looking anything up.
///
/// Handed to the closures of [`Runtime::install`](crate::Runtime::install) and [`Worker::join`]; it cannot leave its thread.
#[repr(C)]
pub struct Worker {
    /// The front of the ring of the worker's thread, or in a root one where a request always stands. Raw, so that the type is neither
    /// `Send` nor `Sync`. Valid as long as any of its workers is. Not the thread, because a fork looks at nothing but `asked`.
    front: Cell<*const Front>,
    /// The frame around this one; null in a root. A join reads it back from here after its left side, for it would cost more to keep.
    parent: Cell<*const Worker>,
    /// How to run the right closure; `None` once the frame is public, and in a root, which has no closure.
    execute: Cell<Option<Execute>>,
    /// How to run it from then on. Written when the frame is published, like the next two.
    published: Cell<MaybeUninit<Execute>>,
    latch: UnsafeCell<MaybeUninit<Latch>>,
    /// Which of the worker's contexts the task runs in (`inherit.rs`).
    place: Cell<MaybeUninit<u32>>,
}

impl Worker {
    /// The end of a chain: what a task from a queue or a ring starts with.
    ///
    /// # Safety
    /// `front` and its owner, a `WorkerThread`, outlive the result and belong to the calling thread.
    pub(crate) unsafe fn root(front: *const Front) -> Self {
        let latch = UnsafeCell::new(MaybeUninit::uninit());
        Self {
            front: Cell::new(front),
            parent: Cell::new(null()),
            execute: Cell::new(None),
            published: Cell::new(MaybeUninit::uninit()),
            latch,
            place: Cell::new(MaybeUninit::uninit()),
        }
    }

    #[inline(always)]
    pub(crate) fn front(&self) -> &Front {
        // SAFETY: `root` vouched for it, and frames copy it from their parent, which lives longer.
        unsafe { &*self.front.get() }
    }

    /// Forks from here look at `front` from now on, which is another one of this thread's.
    pub(crate) fn set_front(&self, front: *const Front) {
        self.front.set(front);
    }

    #[inline(always)]
    pub(crate) fn thread(&self) -> &WorkerThread {
        // SAFETY: `root` vouched for the ring's owner as well.
        unsafe { &*self.front().owner().cast::<WorkerThread>() }
    }

    /// Whether this worker should share work: an idle one has asked, or, in a root, has nothing to do.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.front().is_asked() && self.thread().is_wanted()
    }

    #[inline(always)]
    pub(crate) fn is_private(&self) -> bool {
        self.execute.get().is_some()
    }

    /// Whether this frame is private and the one around it is not.
    pub(crate) fn is_outermost(&self) -> bool {
        self.is_private() && !self.parent().is_private()
    }

    /// The frame around this one.
    #[inline(always)]
    fn parent(&self) -> &Worker {
        // SAFETY: this is no root, for which nobody asks; so it was made inside its parent, which is alive.
        unsafe { &*self.parent.get() }
    }

    /// Whether this is the end of a chain: what a task starts with, or the right side of a fork in a root that was taken back.
    pub(crate) fn is_root(&self) -> bool {
        self.parent.get().is_null()
    }

    /// Makes a published frame that was taken back a root, from which forks look at `front`: nothing around it is private.
    pub(crate) fn become_root(&self, front: *const Front) {
        self.parent.set(null());
        self.front.set(front);
    }

    /// Puts the chain of private frames from this one outwards into `chain`, the newest first, `most` of them at most.
    pub(crate) fn private_chain(&self, chain: &mut Vec<*const Worker>, most: usize) {
        chain.clear();
        let mut frame: *const Worker = self;
        while chain.len() < most {
            // SAFETY: `self` is alive, and so is every frame around it.
            let worker = unsafe { &*frame };
            if !worker.is_private() {
                return;
            }
            chain.push(frame);
            frame = worker.parent.get();
        }
    }

    /// Makes a private frame ready for thieves, who see it once the ring has it. Its context is at `place`.
    ///
    /// # Safety
    /// `frame` came from [`private_chain`](Self::private_chain) of a live frame and is private.
    pub(crate) unsafe fn publish(frame: *const Worker, place: u32) -> *mut Worker {
        // SAFETY: the chain's frames are alive.
        let worker = unsafe { &*frame };
        let Some(execute) = worker.execute.take() else { unreachable!("a private frame has its function") };
        worker.published.set(MaybeUninit::new(execute));
        worker.place.set(MaybeUninit::new(place));
        worker.latch.with_mut(|latch| {
            // SAFETY: nobody else knows of the frame yet.
            unsafe { (*latch).write(Latch::new()) };
        });
        frame.cast_mut()
    }

    /// The latch of a published frame.
    ///
    /// # Safety
    /// The frame was published.
    pub(crate) unsafe fn latch(&self) -> &Latch {
        // SAFETY: publishing wrote it, and nothing writes the cell again; the latch itself is atomic.
        self.latch.with(|latch| unsafe { (*latch).assume_init_ref() })
    }
}

/// A join's frame: the right closure and its result behind the [`Worker`] that the left closure gets.
#[repr(C)]
pub(crate) struct Frame<F, R> {
    worker: Worker,
    content: UnsafeCell<Content<F, R>>,
}

/// The closure until the task is taken, the result after a thief has run it. Which one it is follows from who owns it.
union Content<F, R> {
    closure: ManuallyDrop<F>,
    result: ManuallyDrop<std::thread::Result<R>>,
}

impl<F, R> Frame<F, R>
where
    F: FnOnce(&Worker) -> R + Send,
    R: Send,
{
    /// A private frame inside `parent`, from which forks look at `front`.
    #[inline(always)]
    pub(crate) fn new(parent: &Worker, front: *const Front, closure: F) -> Self {
        Self {
            worker: Worker {
                front: Cell::new(front),
                parent: Cell::new(parent),
                execute: Cell::new(Some(Self::execute)),
                published: Cell::new(MaybeUninit::uninit()),
                latch: UnsafeCell::new(MaybeUninit::uninit()),
                place: Cell::new(MaybeUninit::uninit()),
            },
            content: UnsafeCell::new(Content { closure: ManuallyDrop::new(closure) }),
        }
    }

    /// What the left closure forks from. Its address is the frame's.
    #[inline(always)]
    pub(crate) fn worker(&self) -> &Worker {
        // SAFETY: the worker is the first field of a `#[repr(C)]` frame. Made from the whole frame's address, so that the
        // content may be reached through it.
        unsafe { &*(&raw const *self).cast::<Worker>() }
    }

    /// The worker that the join forks from.
    #[inline(always)]
    pub(crate) fn parent(&self) -> &Worker {
        self.worker().parent()
    }

    /// Takes the closure out.
    ///
    /// # Safety
    /// The task is the caller's and its closure was not taken before.
    #[inline(always)]
    pub(crate) unsafe fn take_closure(&self) -> F {
        self.content.with_mut(|content| {
            // SAFETY: the caller owns the content, which still is the closure.
            let closure = unsafe { &mut (*content).closure };
            // SAFETY: the caller vouches that this happens once.
            unsafe { ManuallyDrop::take(closure) }
        })
    }

    /// A second copy of a small closure, inert until [`take_closure_or`](Self::take_closure_or). It stays in registers: a closure
    /// read back from the frame waits for its own store.
    #[inline(always)]
    pub(crate) fn copy_closure(&self) -> MaybeUninit<F> {
        if size_of::<F>() > COPIED {
            return MaybeUninit::uninit();
        }
        self.content.with_mut(|content| {
            // SAFETY: the frame is new and holds its closure; a `MaybeUninit` of it claims nothing.
            unsafe { content.cast::<MaybeUninit<F>>().read() }
        })
    }

    /// [`take_closure`](Self::take_closure), from the copy where there is one.
    ///
    /// # Safety
    /// As `take_closure`; `kept` is the copy made of this frame's closure.
    #[inline(always)]
    pub(crate) unsafe fn take_closure_or(&self, kept: MaybeUninit<F>) -> F {
        if size_of::<F>() > COPIED {
            // SAFETY: passed on to the caller.
            return unsafe { self.take_closure() };
        }
        // SAFETY: the copy is of the whole closure, and the one in the frame is never used again.
        unsafe { kept.assume_init() }
    }

    /// Takes the result of a task that a thief ran.
    ///
    /// # Safety
    /// The latch was seen set, and the result was not taken before.
    pub(crate) unsafe fn take_result(&self) -> std::thread::Result<R> {
        self.content.with_mut(|content| {
            // SAFETY: the thief stored the result before it set the latch, and no longer touches it.
            let result = unsafe { &mut (*content).result };
            // SAFETY: the caller vouches that this happens once.
            unsafe { ManuallyDrop::take(result) }
        })
    }

    /// What a thief runs.
    ///
    /// # Safety
    /// `frame` is a live, published `Frame<F, R>` that the caller took from a ring by a successful CAS.
    unsafe fn execute(frame: *const Worker, thread: &WorkerThread) -> bool {
        // SAFETY: the worker is the first field of a `#[repr(C)]` frame of this very type, alive until the latch is set.
        let frame = unsafe { &*frame.cast::<Self>() };
        // SAFETY: the CAS made the task ours, and a task is taken once.
        let closure = unsafe { frame.take_closure() };
        let result = catch(move || thread.enter_stolen(|worker| called(closure, worker)));
        frame.content.with_mut(|content| {
            // SAFETY: the content is ours until the latch is set, and the closure was moved out.
            unsafe { content.write(Content { result: ManuallyDrop::new(result) }) }
        });
        thread.ending(Then::Rest);
        // SAFETY: it was published. This is the last access: the owner may free the frame from here on.
        unsafe { frame.worker.latch() }.set()
    }
}

/// Calls a right closure off the common path. Once, whoever does: a second copy of what is inlined into it doubles with each join inside.
#[inline(never)]
pub(crate) fn called<F: FnOnce(&Worker) -> R, R>(closure: F, worker: &Worker) -> R {
    closure(worker)
}

/// In a model, the end of the frame is an access that all others must have come before.
#[cfg(upbeat_loom)]
impl<F, R> Drop for Frame<F, R> {
    fn drop(&mut self) {
        if crate::sync::unwinds_from_deadlock() {
            return;
        }
        let public = self.worker.execute.get().is_none();
        self.worker.latch.with_mut(|latch| {
            if public {
                // SAFETY: publishing wrote the latch, and loom has just checked that no other thread reads the cell.
                unsafe { (*latch).assume_init_mut() }.retire();
            }
        });
        self.content.with_mut(|_| ());
    }
}

/// A join task that the holder has taken from a ring and must run.
pub(crate) struct Stolen(*const Worker);

impl Stolen {
    /// # Safety
    /// `frame` came from a successful `Ring::steal`, of a ring that holds live published frames only.
    pub(crate) unsafe fn new(frame: *const Worker) -> Self {
        Self(frame)
    }

    /// Which of its owner's contexts it runs in.
    pub(crate) fn place(&self) -> u32 {
        // SAFETY: the frame is alive: its owner waits for the latch, which `run` sets.
        let worker = unsafe { &*self.0 };
        // SAFETY: publishing wrote it.
        unsafe { worker.place.get().assume_init() }
    }

    /// Runs the task, after which the worker rests; true when its owner sleeps and must be woken.
    pub(crate) fn run(self, thread: &WorkerThread) -> bool {
        // SAFETY: the frame is alive: its owner waits for the latch, which is set at the end of `execute` only.
        let worker = unsafe { &*self.0 };
        // SAFETY: it was published.
        unsafe { worker.latch() }.set_runner(thread.index());
        // SAFETY: it was published.
        let execute = unsafe { worker.published.get().assume_init() };
        // SAFETY: `new` vouched that the task was taken by CAS; consuming `self` makes this the only run.
        unsafe { execute(self.0, thread) }
    }
}
