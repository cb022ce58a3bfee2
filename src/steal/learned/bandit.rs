//! Which configuration the regions of one call site get: Thompson sampling (Thompson, 1933) on the logarithm of their times, discounted, with
//! a budget for trying.
//!
//! Each arm's mean log time has a normal posterior; one number is drawn from each, and the least wins. Trying has a budget, as in Wu et al.,
//! "Conservative Bandits" (ICML 2016): what other arms have cost beyond arm 0 so far, and what this one may cost, stays below a share of what arm 0
//! would have taken in all. Times that no longer fit what was learned are noticed by a Page-Hinkley test, and learning begins anew.
//!
//! Regions of one site may differ in size by far more than arms differ. So times are adjusted for the work that a region was found to have been
//! (analysis of covariance, Fisher, 1932), as far as the times of one arm follow the work at all.

use super::configuration::ARMS;
use super::numbers::{deviate, exp, ln};
use crate::steal::Generator;

/// What trying may cost: this share of the time that arm 0 would have taken. The promise is 5 %; the rest is for what estimates miss.
const BUDGET: f32 = 0.045;
/// Gains count against later costs up to so many regions.
const CREDIT: f32 = 1.0;
/// A region that takes this much longer than arm 0's goes on with arm 0.
const PATIENCE: f32 = 1.5;
/// Regions that arm 0 gets first, so that there is something to compare with.
const FIRST: u32 = 2;
/// What is kept of earlier weights with each region: about the last 200 count.
const DISCOUNT: f32 = 0.995;
/// Work that varies by less than this (variance of its logarithm) explains nothing: part of that is what an arm itself does to it.
const EVEN_WORK: f32 = 0.01;
/// The least variance of a log time: clocks and callers are not exact to more than a per cent.
const LEAST_VARIANCE: f32 = 1e-4;
/// The variance that is assumed before there are samples, and the number of samples that it counts for.
const FIRST_VARIANCE: (f32, f32) = (4e-3, 2.0);
/// Deviations that a sample may be off and still count in full; beyond, it counts as if it were so far off: somebody else had the core.
const OUTLIER: f32 = 4.0;
/// Logarithms beyond this are of no time.
const MOST: f32 = 80.0;
/// The Page-Hinkley test: what is no change, and how much of one it takes, in deviations.
const DRIFT: (f32, f32) = (0.5, 12.0);

/// What is thought of the arms before any was tried: their log times beside arm 0's, and how far off that may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// Logarithms of time divided by arm 0's; arm 0's own is 0.
    pub mean: [f32; ARMS],
    /// Their standard deviations; arm 0's is not used.
    pub deviation: [f32; ARMS],
}

impl Prior {
    /// Of regions of which nothing is known: the means and deviations over the regions that the shipped network was trained on.
    pub const UNKNOWN: Self =
        Self { mean: [0.0, -0.03, -0.02, 0.01, -0.08, 0.21], deviation: [0.0, 0.08, 0.14, 0.16, 0.31, 0.24] };
}

/// What was chosen for a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Index into [`CONFIGURATIONS`](super::configuration::CONFIGURATIONS).
    pub arm: usize,
    /// The log time after which the region goes on with arm 0; infinite for arm 0 itself.
    pub limit: f32,
}

/// What a region took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The logarithm of its time.
    pub log_time: f32,
    /// The logarithm of the time that all workers spent on it. Any constant, if that is not known.
    pub log_work: f32,
}

/// What is known of one arm: a discounted number of samples, and their means.
#[derive(Clone, Copy, Debug, Default)]
struct Arm {
    weight: f32,
    time: f32,
    work: f32,
}

/// How times and work vary around their arms' means.
#[derive(Clone, Copy, Debug)]
struct Spread {
    samples: f32,
    time: f32,
    work: f32,
    both: f32,
}

impl Spread {
    const UNKNOWN: Self = Self { samples: FIRST_VARIANCE.1, time: FIRST_VARIANCE.0, work: 0.0, both: 0.0 };

    /// A sample was off by so much; `own` is how much of that is its own fault and not that of a mean of few.
    fn note(&mut self, time: f32, work: f32, own: f32) {
        self.samples = (self.samples + 1.0).min(50.0);
        let rate = 1.0 / self.samples;
        self.time += (time * time * own - self.time) * rate;
        self.work += (work * work * own - self.work) * rate;
        self.both += (time * work * own - self.both) * rate;
    }

    /// How much longer a region takes that is a little more work: 0 if times do not follow it, 1 if they are proportional.
    fn slope(&self) -> f32 {
        (self.both / (self.work + EVEN_WORK)).clamp(0.0, 1.0)
    }

    /// The variance of a time that is adjusted for the work.
    fn variance(&self) -> f32 {
        let slope = self.slope();
        (self.time - slope * (2.0 * self.both - slope * self.work)).max(LEAST_VARIANCE)
    }
}

/// One call site's memory.
#[derive(Clone, Debug)]
pub struct Bandit {
    prior: Prior,
    arms: [Arm; ARMS],
    spread: Spread,
    /// The work that times are adjusted to.
    usual_work: f32,
    /// What other arms have cost beyond arm 0, in arm 0's regions.
    debt: f32,
    regions: f32,
    /// Regions that arm 0 still gets before anything else.
    first: u32,
    /// Sums of the Page-Hinkley test: slower, faster.
    drift: [f32; 2],
    changes: u32,
}

impl Bandit {
    /// Nothing learned yet.
    pub fn new(prior: Prior) -> Self {
        Self {
            prior,
            arms: Default::default(),
            spread: Spread::UNKNOWN,
            usual_work: 0.0,
            debt: 0.0,
            regions: 0.0,
            first: FIRST,
            drift: [0.0; 2],
            changes: 0,
        }
    }

    /// Another opinion of the arms, of somebody who has seen the regions that arm 0 got first.
    pub fn expect(&mut self, prior: Prior) {
        self.prior = prior;
    }

    /// Whether arm 0 still gets regions to compare with.
    pub fn is_first(&self) -> bool {
        self.first > 0
    }

    /// Whether these are the very first regions: after a change it is known how the arms compared, and that is better than an opinion.
    pub fn awaits_opinion(&self) -> bool {
        self.is_first() && self.changes == 0
    }

    /// Times that what was learned was found to be out of date.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// The variance of the log time of regions of usual work.
    pub fn variance(&self) -> f32 {
        self.spread.variance()
    }

    fn adjusted(&self, time: f32, work: f32) -> f32 {
        time - self.spread.slope() * (work - self.usual_work)
    }

    fn mean(&self, arm: usize) -> f32 {
        self.adjusted(self.arms[arm].time, self.arms[arm].work)
    }

    /// The mean log time of arm `arm`, adjusted to the usual work, as far as is known; and its variance.
    pub fn posterior(&self, arm: usize) -> (f32, f32) {
        let (weight, variance) = (self.arms[arm].weight, self.spread.variance());
        if arm == 0 {
            return (self.mean(0), variance / weight.max(1e-3));
        }
        let deviation = self.prior.deviation[arm].max(1e-3);
        let believed = variance / (deviation * deviation);
        let expected = self.mean(0) + self.prior.mean[arm];
        let sum = believed + weight;
        ((believed * expected + weight * self.mean(arm)) / sum, variance / sum)
    }

    /// Chooses among the arms that `open` names by bits; arm 0 always is.
    pub fn choose(&self, open: u32, generator: &mut Generator) -> Choice {
        let arm = if self.first > 0 { 0 } else { self.sample(open, generator) };
        let beyond = ln(PATIENCE).max(3.0 * self.spread.time.sqrt());
        Choice { arm, limit: if arm == 0 { f32::INFINITY } else { self.arms[0].time + beyond } }
    }

    fn sample(&self, open: u32, generator: &mut Generator) -> usize {
        let mut drawn = [f32::INFINITY; ARMS];
        for arm in (0..ARMS).filter(|&arm| arm == 0 || open >> arm & 1 == 1) {
            let (mean, variance) = self.posterior(arm);
            drawn[arm] = mean + square_root(variance) * deviate(generator);
        }
        let least = |values: &[f32; ARMS]| {
            (0..ARMS).min_by(|&a, &b| values[a].total_cmp(&values[b])).expect("there are arms")
        };
        let arm = least(&drawn);
        if self.can_afford(arm) {
            return arm;
        }
        // The best of what is affordable as far as is known.
        let affordable =
            std::array::from_fn(|arm| match drawn[arm] < f32::INFINITY && self.can_afford(arm) {
                true => self.posterior(arm).0,
                false => f32::INFINITY,
            });
        least(&affordable)
    }

    fn can_afford(&self, arm: usize) -> bool {
        if arm == 0 {
            return true;
        }
        let (mean, variance) = self.posterior(arm);
        let ratio = exp(mean + square_root(variance) - self.mean(0));
        // Once it is over the limit it is no longer this arm's: half as much again and what was not done by then.
        let may_cost = (ratio - 1.0).clamp(0.0, PATIENCE);
        self.debt + may_cost <= BUDGET * (self.regions + 1.0)
    }

    /// Whether log times vary by so much that it matters how much work a region was.
    pub fn varies(&self) -> bool {
        self.regions < 4.0 || self.spread.time > 0.25 * EVEN_WORK
    }

    /// A region of the arm is over; by how much it was faster than arm 0's would have been (the logarithm), unless it was arm 0's. What is no
    /// number is left out.
    pub fn ended(&mut self, arm: usize, sample: Sample) -> Option<f32> {
        let Sample { log_time: mut time, log_work: work } = sample;
        if !(time.abs() < MOST && work.abs() < MOST) || arm >= ARMS {
            return None;
        }
        let raw = time;
        let known = self.arms[arm];
        if self.arms.iter().all(|arm| arm.weight == 0.0) {
            self.usual_work = work;
        }
        if known.weight > 0.5 {
            let deviation = square_root(self.spread.variance());
            let expected = self.mean(arm) + self.spread.slope() * (work - self.usual_work);
            let off = (time - expected).clamp(-OUTLIER * deviation, OUTLIER * deviation);
            self.notice(off / deviation);
            if known.weight > 2.0 {
                time = expected + off;
            }
            // A mean of few samples is itself off.
            let own = known.weight / (known.weight + 1.0);
            self.spread.note(time - known.time, work - known.work, own);
        }
        self.regions += 1.0;
        // Just after a change there is nothing to compare with. What is paid is the time as it was, however rare.
        let slower = (self.arms[0].weight > 0.0).then(|| self.adjusted(raw, work) - self.mean(0));
        match slower {
            _ if arm == 0 => self.first = self.first.saturating_sub(1),
            Some(slower) => self.debt = (self.debt + exp(slower.min(2.0)) - 1.0).max(-CREDIT),
            None => {}
        }
        for arm in &mut self.arms {
            arm.weight *= DISCOUNT;
        }
        let number = arm;
        let arm = &mut self.arms[number];
        arm.weight += 1.0;
        arm.time += (time - arm.time) / arm.weight;
        arm.work += (work - arm.work) / arm.weight;
        slower.filter(|_| number > 0).map(|slower| (-slower).clamp(-2.0, 2.0))
    }

    /// A region was off its arm's mean by so many deviations.
    fn notice(&mut self, off: f32) {
        let (none, enough) = DRIFT;
        self.drift[0] = (self.drift[0] + off - none).max(0.0);
        self.drift[1] = (self.drift[1] - off - none).max(0.0);
        if self.drift.iter().any(|&sum| sum > enough) {
            self.drift = [0.0; 2];
            self.changes += 1;
            self.first = FIRST;
            // What changed may be the machine's speed, for all arms alike: how they compared is what is expected of them now, as uncertainly as
            // at first. Regions that were under way when the last change was noticed may bring another one before there is anything to compare with.
            if self.arms[0].weight > 0.0 {
                self.prior.mean = std::array::from_fn(|arm| self.posterior(arm).0 - self.mean(0));
            }
            self.arms = Default::default();
        }
    }
}

/// Square roots are exact on every host.
fn square_root(x: f32) -> f32 {
    x.max(0.0).sqrt()
}
