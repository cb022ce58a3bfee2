//! Learned settings of parallel regions beside every fixed one, on two real workers: each work of [`serial`](crate::serial), called again and
//! again from outside, on a runtime for each way in turn, in interleaved rounds. And what learning costs.
//!
//! A round in which two threads did not have two cores does not count. Ratios are medians over rounds, so that what changes from round to round is
//! in both of their sides. One of the ways is there twice: what its copies differ by is what this machine cannot tell apart.

use std::hint::black_box;
use std::time::{Duration, Instant};

use upbeat::simulation::{Network, Observed, Sample, Site, ARMS, CONFIGURATIONS};
use upbeat::{BuildError, Learning, Pin, Runtime};

use crate::affinity::Cpus;
use crate::probe::Probe;
use crate::serial::{families, Case, Family, Turn};
use crate::timing::{time, Body, Samples};
use crate::workloads::{rounds_lasting, spin_item};

/// What share of the best fixed settings' speed the learned ones must have.
pub const GOAL: f64 = 0.98;

/// The works: families of the serial bound, their sizes, and sizes for tests. A call takes about 0.5 to 3 ms by itself, so that it is
/// learned from; three items of a millisecond take longer.
const WORKS: [(&str, u64, u64); 19] = [
    ("tree, left first in memory", 1 << 18, 200),
    ("tree, right first in memory", 1 << 18, 200),
    ("tree, shuffled in memory", 1 << 17, 200),
    ("fib", 26, 8),
    ("sum by join, one number a leaf", 1 << 18, 200),
    ("sum by join, 1024 numbers a leaf", 1 << 21, 4000),
    ("queens", 11, 5),
    ("unbalanced tree, children of the root", 2000, 10),
    ("quicksort", 1 << 14, 200),
    ("mergesort", 1 << 14, 200),
    ("matmul, tiles a side", 2, 1),
    ("items of about 50 ns", 1 << 14, 100),
    ("items of about 1 us", 1 << 10, 10),
    ("items of about 1 ms", 3, 1),
    ("par::map_reduce, one hash", 1 << 19, 200),
    ("par::map_reduce_chunks, sum", 1 << 21, 200),
    ("par::for_each, one store", 1 << 20, 200),
    ("par::map, one hash", 1 << 19, 200),
    ("par::chunks_mut, 64 numbers", 1 << 21, 200),
];

/// A way to find the settings of regions.
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    learning: Learning,
    /// Whether it counts among the fixed settings of which the best is the measure.
    fixed: bool,
}

const fn way(name: &'static str, learning: Learning, fixed: bool) -> Way {
    Way { name, learning, fixed }
}

/// All of them. Where the memory is one node, the settings that are left out here do what one of these does.
const WAYS: [Way; 6] = [
    way("static", Learning::Static, true),
    way("static again", Learning::Static, false),
    way(CONFIGURATIONS[1].name, Learning::Always(1), true),
    way(CONFIGURATIONS[5].name, Learning::Always(5), true),
    way("bandit", Learning::Bandit, false),
    way("learned", Learning::Learned, false),
];
const STATIC: usize = 0;
const AGAIN: usize = 1;
const BANDIT: usize = 4;
const LEARNED: usize = 5;

/// Regions that every runtime has run before anything is measured.
const WARM: u32 = 250;
/// Shortest time of a way's turn in a round.
const BATCH: Duration = Duration::from_millis(4);
/// Rounds of the first measurement, as far as the limit allows.
const ROUNDS: u32 = 101;
/// Further measurements, each twice as long, of a work that seems to miss the goal.
const REPEATS: u32 = 2;

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// About the time for the first measurement of each work.
    pub limit: Duration,
    /// Tiny works, for tests of everything but the numbers.
    pub small: bool,
}

/// One way's times, and what it chose.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Whether its settings are fixed and it may be the best of those.
    pub fixed: bool,
    /// Median time of a call, ns.
    pub median: f64,
    /// Regions by settings, from the first one on; empty where nothing is chosen.
    pub chosen: Vec<(&'static str, u64)>,
    /// How often what was learned was found to be out of date.
    pub changes: u32,
}

/// A work, measured.
#[derive(Clone, Debug)]
pub struct Work {
    /// What was done, with its size.
    pub work: String,
    /// Median time of sequential code, ns.
    pub sequential: f64,
    /// All ways.
    pub entries: Vec<Entry>,
    /// The best fixed settings, an index into `entries`.
    pub best: usize,
    /// Time of the best fixed settings as a share of the bandit's.
    pub bandit: f64,
    /// And of the learned settings'.
    pub learned: f64,
    /// Time of the default settings as a share of that on a runtime that is just the same.
    pub same: f64,
    /// Rounds that count, and rounds thrown away because the machine was busy.
    pub rounds: (u32, u32),
    /// How often it was measured.
    pub attempts: u32,
}

impl Work {
    /// The learned settings' times.
    pub fn ours(&self) -> &Entry {
        &self.entries[LEARNED]
    }

    /// The bandit's.
    pub fn beside(&self) -> &Entry {
        &self.entries[BANDIT]
    }

    /// Whether the learned settings reach the goal.
    pub fn met(&self) -> bool {
        self.learned >= GOAL
    }
}

/// What a part of learning costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// What is done.
    pub what: &'static str,
    /// Its time, ns.
    pub time: f64,
    /// The most that it may be.
    pub goal: f64,
}

/// What [`measure`] hands out.
#[derive(Clone, Debug)]
pub enum Row {
    /// Times of a work.
    Work(Work),
    /// A cost.
    Cost(Cost),
}

/// How many rows [`measure`] hands out.
pub const ROWS: usize = WORKS.len() + COSTS;

/// Measures everything and hands out the rows one by one.
///
/// # Errors
/// When a runtime cannot be built.
///
/// # Panics
/// When an answer is wrong.
pub fn measure(plan: Plan, rows: &mut dyn FnMut(Row)) -> Result<(), BuildError> {
    let cpus = Cpus::read();
    let probe = Probe::new(&cpus);
    costs(plan, &cpus, &mut |cost| rows(Row::Cost(cost)))?;
    let families = families(false);
    for (name, size, tested) in WORKS {
        let family = families.iter().find(|family| family.name == name).expect("a family of that name");
        let size = if plan.small { tested } else { size };
        rows(Row::Work(work(family, size, plan, &cpus, &probe)?));
    }
    cpus.release();
    Ok(())
}

/// A runtime of two workers, one a CPU; leaves the caller on the first one.
fn runtime(learning: Learning, cpus: &Cpus) -> Result<Runtime, BuildError> {
    cpus.release();
    let runtime = Runtime::builder().workers(2).pin(Pin::Cores).learning(learning).build();
    cpus.pin(0);
    runtime
}

/// Measures a work on runtimes of its own: nothing was learned before.
fn work(family: &Family, size: u64, plan: Plan, cpus: &Cpus, probe: &Probe) -> Result<Work, BuildError> {
    let runtimes = WAYS.iter().map(|way| runtime(way.learning, cpus)).collect::<Result<Vec<_>, _>>()?;
    let turn = Turn::of(&runtimes[0]);
    let mut measured = None;
    family.case(&turn, size, &mut |mut case| {
        let work = format!("{}, {size}", family.name);
        let mut rounds = Rounds { work, runtimes: &runtimes, turn: &turn, probe, plan, attempts: 0 };
        measured = Some(rounds.measure(&mut case));
    });
    Ok(measured.expect("a family hands its case on"))
}

/// Times of every way, round by round, ns a call.
#[derive(Default)]
struct Times {
    rounds: Vec<[f64; WAYS.len()]>,
    discarded: u32,
}

impl Times {
    fn median(&self, way: usize) -> f64 {
        Samples::of(self.rounds.iter().map(|round| round[way])).median()
    }

    /// How long `way` takes as a share of `other`, both in the same round.
    fn ratio(&self, way: usize, other: usize) -> f64 {
        Samples::of(self.rounds.iter().map(|round| round[way] / round[other])).median()
    }

    /// The fixed settings with the least median.
    fn best(&self) -> usize {
        let fixed = (0..WAYS.len()).filter(|&way| WAYS[way].fixed);
        fixed.min_by(|&a, &b| self.median(a).total_cmp(&self.median(b))).expect("some are fixed")
    }
}

struct Rounds<'r> {
    work: String,
    runtimes: &'r [Runtime],
    turn: &'r Turn<'r>,
    probe: &'r Probe,
    plan: Plan,
    attempts: u32,
}

impl<'r> Rounds<'r> {
    /// Calls `body` so many times on a way's runtime; ns a call. Every answer is compared with the sequential one.
    fn call(&self, body: &mut Body<'_>, way: usize, calls: u32, answer: u64) -> f64 {
        self.turn.pass_to(&self.runtimes[way]);
        let who = format!("{}: {}", self.work, WAYS[way].name);
        (0..calls).map(|_| time(body, 1, answer, &who)).sum::<f64>() / f64::from(calls)
    }

    fn measure(&mut self, case: &mut Case<'_>) -> Work {
        let answer = case.answer;
        let once = |body: &mut Body<'_>| {
            let times = if self.plan.small { 1 } else { 9 };
            Samples::of((0..times).map(|_| time(body, 1, answer, &self.work))).median()
        };
        let sequential = case.sequential.iter_mut().map(once).fold(f64::INFINITY, f64::min);
        let body = &mut case.parallel[0];
        let warm = if self.plan.small { 5 } else { WARM };
        for way in 0..WAYS.len() {
            self.call(body, way, warm, answer);
        }
        let least = if self.plan.small { Duration::ZERO } else { BATCH }.as_nanos() as f64;
        let calls = (least / self.call(body, STATIC, 3, answer)).ceil().max(1.0) as u32;
        let repeats = if self.plan.small { 0 } else { REPEATS };
        loop {
            self.attempts += 1;
            let times = self.rounds(body, calls, answer);
            let found = self.found(sequential, &times);
            if found.met() || self.attempts > repeats {
                return found;
            }
        }
    }

    fn rounds(&self, body: &mut Body<'_>, calls: u32, answer: u64) -> Times {
        let (started, longer) = (Instant::now(), 1 << (self.attempts - 1));
        let (rounds, limit) = (longer * ROUNDS, longer * self.plan.limit);
        let mut times = Times::default();
        while times.rounds.len() < 5 || (times.rounds.len() < rounds as usize && started.elapsed() < limit) {
            // At first only quiet rounds count, as everywhere; a machine that is never quiet is measured as it is.
            let quiet_before = self.probe.is_quiet();
            let mut round = [0.0; WAYS.len()];
            for i in 0..WAYS.len() {
                let way = (i + times.rounds.len()) % WAYS.len();
                // Who had the turn before goes to sleep meanwhile, and who has it wakes.
                self.call(body, way, 1, answer);
                round[way] = self.call(body, way, calls, answer);
            }
            let is_quiet = quiet_before && self.probe.is_quiet();
            if !is_quiet && times.discarded < 3 * rounds && started.elapsed() < limit {
                times.discarded += 1;
                continue;
            }
            times.rounds.push(round);
        }
        times
    }

    fn found(&self, sequential: f64, times: &Times) -> Work {
        let entry = |way: usize| {
            let mut chosen: Vec<(&'static str, u64)> = Vec::new();
            let mut changes = 0;
            for site in self.runtimes[way].metrics().sites {
                changes += site.changes;
                for (name, count) in site.chosen {
                    match chosen.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, sum)) => *sum += count,
                        None => chosen.push((name, count)),
                    }
                }
            }
            let Way { name, fixed, .. } = WAYS[way];
            Entry { name, fixed, median: times.median(way), chosen, changes }
        };
        let best = times.best();
        Work {
            work: self.work.clone(),
            sequential,
            entries: (0..WAYS.len()).map(entry).collect(),
            best,
            bandit: times.ratio(best, BANDIT),
            learned: times.ratio(best, LEARNED),
            same: times.ratio(STATIC, AGAIN),
            rounds: (times.rounds.len() as u32, times.discarded),
            attempts: self.attempts,
        }
    }
}

/// How many costs there are.
const COSTS: usize = 4;

fn costs(plan: Plan, cpus: &Cpus, rows: &mut dyn FnMut(Cost)) -> Result<(), BuildError> {
    let (tries, times) = if plan.small { (1, 100) } else { (25, 20_000) };
    // The best of several: what the code takes when nothing disturbs it.
    let best = |run: &mut dyn FnMut()| {
        let once = |run: &mut dyn FnMut()| {
            let begun = Instant::now();
            (0..times).for_each(|_| run());
            begun.elapsed().as_nanos() as f64 / f64::from(times)
        };
        Samples::of((0..tries).map(|_| once(run))).best()
    };
    let (mut site, mut region) = (Site::new(1), 0_u32);
    let network = Network::shipped();
    let choice = best(&mut || {
        let arm = site.choose(black_box((1 << ARMS) - 1)).arm;
        region = region.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let sample = Sample { log_time: 13.0 + (region >> 16) as f32 * 1e-6, log_work: 13.0 };
        site.ended(black_box(arm), sample, None, Some(&network));
    });
    rows(Cost { what: "a choice and what it is told of its end", time: choice, goal: 1000.0 });
    let observed = Observed { workers: 2, nodes: 1, time: 1_000_000, busy: 1_900_000, ..Observed::default() };
    let features = observed.features();
    let pass = best(&mut || {
        black_box(network.forward(black_box(&features)));
    });
    rows(Cost { what: "the network's forward pass, f32", time: pass, goal: 37.0 });
    // 0.1 % of a region of a millisecond is a microsecond. One of 60 us shows it better, and pays as much.
    let what = "what learning adds to a region of 60 us";
    rows(Cost { what, time: added(Duration::from_micros(60), plan, cpus)?, goal: 1000.0 });
    let what = "what learning adds to a region of 1 us, which is not learned from";
    rows(Cost { what, time: added(Duration::from_micros(1), plan, cpus)?, goal: 20.0 });
    Ok(())
}

/// How much longer a region of `length` takes, entry included, where its settings are learned; ns. It makes no joins, so only one worker matters.
fn added(length: Duration, plan: Plan, cpus: &Cpus) -> Result<f64, BuildError> {
    let runtimes = [runtime(Learning::Static, cpus)?, runtime(Learning::Learned, cpus)?];
    let length_in_rounds = rounds_lasting(length);
    let (tries, batch) = if plan.small { (1, 4) } else { (400, 3_000_000 / length.as_nanos() as u64) };
    let mut samples = [Samples::default(), Samples::default()];
    for turn in 0..=tries {
        for (runtime, samples) in runtimes.iter().zip(&mut samples) {
            let mut body: Body<'_> = Box::new(|times| {
                crate::timing::repeat(times, || runtime.install(|_| spin_item(black_box(length_in_rounds))))
            });
            let took = time(&mut body, batch, 1, "a region");
            // The first one warms up.
            if turn > 0 {
                samples.push(took);
            }
        }
    }
    // Neighbours make some batches slower, none faster.
    Ok(samples[1].quantile(0.1) - samples[0].quantile(0.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_that_can_be_learned_from_is_measured() {
        let known: Vec<_> = families(false).iter().map(|family| family.name).collect();
        let missing: Vec<_> =
            known.iter().filter(|name| !WORKS.iter().any(|(work, ..)| work == *name)).collect();
        assert_eq!(missing, [&"empty join"], "an empty join is too short");
        assert!(WORKS.iter().all(|(work, ..)| known.contains(work)));
    }

    #[test]
    fn ratios_are_of_the_same_round_and_the_best_fixed_settings_are_their_measure() {
        // The machine gets three times as slow meanwhile; the learned way takes 1.25 times as long as `eager`, which is the best.
        let round = |slow: f64| [11.0, 11.0, 8.0, 9.0, 7.0, 10.0].map(|time| time * slow);
        let times = Times { rounds: [1.0, 1.5, 2.0, 2.5, 3.0].map(round).into(), discarded: 0 };
        assert_eq!(WAYS[times.best()].name, "eager");
        assert!((times.ratio(times.best(), LEARNED) - 0.8).abs() < 1e-12);
        assert!((times.ratio(STATIC, AGAIN) - 1.0).abs() < 1e-12);
        assert_eq!(times.median(BANDIT), 14.0);
        assert!(WAYS[BANDIT].learning == Learning::Bandit && WAYS[LEARNED].learning == Learning::Learned);
    }
}
