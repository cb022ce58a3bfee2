//! Interleaved rounds: limit, kernel and peer one after the other, on one worker and on two. The best round counts, as other work on
//! the machine only slows.

use std::time::Instant;

use upbeat::Runtime;

use crate::allocations;
use crate::case::{Case, Goal};
use crate::limits::Limits;

/// Shortest time of a kernel's share of a round, s.
const SHARE: f64 = 2e-3;

/// Runtimes of one and two workers with their limits.
pub struct Machine {
    teams: [(Runtime, Limits); 2],
}

impl Machine {
    /// Starts the runtimes.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new() -> Result<Self, upbeat::BuildError> {
        let team = |workers| {
            // Not pinned: the caller sits in a worker's seat and is not pinned either (the peer's threads would inherit that), and at
            // real-time priority it would keep a worker that is pinned to its CPU waiting.
            let runtime = Runtime::builder().workers(workers).build()?;
            Ok::<_, upbeat::BuildError>((runtime, Limits::new(workers)))
        };
        Ok(Self { teams: [team(1)?, team(2)?] })
    }

    /// Runs a case once on each runtime, checks its answer, and measures nothing.
    ///
    /// # Panics
    /// When an answer is wrong.
    pub fn check(&self, case: &mut Case<'_>) {
        for (runtime, _) in &self.teams {
            runtime.install(|_| (case.run)());
            (case.check)();
        }
        if let Some((_, peer)) = &mut case.peer {
            peer(1);
        }
    }
}

/// What was measured with one number of workers.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The group.
    pub group: &'static str,
    /// What was done.
    pub work: String,
    /// Unit of all rates.
    pub unit: &'static str,
    /// Workers that shared the work.
    pub workers: usize,
    /// Our rate.
    pub rate: f64,
    /// The machine's, in the same rounds.
    pub limit: f64,
    /// The peer's name and rate.
    pub peer: Option<(&'static str, f64)>,
    /// What was to be reached.
    pub goal: Goal,
    /// Allocations of a call, once warm; `None` where the program does not count.
    pub allocations: Option<f64>,
}

impl Outcome {
    /// Our rate as a share of the limit.
    pub fn share(&self) -> f64 {
        self.rate / self.limit
    }

    /// Our rate as a multiple of the peer's.
    pub fn ratio(&self) -> Option<f64> {
        self.peer.map(|(_, rate)| self.rate / rate)
    }

    /// What the goal demands of [`rate`](Self::rate).
    pub fn needed(&self) -> Option<f64> {
        match self.goal {
            Goal::Limit(one, two) => Some(self.limit * if self.workers == 1 { one } else { two }),
            Goal::Peer(times) => self.peer.map(|(_, rate)| rate * times),
            Goal::Elsewhere(_) => None,
        }
    }

    /// Whether the goal is met; unknown where its peer is not here.
    pub fn met(&self) -> Option<bool> {
        self.needed().map(|needed| self.rate >= needed)
    }
}

fn seconds(call: impl FnOnce()) -> f64 {
    let start = Instant::now();
    call();
    start.elapsed().as_secs_f64()
}

/// Measures a case on one worker and on two, in `rounds` rounds.
///
/// # Panics
/// When an answer is wrong.
pub fn measure(machine: &Machine, case: &mut Case<'_>, rounds: u32) -> [Outcome; 2] {
    machine.check(case);
    let counted = allocations::is_counted();
    machine.teams.each_ref().map(|(runtime, limits)| {
        let workers = runtime.num_workers();
        let once = runtime.install(|_| seconds(&mut case.run));
        let calls = (SHARE / once.max(1e-9)).ceil() as usize;
        let (mut limit, mut best, mut peers) = (0.0f64, f64::INFINITY, f64::INFINITY);
        let mut allocated = u64::MAX;
        for _ in 0..rounds {
            limit = limit.max(limits.measure(runtime, case.bound));
            let took = runtime.install(|_| {
                let before = allocations::count();
                let took = seconds(|| (0..calls).for_each(|_| (case.run)()));
                allocated = allocated.min(allocations::count() - before);
                took
            });
            best = best.min(took / calls as f64);
            if let Some((_, peer)) = &mut case.peer {
                let took = seconds(|| (0..calls).for_each(|_| peer(workers)));
                peers = peers.min(took / calls as f64);
            }
        }
        (case.check)();
        let rate = |took: f64| case.amount / took / 1e9;
        Outcome {
            group: case.group,
            work: case.work.clone(),
            unit: case.bound.unit(),
            workers,
            rate: rate(best),
            limit,
            peer: case.peer.as_ref().map(|(name, _)| (*name, rate(peers))),
            goal: case.goal,
            allocations: counted.then(|| allocated as f64 / calls as f64),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(goal: Goal, workers: usize) -> Outcome {
        Outcome {
            group: "group",
            work: String::from("work"),
            unit: "GB/s",
            workers,
            rate: 9.0,
            limit: 10.0,
            peer: Some(("peer", 6.0)),
            goal,
            allocations: None,
        }
    }

    #[test]
    fn goals_are_shares_of_the_limit_or_multiples_of_the_peer() {
        assert_eq!(outcome(Goal::Limit(0.95, 0.85), 1).met(), Some(false));
        assert_eq!(outcome(Goal::Limit(0.95, 0.85), 2).met(), Some(true));
        assert_eq!(outcome(Goal::Peer(1.5), 1).met(), Some(true));
        assert_eq!(outcome(Goal::Peer(1.6), 1).met(), Some(false));
        let alone = Outcome { peer: None, ..outcome(Goal::Peer(1.0), 1) };
        assert_eq!((alone.met(), alone.ratio()), (None, None));
        assert_eq!(outcome(Goal::Elsewhere("PyTorch"), 1).met(), None);
        assert_eq!(outcome(Goal::Peer(1.0), 1).share(), 0.9);
    }
}
