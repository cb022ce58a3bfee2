//! Times of rows, in rounds in which the copy, our work and the peer take turns.
//!
//! A turn is the time from handing over to the end of the last of several submissions, so that what the host does for the later ones is
//! hidden behind the device's work, and it is long beside what a submission costs. Ticks of the device are not used: there are none of
//! copies, and events that peers are timed by have what lies between two kernels in them, too.

use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use upbeat_kernel_benches::external::External;
use upbeat_vulkan::{Device, Kind, VulkanError};

use super::case::{Case, Work};
use crate::bench::record::Record;
use crate::failure::Failure;

/// Shortest turn, s: a hundred times what a submission costs.
const TURN: f64 = 25e-3;
/// Calls of a submission at most: few enough that the device begins early, many enough that what lies between submissions is little.
const TOGETHER: usize = 32;
/// Calls of a turn at most.
const MOST_CALLS: usize = 16_384;
/// What follows a peer's turn where the CPU is the device: its threads wait for more work for a while, on the cores that the driver needs.
const PAUSE: Duration = Duration::from_millis(250);

/// What a row came to.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Ours, in billions a second, as all rates here.
    pub(super) rate: f64,
    /// That of the device's copies.
    pub(super) copies: Option<f64>,
    /// The peer's name and rate.
    pub(super) peer: Option<(String, f64)>,
}

/// The copy beside which rows are measured.
pub(super) struct Limit {
    work: Work,
    calls: usize,
    /// What a call moves, in billions of bytes.
    amount: f64,
    /// By how much the peer copies faster than we do, 1 where it does not.
    faster: f64,
}

/// A device, and who measures beside.
pub(super) struct Bench<'a> {
    device: &'a Device,
    rounds: usize,
    /// Shortest turn, s.
    turn: f64,
    peer: Option<External>,
    /// Threads of a peer that computes on the CPU.
    threads: usize,
}

/// The median of times.
pub(super) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

impl<'a> Bench<'a> {
    pub(super) fn new(device: &'a Device, rounds: usize, small: bool, peer: Option<External>) -> Self {
        let turn = if small { 0.0 } else { TURN };
        Self { device, rounds, turn, peer, threads: available_parallelism().map_or(1, usize::from) }
    }

    /// Measures a row beside copies and the peer, once its answer on the small shape was found right; the answer of the shape that is
    /// timed is checked afterwards.
    pub(super) fn measure(&mut self, case: &Case, limit: Option<&Limit>) -> Result<Outcome, Failure> {
        let limit = limit.filter(|_| case.is_beside_copies());
        let small = case.small(self.device)?;
        small.spoil(self.device)?;
        self.turn(&small, 1)?;
        small.check(&case.name)?;
        drop(small);
        let work = case.timed(self.device)?;
        work.spoil(self.device)?;
        let calls = self.calls(&work)?;
        let (mut ours, mut copies, mut peers, mut name) = (Vec::new(), Vec::new(), Vec::new(), None);
        for _ in 0..self.rounds {
            if let Some(limit) = limit {
                copies.push(self.turn(&limit.work, limit.calls)?);
            }
            ours.push(self.turn(&work, calls)?);
            if let Some((who, time)) = self.ask(calls, &case.name)? {
                peers.push(time);
                name = Some(who);
            }
        }
        work.check(&case.name)?;
        let rate = |times: Vec<f64>, calls: usize, amount: f64| amount * calls as f64 / median(times);
        Ok(Outcome {
            rate: rate(ours, calls, case.amount),
            copies: limit.map(|limit| limit.faster * rate(copies, limit.calls, limit.amount)),
            peer: name.map(|name| (name, rate(peers, 1, case.amount))),
        })
    }

    /// Who does the row beside us, and the time of a call, s.
    fn ask(&mut self, calls: usize, name: &str) -> Result<Option<(String, f64)>, Failure> {
        let Some(peer) = &mut self.peer else { return Ok(None) };
        let answer =
            peer.ask(self.threads, calls, name).map_err(|error| Failure::Input(error.to_string()))?;
        if answer.is_some() && self.turn > 0.0 && self.device.info().kind == Kind::Cpu {
            sleep(PAUSE);
        }
        Ok(answer)
    }

    /// How many calls a turn needs. Those that are made to find out also compile and warm up.
    fn calls(&self, work: &Work) -> Result<usize, VulkanError> {
        self.turn(work, 1)?;
        let mut calls = 1;
        loop {
            let took = self.turn(work, calls)?;
            if took >= 0.7 * self.turn || calls == MOST_CALLS {
                return Ok(calls);
            }
            // One call tells little of many: the submission's share is in it.
            let more = (self.turn / took).clamp(1.5, 8.0);
            calls = ((calls as f64 * more).ceil() as usize).min(MOST_CALLS);
        }
    }

    /// The time of a number of calls, s.
    fn turn(&self, work: &Work, calls: usize) -> Result<f64, VulkanError> {
        let mut lists = Vec::new();
        for first in (0..calls).step_by(TOGETHER) {
            let mut commands = self.device.commands();
            for _ in first..calls.min(first + TOGETHER) {
                work.record(&mut commands)?;
            }
            lists.push(commands);
        }
        let start = Instant::now();
        let mut last = None;
        for commands in lists {
            last = Some(commands.submit()?);
        }
        last.map_or(Ok(()), |done| done.wait())?;
        Ok(start.elapsed().as_secs_f64())
    }
}

impl Limit {
    /// Measures copies of several sizes, in the same rounds as the peer's: the fastest says what the device can.
    pub(super) fn measure(bench: &mut Bench<'_>, copies: &[Case]) -> Result<(Self, Vec<Record>), Failure> {
        let outcomes: Vec<_> =
            copies.iter().map(|case| bench.measure(case, None)).collect::<Result<_, _>>()?;
        let best =
            |rates: &dyn Fn(&Outcome) -> Option<f64>| outcomes.iter().filter_map(rates).fold(0.0, f64::max);
        let ours = best(&|outcome| Some(outcome.rate));
        let most = ours.max(best(&|outcome| outcome.peer.as_ref().map(|(_, rate)| *rate)));
        let mut records = Vec::new();
        for (case, outcome) in copies.iter().zip(&outcomes) {
            let outcome = Outcome { copies: Some(most), ..outcome.clone() };
            records.extend(case.records(&outcome));
        }
        let fastest = outcomes.iter().position(|outcome| outcome.rate == ours).unwrap_or_default();
        let work = copies[fastest].timed(bench.device)?;
        let calls = bench.calls(&work)?;
        Ok((Self { work, calls, amount: copies[fastest].amount, faster: most / ours }, records))
    }
}
