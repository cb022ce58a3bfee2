//! [`ThreadPoolBuilder`]: what a pool is made of, and where the number of threads comes from.

use std::any::Any;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;

use crate::error::ThreadPoolBuildError;
use crate::registry;
use crate::thread_builder::{CustomSpawn, DefaultSpawn, ThreadBuilder, ThreadSpawn};
use crate::thread_pool::ThreadPool;

pub(crate) type PanicHandler = dyn Fn(Box<dyn Any + Send>) + Send + Sync;
pub(crate) type StartHandler = dyn Fn(usize) + Send + Sync;
pub(crate) type ExitHandler = dyn Fn(usize) + Send + Sync;

/// Configures a [`ThreadPool`], or the global one.
///
/// ```
/// let pool = rayon_core::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
/// assert_eq!(pool.current_num_threads(), 2);
/// ```
pub struct ThreadPoolBuilder<S = DefaultSpawn> {
    pub(crate) num_threads: usize,
    pub(crate) use_current_thread: bool,
    pub(crate) panic_handler: Option<Box<PanicHandler>>,
    pub(crate) get_thread_name: Option<Box<dyn FnMut(usize) -> String>>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) start_handler: Option<Box<StartHandler>>,
    pub(crate) exit_handler: Option<Box<ExitHandler>>,
    pub(crate) spawn_handler: S,
    pub(crate) breadth_first: bool,
}

impl Default for ThreadPoolBuilder {
    fn default() -> Self {
        Self {
            num_threads: 0,
            use_current_thread: false,
            panic_handler: None,
            get_thread_name: None,
            stack_size: None,
            start_handler: None,
            exit_handler: None,
            spawn_handler: DefaultSpawn,
            breadth_first: false,
        }
    }
}

impl ThreadPoolBuilder {
    /// The default configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds a pool whose threads end before this returns, so that they may borrow. Each thread calls `wrapper`, which
    /// goes on with [`ThreadBuilder::run`]; `with_pool` gets the pool.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn build_scoped<W, F, R>(self, wrapper: W, with_pool: F) -> Result<R, ThreadPoolBuildError>
    where
        W: Fn(ThreadBuilder) + Sync,
        F: FnOnce(&ThreadPool) -> R,
    {
        let wrapper = &wrapper;
        std::thread::scope(|scope| {
            let spawn = |thread: ThreadBuilder| {
                thread.configured().spawn_scoped(scope, move || wrapper(thread)).map(drop)
            };
            let pool = self.spawn_handler(spawn).build()?;
            Ok(with_pool(&pool))
        })
    }
}

impl<S: ThreadSpawn> ThreadPoolBuilder<S> {
    /// Starts the pool.
    ///
    /// # Errors
    /// When a thread cannot be started, or [`use_current_thread`](Self::use_current_thread) is asked for on a thread that is
    /// in a pool.
    pub fn build(self) -> Result<ThreadPool, ThreadPoolBuildError> {
        ThreadPool::start(self)
    }

    /// Starts the global pool, which otherwise is started with the default configuration when it is first used.
    ///
    /// # Errors
    /// When there is a global pool already, and as [`build`](Self::build).
    pub fn build_global(self) -> Result<(), ThreadPoolBuildError> {
        registry::init_global(self)?.wait_until_primed();
        Ok(())
    }

    /// The number of threads that was asked for, here or by the environment.
    pub(crate) fn threads(&self) -> usize {
        let asked = NonZeroUsize::new(self.num_threads).map(NonZeroUsize::get);
        asked.unwrap_or_else(default_threads).min(crate::max_num_threads())
    }
}

impl<S> ThreadPoolBuilder<S> {
    /// Starts threads by `spawn`, which must see to it that [`ThreadBuilder::run`] is called on a thread of its own.
    pub fn spawn_handler<F>(self, spawn: F) -> ThreadPoolBuilder<CustomSpawn<F>>
    where
        F: FnMut(ThreadBuilder) -> io::Result<()>,
    {
        ThreadPoolBuilder {
            spawn_handler: CustomSpawn::new(spawn),
            num_threads: self.num_threads,
            use_current_thread: self.use_current_thread,
            panic_handler: self.panic_handler,
            get_thread_name: self.get_thread_name,
            stack_size: self.stack_size,
            start_handler: self.start_handler,
            exit_handler: self.exit_handler,
            breadth_first: self.breadth_first,
        }
    }

    /// Names the threads, by their index.
    pub fn thread_name<F>(mut self, closure: F) -> Self
    where
        F: FnMut(usize) -> String + 'static,
    {
        self.get_thread_name = Some(Box::new(closure));
        self
    }

    /// How many threads; 0, the default, means `RAYON_NUM_THREADS`, and without that one a CPU.
    pub fn num_threads(mut self, num_threads: usize) -> Self {
        self.num_threads = num_threads;
        self
    }

    /// Makes the thread that builds the pool its thread 0. It takes part while it is in a call of this crate, and it stays in
    /// the pool for the rest of its life.
    pub fn use_current_thread(mut self) -> Self {
        self.use_current_thread = true;
        self
    }

    /// Gets the panics that nobody waits for. Without it such a panic ends the process, as does one of the handler.
    pub fn panic_handler<H>(mut self, panic_handler: H) -> Self
    where
        H: Fn(Box<dyn Any + Send>) + Send + Sync + 'static,
    {
        self.panic_handler = Some(Box::new(panic_handler));
        self
    }

    /// The stack of each thread, bytes; the standard library's default otherwise.
    pub fn stack_size(mut self, stack_size: usize) -> Self {
        self.stack_size = Some(stack_size);
        self
    }

    /// Runs a thread's own jobs in the order in which they came.
    #[deprecated(note = "use `scope_fifo` and `spawn_fifo` for similar effect")]
    pub fn breadth_first(mut self) -> Self {
        self.breadth_first = true;
        self
    }

    /// Called on each thread before it takes work. A panic goes to the panic handler, and the thread goes on.
    pub fn start_handler<H>(mut self, start_handler: H) -> Self
    where
        H: Fn(usize) + Send + Sync + 'static,
    {
        self.start_handler = Some(Box::new(start_handler));
        self
    }

    /// Called on each thread as it ends. A panic goes to the panic handler.
    pub fn exit_handler<H>(mut self, exit_handler: H) -> Self
    where
        H: Fn(usize) + Send + Sync + 'static,
    {
        self.exit_handler = Some(Box::new(exit_handler));
        self
    }
}

/// `RAYON_NUM_THREADS`; for want of it the older `RAYON_RS_NUM_CPUS`; else one thread a CPU.
fn default_threads() -> usize {
    let read = |name| std::env::var(name).ok().and_then(|value| value.parse::<usize>().ok());
    let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
    match read("RAYON_NUM_THREADS") {
        Some(0) => cpus(),
        Some(threads) => threads,
        None => read("RAYON_RS_NUM_CPUS").filter(|&threads| threads > 0).unwrap_or_else(cpus),
    }
}

impl<S> fmt::Debug for ThreadPoolBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closure = |is_set: bool| is_set.then_some(format_args!("<closure>"));
        f.debug_struct("ThreadPoolBuilder")
            .field("num_threads", &self.num_threads)
            .field("use_current_thread", &self.use_current_thread)
            .field("get_thread_name", &closure(self.get_thread_name.is_some()))
            .field("panic_handler", &closure(self.panic_handler.is_some()))
            .field("stack_size", &self.stack_size)
            .field("start_handler", &closure(self.start_handler.is_some()))
            .field("exit_handler", &closure(self.exit_handler.is_some()))
            .field("breadth_first", &self.breadth_first)
            .finish()
    }
}
