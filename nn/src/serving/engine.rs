//! The loop behind a server: forms a batch of what waits and runs, makes one step, draws each row's token with its request's own
//! sampler, hands the tokens over, and drops who is done.
//!
//! [`Engine::form`] is the one place that decides who is in a step.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::Arc;
use std::time::Instant;

use upbeat::Runtime;
use upbeat_kernels::Element;

use super::batch_decoder::{BatchDecoder, Feed, FeedError};
use super::pace::Pace;
use super::pages::Sequence;
use super::request::{Request, RequestError, Sender};
use super::server::{ServerOptions, Shared, TICK};
use crate::model::ModelError;
use crate::sampling::Sampler;

/// A request that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Request,
    /// Pages that it needs at most.
    pub(super) pages: usize,
    pub(super) reply: Sender,
}

/// A request whose sequence is fed.
struct Running {
    prompt: Vec<u32>,
    /// The token drawn last.
    drawn: u32,
    /// Tokens to draw still.
    left: usize,
    stop: Option<u32>,
    sampler: Sampler,
    sequence: Sequence,
    /// Tokens of this step.
    chunk: usize,
    /// Pages that are kept for it.
    pages: usize,
    reply: Sender,
    done: bool,
}

impl Running {
    /// Tokens of the prompt that were not fed.
    fn unread(&self) -> usize {
        self.prompt.len().saturating_sub(self.sequence.position())
    }

    /// Draws the next token, if the step gave logits. Anything wrong ends this request alone.
    fn settle<T: Element>(&mut self, logits: Result<Option<&[T]>, FeedError>) {
        let drawn = match logits {
            Ok(None) => return,
            Ok(Some(logits)) => self.sampler.pick(logits).map_err(RequestError::Sampling),
            Err(error) => Err(refusal(error)),
        };
        match drawn {
            Ok(token) => {
                self.drawn = token;
                self.left -= 1;
                self.reply.send(token);
                if self.left == 0 || self.stop == Some(token) {
                    self.finish(Ok(()));
                }
            }
            Err(error) => self.finish(Err(error)),
        }
    }

    fn finish(&mut self, end: Result<(), RequestError>) {
        self.reply.finish(end);
        self.done = true;
    }
}

/// A feed's error as the request's. A request is checked when it is submitted and keeps its pages, so this is for models whose
/// sampler draws what their table does not hold.
fn refusal(error: FeedError) -> RequestError {
    match error {
        FeedError::Token { token, vocabulary } => RequestError::Token { token, vocabulary },
        FeedError::Context { positions, context } => RequestError::Context { positions, context },
        FeedError::Pages { needed, free } => RequestError::Pages { needed, pages: free },
        FeedError::Empty => RequestError::EmptyPrompt,
        FeedError::Foreign => RequestError::Stopped,
    }
}

impl Feed for Running {
    fn tokens(&self) -> &[u32] {
        match self.unread() {
            0 => std::slice::from_ref(&self.drawn),
            unread => &self.prompt[self.prompt.len() - unread..][..self.chunk],
        }
    }

    fn sequence(&mut self) -> &mut Sequence {
        &mut self.sequence
    }

    fn wants_logits(&self) -> bool {
        self.unread() <= self.chunk
    }
}

pub(super) struct Engine<'a, E: Element> {
    decoder: BatchDecoder<'a, E>,
    options: ServerOptions,
    shared: Arc<Shared>,
    running: Vec<Running>,
    /// Pages that are kept for those that run.
    kept: usize,
    /// What steps took.
    pace: Pace,
}

impl<'a, E: Element> Engine<'a, E> {
    pub(super) fn new(decoder: BatchDecoder<'a, E>, options: ServerOptions, shared: Arc<Shared>) -> Self {
        Self { decoder, options, shared, running: Vec::new(), kept: 0, pace: Pace::default() }
    }

    /// Serves until the server closes and nothing is left to do.
    pub(super) fn run(mut self, runtime: &Runtime) {
        while self.await_work() {
            self.shared.fresh_reading(self.options.gauge.as_ref());
            self.form();
            if !self.running.is_empty() {
                runtime.install(|_| self.step());
            }
        }
    }

    /// Waits until something runs or waits; false when the server has closed and nothing does.
    fn await_work(&self) -> bool {
        let mut queue = self.shared.queue();
        loop {
            if queue.abandon {
                return false;
            }
            if !self.running.is_empty() || !queue.waiting.is_empty() {
                return true;
            }
            if !queue.open {
                return false;
            }
            // While requests are refused for want of memory none comes to wake us, so the gauge is looked at without one.
            if self.shared.level().refuses() {
                drop(queue);
                std::thread::sleep(TICK / 10);
                self.shared.set_reading(self.options.gauge.as_ref());
                queue = self.shared.queue();
            } else {
                queue = self.shared.wait(queue);
            }
        }
    }

    /// Decides who is in the next step, and with how many tokens: those that run, in the order in which they came, and as many of
    /// those that wait as the cap and the pages allow, none before its turn.
    fn form(&mut self) {
        self.drop_ended();
        let cap = self.shared.level().scaled(self.options.batch);
        let mut queue = self.shared.queue();
        // Dropping one wakes its user, whose waker may call the server: not under the lock.
        let (gone, waiting): (VecDeque<_>, _) =
            std::mem::take(&mut queue.waiting).into_iter().partition(|waiting| waiting.reply.is_abandoned());
        queue.waiting = waiting;
        while self.running.len() < cap {
            let room = self.decoder.pages().pages() - self.kept;
            let Some(next) = queue.waiting.pop_front_if(|next| next.pages <= room) else { break };
            self.kept += next.pages;
            let Waiting { request, pages, reply } = next;
            self.running.push(Running {
                prompt: request.prompt,
                drawn: 0,
                left: request.tokens,
                stop: request.stop,
                sampler: request.sampler,
                sequence: self.decoder.sequence(),
                chunk: 1,
                pages,
                reply,
                done: false,
            });
        }
        // In this order, which is the reverse of the readers': who sees that nothing waits and runs sees the pages of that time.
        let counts = &self.shared.counts;
        counts.free_pages.store(self.decoder.pages().free(), Release);
        counts.running.store(self.running.len(), Release);
        counts.waiting.store(queue.waiting.len(), Release);
        drop(queue);
        drop(gone);
        // One row each; what is left of a step's rows goes to prompts.
        let waits = self.running.iter().any(|running| running.unread() == 0);
        let mut spare = spare(&self.options, &self.pace, self.running.len(), waits);
        for running in &mut self.running {
            running.chunk = running.unread().clamp(1, 1 + spare);
            spare -= running.chunk - 1;
        }
    }

    /// One step of everything that runs.
    fn step(&mut self) {
        let Self { decoder, running, shared, pace, .. } = self;
        let began = Instant::now();
        let rows = running.iter().map(|running| running.chunk).sum::<usize>();
        match decoder.step(running) {
            Ok(logits) => {
                upbeat::par::chunks_mut(running, 1, |index, running| running[0].settle(logits.of(index)));
            }
            Err(error) => fail(running, &error),
        }
        pace.learn(rows, began.elapsed().as_secs_f64());
        shared.counts.steps.fetch_add(1, Relaxed);
        shared.counts.rows.fetch_add(rows as u64, Relaxed);
    }

    /// Drops who is done or no longer wanted; their pages are free then.
    fn drop_ended(&mut self) {
        let kept = &mut self.kept;
        self.running.retain(|running| {
            let ended = running.done || running.reply.is_abandoned();
            if ended {
                *kept -= running.pages;
            }
            !ended
        });
    }
}

/// Ends every request of a step that the model refused.
fn fail(running: &mut [Running], error: &ModelError) {
    for running in running {
        running.finish(Err(RequestError::Model(error.clone())));
    }
}

/// Rows of a step of `running` requests for parts of prompts, beyond one for each. A quarter is theirs even where requests fill the step, or
/// a prompt among many would be read as slowly as a text is written; but where someone `waits` for the next token, only as many as delay it
/// by no more than the options bear, and a sixteenth in any case.
fn spare(options: &ServerOptions, pace: &Pace, running: usize, waits: bool) -> usize {
    let rows = options.rows;
    let spare = rows.saturating_sub(running).max(rows / 4).max(1);
    match options.stretch {
        Some(stretch) if waits => spare.min(pace.spare(running, stretch).max(rows / 16).max(1)),
        _ => spare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_take_what_those_who_wait_can_bear() {
        // A step's weights cost as much as 16 rows, so 16 requests take 32, and 27 % more are 8 rows and a part of one.
        let mut pace = Pace::default();
        for step in 0..300 {
            let rows = 1 + step % 32;
            pace.learn(rows, 16.0 + rows as f64);
        }
        let spare = |rows, stretch, running, waits| {
            spare(&ServerOptions { rows, stretch, ..ServerOptions::default() }, &pace, running, waits)
        };
        assert_eq!(spare(32, None, 4, true), 28, "anything is borne");
        assert_eq!(spare(32, Some(1.25), 4, false), 28, "nobody waits");
        assert_eq!(spare(32, Some(1.27), 16, true), 8);
        assert_eq!(spare(32, Some(1.27), 4, true), 5);
        assert_eq!(spare(18, Some(1.25), 16, true), 4, "a quarter is the most where requests fill the step");
        assert_eq!(spare(32, Some(1.0), 16, true), 2, "a sixteenth in any case");
        assert_eq!(spare(1, Some(1.0), 16, true), 1, "or one");
    }
}
