//! The server that users hold: its options, taking requests on or refusing them, and its end.
//!
//! Requests are checked here, before they wait, so that a step meets none that cannot be worked on. What happens to them then is the
//! engine's matter.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use upbeat::batch::pressure::{Gauge, Level, Reading};
use upbeat::Runtime;
use upbeat_kernels::Element;

use super::batch_decoder::BatchDecoder;
use super::engine::{Engine, Waiting};
use super::pages::{KeyValuePages, PagesError};
use super::request::{channel, Reply, Request, RequestError};
use crate::model::{Config, Transformer};

/// How old a reading of the pressure on memory may be.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// How a server works.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Most requests in a step.
    pub batch: usize,
    /// Rows of a step in all: one of each request in it, the others for parts of prompts. More reads prompts faster; fewer keeps
    /// steps short for those that wait for their next token. A quarter, and one at least, is there for prompts even when the
    /// requests fill them all: a step has at most `max(rows, batch + max(rows/4, 1))`.
    pub rows: usize,
    /// How many times as long a step may take with parts of prompts as it would without them, while anyone waits for their next token;
    /// `None` for any. The server learns from its steps what a row costs and takes fewer rows of prompts where they would
    /// take longer, but a sixteenth of `rows`, and one at least, in any case. Below 1 it counts as 1.
    pub stretch: Option<f64>,
    /// Most requests that wait.
    pub queue: usize,
    /// Positions of a key and value page.
    pub page: usize,
    /// Pages, or as many as `batch` requests of a whole context need.
    pub pages: Option<usize>,
    /// What says how short memory is; without one the caps stay as they are.
    pub gauge: Option<Gauge>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            batch: 16,
            rows: 32,
            stretch: Some(1.25),
            queue: 256,
            page: 16,
            pages: None,
            gauge: Some(Gauge::default()),
        }
    }
}

impl ServerOptions {
    fn check(&self) -> Result<(), ServerError> {
        for (what, size) in [
            ("requests in a step", self.batch),
            ("rows of a step", self.rows),
            ("requests that wait", self.queue),
        ] {
            if size == 0 {
                return Err(ServerError::Zero { what });
            }
        }
        Ok(())
    }
}

/// A server that cannot start.
pub enum ServerError {
    /// A number that must not be 0 is.
    Zero {
        /// Which one.
        what: &'static str,
    },
    /// The pages cannot be made.
    Pages(PagesError),
    /// The system refuses a thread.
    Thread(io::Error),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { what } => write!(f, "the number of {what} must not be zero"),
            Self::Pages(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "the server's thread cannot be started: {error}"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerError({self})")
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Zero { .. } => None,
            Self::Pages(error) => Some(error),
            Self::Thread(error) => Some(error),
        }
    }
}

impl From<PagesError> for ServerError {
    fn from(error: PagesError) -> Self {
        Self::Pages(error)
    }
}

/// What a server has done and is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerStats {
    /// Steps made.
    pub steps: u64,
    /// Tokens fed in them, prompts included.
    pub rows: u64,
    /// Requests in the step that is made now, or was last.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Pages that no sequence had when that step was formed.
    pub free_pages: usize,
    /// All pages.
    pub pages: usize,
    /// How short memory was at the last look.
    pub level: Level,
}

/// What users and the engine share.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Rung when something waits or the server closes.
    bell: Condvar,
    reading: Mutex<Dated>,
    pub(super) counts: Counts,
}

/// The last reading of the gauge.
struct Dated {
    reading: Reading,
    /// When it is too old.
    until: Instant,
}

pub(super) struct Queue {
    pub(super) waiting: VecDeque<Waiting>,
    /// Whether requests are taken on.
    pub(super) open: bool,
    /// Whether those that were taken on are given up.
    pub(super) abandon: bool,
    /// The engine has gone.
    ended: bool,
    /// Who waits for that.
    waker: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) steps: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) running: AtomicUsize,
    pub(super) waiting: AtomicUsize,
    pub(super) free_pages: AtomicUsize,
}

impl Shared {
    /// What is done under this lock does not panic half-way.
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the bell.
    pub(super) fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    fn dated(&self) -> MutexGuard<'_, Dated> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn level(&self) -> Level {
        self.dated().reading.level()
    }

    /// The reading, made anew when the last one is older than a tick.
    pub(super) fn fresh_reading(&self, gauge: Option<&Gauge>) -> Reading {
        let dated = self.dated();
        if Instant::now() < dated.until {
            return dated.reading;
        }
        drop(dated);
        self.set_reading(gauge)
    }

    pub(super) fn set_reading(&self, gauge: Option<&Gauge>) -> Reading {
        let reading = gauge.map(Gauge::read).unwrap_or_default();
        *self.dated() = Dated { reading, until: Instant::now() + TICK };
        reading
    }
}

/// Ends the server when the engine goes, by a panic too: what still waits is told so.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.open = false;
        queue.ended = true;
        let (left, waker) = (std::mem::take(&mut queue.waiting), queue.waker.take());
        drop(queue);
        // First, so that nothing that happens while the others are told keeps who closes the server waiting.
        if let Some(waker) = waker {
            waker.wake();
        }
        drop(left);
    }
}

/// Generates for many requests at once: those that are there share each step of the model (continuous batching). They join and leave
/// between steps, and get the tokens that they would get alone.
///
/// A thread of its own forms the steps, which run on `runtime`. Dropping the server gives up what it has not finished;
/// [`finish`](Self::finish) does not.
///
/// ```
/// use std::sync::Arc;
/// use upbeat_nn::sampling::Sampler;
/// use upbeat_nn::serving::{Request, Server, ServerOptions};
/// use upbeat_nn::{Config, Transformer};
///
/// let runtime = Arc::new(upbeat::Runtime::new()?);
/// let model = Arc::new(Transformer::<f32>::new(Config::modern(65, 64, 32, 2, 4), 1)?);
/// let server = Server::new(runtime, model, ServerOptions::default())?;
///
/// let mut first = server.submit(Request::new([1, 2, 3], 5, Sampler::new(0.8, 0.95, 7)?))?;
/// let second = server.submit(Request::new([4], 9, Sampler::new(0.0, 1.0, 0)?))?;
/// while let Some(token) = first.next_token()? {
///     assert!(token < 65);
/// }
/// assert_eq!(second.join()?.len(), 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    shared: Arc<Shared>,
    config: Config,
    options: ServerOptions,
    pages: usize,
    thread: Option<JoinHandle<()>>,
    /// Dropped after the thread was joined, so that its engine never holds the last one: dropping that waits for all workers, and
    /// one of them may be who waits for the engine.
    _runtime: Arc<Runtime>,
}

impl Server {
    /// Starts a server for `model`, whose key and value pages take their memory now.
    ///
    /// # Errors
    /// Options that make no sense, or memory or a thread that the system refuses.
    pub fn new<E: Element>(
        runtime: Arc<Runtime>,
        model: Arc<Transformer<E>>,
        options: ServerOptions,
    ) -> Result<Self, ServerError> {
        options.check()?;
        let config = model.config().clone();
        let whole = || config.context.div_ceil(options.page.max(1)).saturating_mul(options.batch);
        let pages = options.pages.unwrap_or_else(whole);
        let pool = KeyValuePages::<E::Wide>::new(&config, pages, options.page)?;
        let queue = Queue { waiting: VecDeque::new(), open: true, abandon: false, ended: false, waker: None };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            bell: Condvar::new(),
            reading: Mutex::new(Dated { reading: Reading::default(), until: Instant::now() }),
            counts: Counts { free_pages: pages.into(), ..Counts::default() },
        });
        shared.set_reading(options.gauge.as_ref());
        let serve = {
            let (shared, options, runtime) = (shared.clone(), options.clone(), runtime.clone());
            move || {
                let _end = End(shared.clone());
                let decoder = BatchDecoder::new(&model, pool);
                Engine::new(decoder, options, shared).run(&runtime);
            }
        };
        let thread = std::thread::Builder::new().name("upbeat-serve".into()).spawn(serve);
        let thread = thread.map_err(ServerError::Thread)?;
        Ok(Self { shared, config, options, pages, thread: Some(thread), _runtime: runtime })
    }

    /// Takes a request on; it runs when its turn comes and its pages are free.
    ///
    /// # Errors
    /// What is wrong with the request; [`RequestError::QueueFull`] and [`RequestError::MemoryPressure`], after which it may be tried
    /// again later; [`RequestError::Stopped`].
    pub fn submit(&self, request: Request) -> Result<Reply, RequestError> {
        let needed = self.check(&request)?;
        let reading = self.shared.fresh_reading(self.options.gauge.as_ref());
        if reading.level().refuses() {
            return Err(RequestError::MemoryPressure(reading));
        }
        let (sender, reply) = channel(request.tokens);
        if request.tokens == 0 {
            sender.finish(Ok(()));
            return Ok(reply);
        }
        let mut queue = self.shared.queue();
        if !queue.open {
            return Err(RequestError::Stopped);
        }
        if queue.waiting.len() >= self.options.queue {
            return Err(RequestError::QueueFull { waiting: queue.waiting.len() });
        }
        queue.waiting.push_back(Waiting { request, pages: needed, reply: sender });
        self.shared.counts.waiting.store(queue.waiting.len(), Release);
        drop(queue);
        self.shared.bell.notify_one();
        Ok(reply)
    }

    /// Checks a request against the model and the pages, and gives the pages that it needs at most.
    fn check(&self, request: &Request) -> Result<usize, RequestError> {
        let Config { vocabulary, context, .. } = self.config;
        if request.prompt.is_empty() {
            return Err(RequestError::EmptyPrompt);
        }
        if let Some(&token) = request.prompt.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(RequestError::Token { token, vocabulary });
        }
        let positions = request.positions();
        if positions > context {
            return Err(RequestError::Context { positions, context });
        }
        let needed = positions.div_ceil(self.options.page);
        if needed > self.pages {
            return Err(RequestError::Pages { needed, pages: self.pages });
        }
        Ok(needed)
    }

    /// What the server has done and is doing.
    pub fn stats(&self) -> ServerStats {
        let Counts { steps, rows, running, waiting, free_pages } = &self.shared.counts;
        // In the reverse of the order in which the engine stores them: a request that no longer waits is seen to run.
        let waiting = waiting.load(Acquire);
        let running = running.load(Acquire);
        ServerStats {
            steps: steps.load(Relaxed),
            rows: rows.load(Relaxed),
            running,
            waiting,
            free_pages: free_pages.load(Relaxed),
            pages: self.pages,
            level: self.shared.level(),
        }
    }

    /// Takes no more requests on, and returns when all replies have ended. A worker of a runtime runs other tasks meanwhile.
    pub fn finish(mut self) {
        self.close(false);
    }

    fn close(&mut self, abandon: bool) {
        let Some(thread) = self.thread.take() else { return };
        let mut queue = self.shared.queue();
        queue.open = false;
        queue.abandon |= abandon;
        drop(queue);
        self.shared.bell.notify_one();
        // The engine may need this very worker for its last step, so a worker must not simply block.
        upbeat::block_on(poll_fn(|context| {
            let mut queue = self.shared.queue();
            if queue.ended {
                return Poll::Ready(());
            }
            queue.waker = Some(context.waker().clone());
            Poll::Pending
        }));
        // What the engine panicked with was printed; every reply has its error.
        let _ = thread.join();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close(true);
    }
}
