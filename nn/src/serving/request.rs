//! What a user of a server holds: the request, the reply with its tokens as they come, and what can go wrong with either.
//!
//! The server's end of a reply ends it when it is dropped, so whoever waits is never left behind; dropping the user's end cancels.

use std::fmt;
use std::future::{poll_fn, Future};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use upbeat::batch::pressure::Reading;

use crate::model::ModelError;
use crate::sampling::{Sampler, SamplingError};

/// A text to continue.
#[derive(Clone, Debug)]
pub struct Request {
    /// The text's tokens; at least one.
    pub prompt: Vec<u32>,
    /// How many tokens to draw at most.
    pub tokens: usize,
    /// What draws them, with its seed.
    pub sampler: Sampler,
    /// The token after which there are no more, if there is such a one.
    pub stop: Option<u32>,
}

impl Request {
    /// A request for `tokens` tokens after `prompt`.
    pub fn new(prompt: impl Into<Vec<u32>>, tokens: usize, sampler: Sampler) -> Self {
        Self { prompt: prompt.into(), tokens, sampler, stop: None }
    }

    /// Positions that it fills at most: the last token that is drawn is not fed.
    pub(super) fn positions(&self) -> usize {
        self.prompt.len().saturating_add(self.tokens).saturating_sub(1)
    }
}

/// Why a request was refused or ended early. The other requests go on.
#[derive(Clone, PartialEq)]
pub enum RequestError {
    /// The prompt holds no token.
    EmptyPrompt,
    /// A token of the prompt is outside the vocabulary.
    Token {
        /// The token.
        token: u32,
        /// Tokens there are.
        vocabulary: usize,
    },
    /// Prompt and new tokens are longer than the model's context.
    Context {
        /// Positions asked for.
        positions: usize,
        /// Positions the model has.
        context: usize,
    },
    /// It needs more pages than the server has.
    Pages {
        /// Pages asked for.
        needed: usize,
        /// Pages that there are, free or not.
        pages: usize,
    },
    /// As many requests wait as may.
    QueueFull {
        /// How many.
        waiting: usize,
    },
    /// Memory is so short that nothing new is taken on.
    MemoryPressure(Reading),
    /// Nothing could be drawn from the model's output.
    Sampling(SamplingError),
    /// The model could not compute the step.
    Model(ModelError),
    /// The server has ended.
    Stopped,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyPrompt => write!(f, "the prompt is empty"),
            Self::Token { token, vocabulary } => {
                write!(f, "token {token} is outside the vocabulary of {vocabulary}")
            }
            Self::Context { positions, context } => write!(
                f,
                "prompt and new tokens fill {positions} positions and the model's context has {context}: ask for less"
            ),
            Self::Pages { needed, pages } => {
                write!(f, "{needed} pages are needed and the server has {pages}: ask for less, or give it more")
            }
            Self::QueueFull { waiting } => write!(f, "{waiting} requests wait already: try again later"),
            Self::MemoryPressure(reading) => write!(f, "memory is short, try again later ({reading})"),
            Self::Sampling(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::Stopped => write!(f, "the server has ended"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestError({self})")
    }
}

impl std::error::Error for RequestError {}

/// What both ends of a reply share.
#[derive(Debug)]
struct State {
    /// All tokens so far.
    tokens: Vec<u32>,
    /// How many the user has taken.
    taken: usize,
    end: Option<Result<(), RequestError>>,
    /// Nobody waits for it any more.
    abandoned: bool,
    waker: Option<Waker>,
}

type Shared = Arc<Mutex<State>>;

/// No code under this lock panics half-way.
fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server's end.
#[derive(Debug)]
pub(super) struct Sender(Shared);

/// The tokens of a request, as they are drawn. Dropping it cancels the request, whose pages are free after the step that runs.
///
/// To wait, call [`next_token`](Self::next_token) or [`join`](Self::join), or `.await` the reply: it is a future of all tokens.
#[derive(Debug)]
#[must_use = "dropping a reply cancels its request"]
pub struct Reply(Shared);

/// Both ends of a reply of at most `tokens` tokens.
pub(super) fn channel(tokens: usize) -> (Sender, Reply) {
    /// Room for more is made as they come: what a request *could* need takes no memory.
    const FIRST: usize = 1024;
    let state = State {
        tokens: Vec::with_capacity(tokens.min(FIRST)),
        taken: 0,
        end: None,
        abandoned: false,
        waker: None,
    };
    let shared = Arc::new(Mutex::new(state));
    (Sender(shared.clone()), Reply(shared))
}

impl Sender {
    /// Hands a token over.
    pub(super) fn send(&self, token: u32) {
        let mut state = lock(&self.0);
        state.tokens.push(token);
        wake(state);
    }

    /// Ends the reply, unless it has ended.
    pub(super) fn finish(&self, end: Result<(), RequestError>) {
        let mut state = lock(&self.0);
        state.end.get_or_insert(end);
        wake(state);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        lock(&self.0).abandoned
    }
}

/// Wakes who waits, after the lock is free. A waker's code is its user's: what it panics with is printed, and ends no other request.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.finish(Err(RequestError::Stopped));
    }
}

impl Reply {
    /// The next token, `None` after the last one. Waits for it: a worker of a runtime runs other tasks meanwhile.
    ///
    /// # Errors
    /// Why the request ended early; tokens that were drawn before come first.
    pub fn next_token(&mut self) -> Result<Option<u32>, RequestError> {
        upbeat::block_on(poll_fn(|context| self.poll_token(context)))
    }

    /// [`next_token`](Self::next_token) for executors.
    pub fn poll_token(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<u32>, RequestError>> {
        self.poll_state(context, |state| {
            if let Some(&token) = state.tokens.get(state.taken) {
                state.taken += 1;
                return Some(Ok(Some(token)));
            }
            Some(state.end.clone()?.map(|()| None))
        })
    }

    /// What `ready` finds; when that is nothing, leaves the waker behind. Wakers are cloned and dropped without the lock, as theirs
    /// is a user's code.
    fn poll_state<T>(
        &self,
        context: &Context<'_>,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Poll<T> {
        let mut state = lock(&self.0);
        if let Some(found) = ready(&mut state) {
            return Poll::Ready(found);
        }
        if state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        drop(state);
        let mut waker = Some(context.waker().clone());
        let mut state = lock(&self.0);
        let found = ready(&mut state);
        if found.is_none() {
            std::mem::swap(&mut state.waker, &mut waker);
        }
        drop(state);
        drop(waker);
        found.map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits for all tokens and gives them, those included that were taken one by one.
    ///
    /// # Errors
    /// Why the request ended early.
    pub fn join(self) -> Result<Vec<u32>, RequestError> {
        upbeat::block_on(self)
    }
}

impl Future for Reply {
    type Output = Result<Vec<u32>, RequestError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_state(context, |state| Some(state.end.clone()?.map(|()| std::mem::take(&mut state.tokens))))
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.abandoned = true;
        let waker = state.waker.take();
        drop(state);
        drop(waker);
    }
}
