//! One thread of a pool that is about to start, and the ways to start it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;

use upbeat::embed::ThreadBody;

use crate::registry::State;

/// A thread of a pool that waits for its [`run`](Self::run); see
/// [`spawn_handler`](crate::ThreadPoolBuilder::spawn_handler).
pub struct ThreadBuilder {
    pub(crate) name: Option<String>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) body: ThreadBody,
    pub(crate) state: Arc<State>,
}

impl ThreadBuilder {
    /// The thread's number in its pool.
    pub fn index(&self) -> usize {
        self.body.index()
    }

    /// The name that the pool's builder gave it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The size of stack that the pool's builder asked for.
    pub fn stack_size(&self) -> Option<usize> {
        self.stack_size
    }

    /// What the thread does: works for the pool until that is dropped.
    pub fn run(self) {
        let index = self.index();
        let Self { body, state, .. } = self;
        body.run(|| state.call_start_handler(index), || state.call_exit_handler(index));
    }

    /// A thread of the standard library with this name and stack.
    pub(crate) fn configured(&self) -> thread::Builder {
        let mut builder = thread::Builder::new();
        if let Some(name) = self.name() {
            builder = builder.name(name.to_owned());
        }
        if let Some(size) = self.stack_size() {
            builder = builder.stack_size(size);
        }
        builder
    }
}

impl fmt::Debug for ThreadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadBuilder")
            .field("index", &self.index())
            .field("name", &self.name)
            .field("stack_size", &self.stack_size)
            .finish()
    }
}

mod sealed {
    /// Keeps [`ThreadSpawn`](super::ThreadSpawn) from being implemented elsewhere.
    pub trait Sealed {}
}

/// How a builder starts threads. Public because it bounds public methods; not to be named.
pub trait ThreadSpawn: sealed::Sealed {
    /// Starts a thread that calls [`ThreadBuilder::run`].
    ///
    /// # Errors
    /// When there is no thread to be had.
    fn spawn(&mut self, thread: ThreadBuilder) -> io::Result<()>;
}

/// Starts threads of the standard library.
#[derive(Debug, Default)]
pub struct DefaultSpawn;

impl sealed::Sealed for DefaultSpawn {}

impl ThreadSpawn for DefaultSpawn {
    fn spawn(&mut self, thread: ThreadBuilder) -> io::Result<()> {
        thread.configured().spawn(|| thread.run()).map(drop)
    }
}

/// Starts threads by a user's closure.
#[derive(Debug)]
pub struct CustomSpawn<F>(F);

impl<F> CustomSpawn<F> {
    pub(crate) fn new(spawn: F) -> Self {
        Self(spawn)
    }
}

impl<F> sealed::Sealed for CustomSpawn<F> where F: FnMut(ThreadBuilder) -> io::Result<()> {}

impl<F> ThreadSpawn for CustomSpawn<F>
where
    F: FnMut(ThreadBuilder) -> io::Result<()>,
{
    fn spawn(&mut self, thread: ThreadBuilder) -> io::Result<()> {
        (self.0)(thread)
    }
}
