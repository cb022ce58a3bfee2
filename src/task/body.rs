//! A scope's task in the scope's queue: a closure of any type and without its lifetime, in place where it is small.
//!
//! Most closures are a few words. To have them in the queue's own slots, a cache line each, saves an allocation by one thread that
//! another one frees.

use std::mem::MaybeUninit;
use std::sync::Arc;

use super::frame::Worker;
use super::scope::Shared;

/// Words of a closure that fit; with the function and the queue's own word a slot is 64 bytes.
const WORDS: usize = 6;

type Words = [MaybeUninit<usize>; WORDS];

/// A closure that is called once. Nothing drops it if it is not: a scope runs all of its tasks.
///
/// It gets its scope from whoever runs it: he has it, and a count of references each would cost two writes to a word that all
/// workers share.
#[must_use]
pub(crate) struct Body {
    call: unsafe fn(*mut Words, &Worker, &Arc<Shared>),
    words: Words,
}

// SAFETY: `new` demands that the closure is Send.
unsafe impl Send for Body {}

impl Body {
    /// Keeps `f`, whose borrows the type does not show.
    ///
    /// # Safety
    /// What `f` borrows must outlive the call of [`run`](Self::run).
    pub(crate) unsafe fn new<F>(f: F) -> Self
    where
        F: FnOnce(&Worker, &Arc<Shared>) + Send,
    {
        if size_of::<F>() <= size_of::<Words>() && align_of::<F>() <= align_of::<Words>() {
            // SAFETY: it fits; the caller vouches for what it borrows.
            return unsafe { Self::in_place(f) };
        }
        let f = Box::new(f);
        // SAFETY: a box fits; the caller vouches for what its content borrows.
        unsafe { Self::in_place(move |worker: &Worker, scope: &Arc<Shared>| f(worker, scope)) }
    }

    /// # Safety
    /// `F` fits into `Words`, and what `f` borrows outlives the call.
    unsafe fn in_place<F>(f: F) -> Self
    where
        F: FnOnce(&Worker, &Arc<Shared>) + Send,
    {
        let mut words = [MaybeUninit::uninit(); WORDS];
        // SAFETY: the place is exclusively ours, and large and aligned enough, as the caller vouches.
        unsafe { words.as_mut_ptr().cast::<F>().write(f) };
        Self { call: Self::call::<F>, words }
    }

    /// # Safety
    /// `words` holds an `F` that nobody else will use.
    unsafe fn call<F>(words: *mut Words, worker: &Worker, scope: &Arc<Shared>)
    where
        F: FnOnce(&Worker, &Arc<Shared>) + Send,
    {
        // SAFETY: the caller vouches for the content, which is moved out here and nowhere else.
        let f = unsafe { words.cast::<F>().read() };
        f(worker, scope);
    }

    /// Calls the closure on `worker`, as a task of `scope`.
    pub(crate) fn run(mut self, worker: &Worker, scope: &Arc<Shared>) {
        // SAFETY: `in_place` put both there together, and `self` is used up, so this is the only call.
        unsafe { (self.call)(&raw mut self.words, worker, scope) }
    }
}
