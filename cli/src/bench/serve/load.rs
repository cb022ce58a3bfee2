//! The load: clients that each send one request after the other, and when their tokens came.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use upbeat_benches::timing::Samples;
use upbeat_nn::serving::Request;

use super::plan::Plan;
use crate::failure::Failure;

/// A request's tokens, and when each came.
#[derive(Debug)]
pub(super) struct Answer {
    began: Instant,
    pub(super) tokens: Vec<u32>,
    times: Vec<Instant>,
}

impl Answer {
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), tokens: Vec::new(), times: Vec::new() }
    }

    pub(super) fn push(&mut self, token: u32) {
        self.tokens.push(token);
        self.times.push(Instant::now());
    }
}

/// What a way of serving took, over all rounds.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Seconds of each round and the tokens that were drawn in it.
    rounds: Vec<(f64, usize)>,
    /// From a token to the next one of its request, ns.
    pub(super) token: Samples,
    /// From a request to its first token, ns.
    pub(super) first: Samples,
    /// From a request to its last token, ns.
    pub(super) request: Samples,
}

impl Times {
    /// Takes a round's answers in.
    pub(super) fn add(&mut self, took: Duration, answers: &[Answer]) {
        for Answer { began, times, .. } in answers {
            let nanoseconds = |from: &Instant, to: &Instant| (*to - *from).as_nanos() as f64;
            for pair in times.windows(2) {
                self.token.push(nanoseconds(&pair[0], &pair[1]));
            }
            if let (Some(first), Some(last)) = (times.first(), times.last()) {
                self.first.push(nanoseconds(began, first));
                self.request.push(nanoseconds(began, last));
            }
        }
        self.rounds.push((took.as_secs_f64(), answers.iter().map(|answer| answer.tokens.len()).sum()));
    }

    /// Tokens a second: the median of the rounds.
    pub(super) fn rate(&self) -> f64 {
        let mut rates: Vec<f64> =
            self.rounds.iter().map(|(seconds, tokens)| *tokens as f64 / seconds).collect();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }
}

/// Serves the plan's requests with `serve`: each client on a thread of its own, one beginning `gap` after the other, so that
/// requests meet others at every stage. Gives the answers in the order of the requests' numbers.
pub(super) fn drive(
    plan: &Plan,
    gap: Duration,
    times: &mut Times,
    serve: impl Fn(Request) -> Result<Answer, Failure> + Sync,
) -> Result<Vec<Answer>, Failure> {
    let answers = Mutex::new(Vec::new());
    let client = |client: usize| -> Result<(), Failure> {
        std::thread::sleep(gap * client as u32);
        for turn in 0..plan.each {
            let number = turn * plan.clients + client;
            let answer = serve(plan.request(number)?)?;
            answers.lock().expect("no client panics").push((number, answer));
        }
        Ok(())
    };
    let began = Instant::now();
    std::thread::scope(|threads| {
        let clients: Vec<_> = (0..plan.clients).map(|number| threads.spawn(move || client(number))).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("no client panics"))
    })?;
    let took = began.elapsed();
    let mut answers = answers.into_inner().expect("no client panics");
    answers.sort_by_key(|(number, _)| *number);
    let answers: Vec<Answer> = answers.into_iter().map(|(_, answer)| answer).collect();
    times.add(took, &answers);
    Ok(answers)
}
