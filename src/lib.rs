//! A task-parallel runtime with heartbeat work stealing.
//!
//! Code runs at sequential speed; only when cores are idle does a worker give work away. A [`join`] that nobody steals from
//! costs about a nanosecond: no atomic read-modify-write, no fence, no clock read.
//!
//! ```
//! fn sum(data: &[u64]) -> u64 {
//!     if data.len() <= 1000 {
//!         return data.iter().sum();
//!     }
//!     let (left, right) = data.split_at(data.len() / 2);
//!     let (a, b) = upbeat::join(|| sum(left), || sum(right));
//!     a + b
//! }
//! let data: Vec<u64> = (0..100_000).collect();
//! assert_eq!(sum(&data), 4_999_950_000);
//! ```
//!
//! | you want | use |
//! |---|---|
//! | two things at once | [`join`], or [`Worker::join`] without the thread-local look-up |
//! | many tasks that borrow | [`scope`] |
//! | a task that outlives the caller | [`spawn`] |
//! | a future, or a result to `.await` | [`spawn_future`], [`block_on`], [`JoinHandle`] |
//! | a loop | [`par`] |
//! | to stop what is no longer wanted; to put something first | [`CancelToken`]; [`spawn_with`] |
//! | many small items run as few large batches | [`batch`] |
//! | to hold a lock across a join | [`isolate`] |
//! | tasks and loops where their data is, on a machine with several memory nodes | [`Spawn::near`], [`Scope::spawn_with`], [`par::for_each_near`], [`Runtime::memory`], [`topology`] |
//! | your own set of threads | [`Runtime`] |
//! | a machine by the library hwloc, or from a file of `lstopo` | the feature `hwloc`: `topology::Machine::from_hwloc` |
//! | to see what happened | [`Runtime::metrics`], [`Runtime::start_trace`]; `{runtime:?}` says what each worker does now |
//! | to find a race or a dependence on the order | [`Mode`]; `upbeat::loom` under `--cfg upbeat_loom` (`docs/loom.md`) |
//!
//! The free functions use the current runtime: the one whose worker this thread is, else the global one, which is built at
//! the first use with [`UPBEAT_WORKERS`](Builder::workers) workers.

// `pub` in these two is for the models alone, which reach them through `model` under `--cfg upbeat_loom`.
pub mod batch;
#[allow(unreachable_pub)]
mod deque;
#[doc(hidden)]
#[allow(unsafe_code)]
pub mod embed;
mod error;
mod heartbeat;
#[cfg(upbeat_loom)]
pub mod loom;
mod observe;
pub mod par;
mod runtime;
#[doc(hidden)]
pub mod simulation;
#[allow(unreachable_pub)]
mod sleep;
mod steal;
mod sync;
mod task;
pub mod topology;

pub use error::{BuildError, ResizeError, ShutDown};
pub use observe::{write_chrome_trace, Metrics, Span, WorkerMetrics};
pub use runtime::SiteMetrics;
pub use runtime::{Builder, Mode, Pin, Runtime, MAX_WORKERS};
pub use steal::learned::{Learning, PolicyLog, PolicyLogError, ReplayError, Weights, WeightsError};
pub use steal::{Generator, Nearest, Random, StealPolicy, Stealing};
pub use task::cancel::{CancelToken, Cancelled};
pub use task::context::JoinContext;
pub use task::frame::Worker;
pub use task::isolate::isolate;
pub use task::join_error::JoinError;
pub use task::priority::{Priority, Spawn};
pub use task::scope::Scope;
pub use task::spawn::JoinHandle;

use std::future::Future;

use runtime::current::with_current;
use runtime::global;

/// The parts of the runtime that the models in `loom-tests` take apart.
#[cfg(upbeat_loom)]
#[doc(hidden)]
pub mod model;

/// Runs `a` and `b`, in parallel when another worker is idle, and returns both results.
///
/// `a` runs first on this thread; `b` after it, or meanwhile on a worker that stole it. On a thread that is no worker, both
/// run on the global runtime.
///
/// The two must not wait for each other, by a channel or a barrier: `b` may not begin before `a` has ended, however many workers are
/// idle. What waits for something else is a task of a [`scope`] or of [`spawn`], which is public from the start.
///
/// # Panics
/// When either closure panics, after both have stopped; `a`'s panic wins. If `a` panics and `b` has not begun,
/// `b` is dropped without running. When the global runtime is needed and cannot be built.
///
/// ```
/// let (a, b) = upbeat::join(|| 1 + 1, || "two");
/// assert_eq!((a, b), (2, "two"));
/// ```
#[inline]
pub fn join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    with_current(|worker| match worker {
        Some(worker) => worker.join(|worker| worker.entered(a), |worker| worker.entered(b)),
        None => global().join(a, b),
    })
}

/// Runs `f` with a [`Scope`] in which it can spawn tasks that borrow, and returns when `f` and all of them are done.
///
/// ```
/// let words = ["split", "ring"];
/// let mut lengths = [0; 2];
/// upbeat::scope(|scope| {
///     for (length, word) in lengths.iter_mut().zip(&words) {
///         scope.spawn(move |_| *length = word.len());
///     }
/// });
/// assert_eq!(lengths, [5, 4]);
/// ```
///
/// A task's borrow must outlive the scope, so nothing made inside `f` may be borrowed (fault 13):
///
/// ```compile_fail
/// upbeat::scope(|scope| {
///     let local = 1;
///     scope.spawn(|_| drop(&local));
/// });
/// ```
///
/// # Panics
/// When `f` or a task panics, after all have stopped; `f`'s panic wins, then the first task's.
pub fn scope<'env, F, R>(f: F) -> R
where
    F: FnOnce(&Scope<'_, 'env>) -> R + Send,
    R: Send,
{
    match task::scope::run_current(f) {
        Ok(result) => result,
        Err(f) => global().scope(f),
    }
}

/// [`scope`] under `token`: once it is cancelled, tasks that have not begun are dropped, those that run finish, and so does `f`.
///
/// ```
/// let token = upbeat::CancelToken::new();
/// let outcome = upbeat::scope_with(&token, |scope| {
///     token.cancel();
///     scope.spawn(|_| unreachable!());
/// });
/// assert_eq!(outcome, Err(upbeat::Cancelled));
/// ```
///
/// # Errors
/// [`Cancelled`] when the token is cancelled by the time all have stopped; `f` is dropped, too, if it had not begun.
///
/// # Panics
/// As [`scope`].
pub fn scope_with<'env, F, R>(token: &CancelToken, f: F) -> Result<R, Cancelled>
where
    F: FnOnce(&Scope<'_, 'env>) -> R + Send,
    R: Send,
{
    on_current_worker(|worker| task::scope::run_with(worker, token, f))
}

/// Runs `f` some time soon on a worker; it is public at once, so any idle worker may take it.
///
/// The end of `main` does not wait for tasks of the global runtime: join what must be done by then. Dropping a [`Runtime`] does wait.
///
/// ```
/// let handle = upbeat::spawn(|| (1..=5).product::<u32>());
/// assert_eq!(handle.join().unwrap(), 120);
/// ```
///
/// What a task captures and returns must be [`Send`] (fault 12):
///
/// ```compile_fail
/// let local = std::rc::Rc::new(1);
/// upbeat::spawn(move || drop(local));
/// ```
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    with_current(|worker| match worker {
        Some(worker) => task::spawn::spawn(worker.thread().registry(), f),
        None => global().spawn(f),
    })
}

/// Runs `f` once on each worker of the current runtime; see [`Runtime::broadcast`].
///
/// # Panics
/// When `f` panics, after all have stopped.
pub fn broadcast<F, R>(f: F) -> Vec<R>
where
    F: Fn(&Worker) -> R + Sync,
    R: Send,
{
    runtime::broadcast::broadcast(&runtime::current_registry(), &f)
}

/// What [`yield_now`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yield {
    /// A task was run.
    Ran,
    /// No task was waiting.
    Idle,
}

/// Runs one other public task if any waits: a spawned one, a scope's, or an installed closure. `None` on a thread that is no
/// worker.
///
/// For code that waits for something the runtime does not know of. The task nests on the caller's stack, so hold no lock
/// that it might take.
///
/// ```
/// let runtime = upbeat::Runtime::builder().workers(1).build()?;
/// let ran = runtime.run_on_worker(|_| {
///     let handle = upbeat::spawn(|| 6 * 7);
///     assert_eq!(upbeat::yield_now(), Some(upbeat::Yield::Ran));
///     handle.is_finished()
/// });
/// assert!(ran);
/// assert_eq!(upbeat::yield_now(), None);
/// # Ok::<(), upbeat::BuildError>(())
/// ```
pub fn yield_now() -> Option<Yield> {
    with_current(|worker| {
        let ran = worker?.thread().run_one_nested();
        Some(if ran { Yield::Ran } else { Yield::Idle })
    })
}

/// [`spawn`] with a priority or a token that cancels the task; see [`Spawn`].
///
/// ```
/// use upbeat::{Priority, Spawn};
/// let handle = upbeat::spawn_with(Spawn::new().priority(Priority::High), || 6 * 7);
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
pub fn spawn_with<F, T>(options: Spawn, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    with_current(|worker| match worker {
        Some(worker) => options.run(worker.thread().registry(), f),
        None => global().spawn_with(options, f),
    })
}

/// Spawns a future that the workers poll: at once, and whenever it was woken.
///
/// It is polled by one worker at a time. What it awaits may be woken by anybody: another task, a thread, another executor.
/// upbeat has no timers and no sockets of its own. Those of tokio look for their runtime in a thread-local and panic where there is none;
/// they work in the futures of a runtime that carries it there:
/// `.task_context(|| Handle::try_current().ok(), |handle, run| { let _entered = handle.as_ref().map(Handle::enter); run() })`
/// (see [`Builder::task_context`]).
///
/// ```
/// let answer = upbeat::spawn_future(async {
///     let half = upbeat::spawn(|| (1..=20).sum::<u32>());
///     half.await.unwrap() * 2
/// });
/// assert_eq!(answer.join().unwrap(), 420);
/// ```
///
/// A panic in the future reaches the handle. A future that nothing can wake any more and whose handle was dropped is dropped at once.
/// A runtime that ends drops futures that are still waiting; their handles give [`ShutDown`] as the error's payload.
pub fn spawn_future<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    with_current(|worker| match worker {
        Some(worker) => Spawn::new().run_future(worker.thread().registry(), future),
        None => global().spawn_future(future),
    })
}

/// [`spawn_future`] with a priority or a token that cancels the future; see [`Spawn`].
///
/// ```
/// use upbeat::{CancelToken, Cancelled, Spawn};
/// let token = CancelToken::new();
/// let handle = upbeat::spawn_future_with(Spawn::new().cancel(&token), std::future::pending::<()>());
/// token.cancel();
/// assert!(handle.join().unwrap_err().is::<Cancelled>());
/// ```
pub fn spawn_future_with<F>(options: Spawn, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    with_current(|worker| match worker {
        Some(worker) => options.run_future(worker.thread().registry(), future),
        None => global().spawn_future_with(options, future),
    })
}

/// Polls `future` on this thread until it is done, and returns its result.
///
/// A worker runs other public tasks while the future waits, so with one worker too it may wait for what it has spawned. Those tasks
/// nest on its stack and must be over before it goes on: hold no lock that they might take, and prefer [`spawn_future`] and `.await`
/// where tasks wait for each other. Any other thread sleeps meanwhile.
///
/// ```
/// let total = upbeat::block_on(async {
///     let parts = [1, 2, 3].map(|n| upbeat::spawn(move || n * n));
///     let mut total = 0;
///     for part in parts {
///         total += part.await.unwrap();
///     }
///     total
/// });
/// assert_eq!(total, 14);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    task::block_on::block_on(future)
}

/// How many workers the current runtime has.
pub fn current_num_workers() -> usize {
    with_current(|worker| worker.map_or_else(|| global().num_workers(), Worker::num_workers))
}

/// The number of the worker that this thread is, if it is one.
pub fn current_worker_index() -> Option<usize> {
    with_current(|worker| worker.map(Worker::index))
}

/// The time on the clock of [`Span`]s.
pub fn trace_clock() -> std::time::Duration {
    std::time::Duration::from_nanos(sync::now())
}

/// Runs `f` on the current worker, or on one of the global runtime.
fn on_current_worker<R: Send>(f: impl FnOnce(&Worker) -> R + Send) -> R {
    enum Either<F, R> {
        Done(R),
        Elsewhere(F),
    }
    let either = with_current(|worker| match worker {
        Some(worker) => Either::Done(f(worker)),
        None => Either::Elsewhere(f),
    });
    match either {
        Either::Done(result) => result,
        Either::Elsewhere(f) => global().install(f),
    }
}

/// The examples of the README, compiled and run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
