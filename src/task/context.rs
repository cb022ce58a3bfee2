//! `Worker::join_context`: a join whose closures learn whether they migrated to another worker.
//!
//! It is [`Worker::join`] with a comparison of addresses: the right closure gets the worker of the join itself, or the root
//! of the thief's own chain. The path of a join stays as it is.

use std::marker::PhantomData;

use super::frame::Worker;

/// Where a closure of [`Worker::join_context`] runs, as seen from where it was given.
#[derive(Clone, Copy, Debug)]
pub struct JoinContext {
    migrated: bool,
    /// It describes this thread, so it stays here.
    not_send: PhantomData<*mut ()>,
}

impl JoinContext {
    fn new(migrated: bool) -> Self {
        Self { migrated, not_send: PhantomData }
    }

    /// Whether another worker runs the closure than the one that called the join: somebody was idle, so splitting further
    /// pays.
    #[inline]
    pub fn migrated(&self) -> bool {
        self.migrated
    }
}

impl Worker {
    /// [`join`](Self::join), whose closures also learn whether they migrated. The left one never does.
    ///
    /// ```
    /// let runtime = upbeat::Runtime::builder().workers(1).build()?;
    /// let (a, b) = runtime.install(|worker| worker.join_context(|_, a| a.migrated(), |_, b| b.migrated()));
    /// assert_eq!((a, b), (false, false));
    /// # Ok::<(), upbeat::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// As `join`.
    #[inline(always)]
    pub fn join_context<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce(&Worker, JoinContext) -> RA + Send,
        B: FnOnce(&Worker, JoinContext) -> RB + Send,
        RA: Send,
        RB: Send,
    {
        let home = std::ptr::from_ref(self.thread()).addr();
        self.join(
            |worker| a(worker, JoinContext::new(false)),
            move |worker| {
                let migrated = std::ptr::from_ref(worker.thread()).addr() != home;
                b(worker, JoinContext::new(migrated))
            },
        )
    }
}
