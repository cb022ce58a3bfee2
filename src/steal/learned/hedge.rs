//! How long an idle worker spins before it parks, learned: Hedge (Freund and Schapire, 1997) over a few budgets.
//!
//! When a period without work is over, its length tells what every budget would have cost, so all weights learn from each period (full
//! information). A part of the weight is shared out again each time (Herbster and Warmuth, 1998), so that a budget that was bad can
//! come back soon. A guard bounds the whole by ski rental, on every trace. Plain state of one worker; times are in any unit, say ticks.
//! Where it is not used: what a period is, and when it ends, is the caller's to know. Proof: the tests here; the comparison with
//! fixed budgets, ski rental and the optimum is `upbeat sim idle` (`docs/benchmarks/2026-11-22-spin-or-park.md`).

use crate::steal::Generator;

/// Budgets besides ski rental's, in µs.
pub const BUDGETS_US: [u64; 7] = [0, 1, 2, 3, 5, 10, 20];
/// All of them; the last one is as long as parking and waking take (ski rental; Karlin et al., 1994).
pub const BUDGETS: usize = BUDGETS_US.len() + 1;
const SKI: usize = BUDGETS - 1;

/// What the worst loss leaves of a weight: β of the paper.
const BETA: f32 = 0.1;
/// The share of all weight that is dealt out evenly after each period.
const SHARE: f32 = 0.004;
/// How much dearer than ski rental all periods together may be.
const EXCESS: f32 = 0.05;
/// And by how many parkings beyond that.
const SLACK: f32 = 8.0;
/// Longer than any cost that is worth telling apart, so that sums of them stay exact enough.
const MOST: u64 = 1 << 40;

/// The weights of one worker.
#[derive(Clone, Debug)]
pub struct Hedge {
    budgets: [f32; BUDGETS],
    weights: [f32; BUDGETS],
    /// What parking and being woken cost.
    park: f32,
    /// 1 / the most that a budget can lose beside the optimum.
    scale: f32,
    /// What may still be lost beside ski rental.
    credit: f32,
    drawn: usize,
    generator: Generator,
}

impl Hedge {
    /// Half of the weight on ski rental, which is never far from the optimum, the rest alike. `park`: what parking and being woken cost together; `us`: units a microsecond.
    pub fn new(park: u64, us: u64, seed: u64) -> Self {
        let mut budgets = [0.0; BUDGETS];
        for (budget, length) in budgets.iter_mut().zip(BUDGETS_US) {
            *budget = length.saturating_mul(us).min(MOST) as f32;
        }
        let mut weights = [0.5 / SKI as f32; BUDGETS];
        weights[SKI] = 0.5;
        let mut hedge = Self {
            budgets,
            weights,
            park: 0.0,
            scale: 1.0,
            credit: 0.0,
            drawn: SKI,
            generator: Generator::new(seed),
        };
        hedge.set_park(park);
        hedge.credit = SLACK * hedge.park;
        hedge
    }

    /// Parking and being woken cost `park` together from now on.
    pub fn set_park(&mut self, park: u64) {
        // 1 at least, so that there is something to scale by.
        self.park = park.clamp(1, MOST) as f32;
        self.budgets[SKI] = self.park;
        self.credit = self.credit.min(SLACK * self.park);
        let longest = self.budgets.iter().copied().fold(0.0, f32::max);
        self.scale = 1.0 / (self.park + longest);
    }

    /// How long to spin in the period that begins.
    pub fn budget(&mut self) -> u64 {
        let mut rest = (self.generator.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
        // Without branches: which one it is cannot be foretold. Weights that add up to a little less than 1 leave the rest to ski rental.
        let mut drawn = 0;
        for weight in &self.weights[..SKI] {
            rest -= weight;
            drawn += usize::from(rest >= 0.0);
        }
        self.drawn = if self.credit >= 0.0 { drawn } else { SKI };
        self.budgets[self.drawn] as u64
    }

    /// What a budget costs in a period that is `idle` long.
    #[inline]
    fn cost(&self, budget: f32, idle: f32) -> f32 {
        let parked = budget + self.park;
        if idle <= budget {
            idle
        } else {
            parked
        }
    }

    /// The period of the last [`budget`](Self::budget) is over: work came `idle` after it began, whether the worker was still
    /// spinning or was woken for it.
    pub fn ended(&mut self, idle: u64) {
        let idle = idle.min(MOST) as f32;
        let (own, ski) = (self.cost(self.budgets[self.drawn], idle), self.cost(self.park, idle));
        self.credit = (self.credit + (1.0 + EXCESS) * ski - own).min(SLACK * self.park);
        let best = idle.min(self.park);
        for index in 0..BUDGETS {
            // In [0, 1], as the paper wants it.
            let loss = (self.cost(self.budgets[index], idle) - best) * self.scale;
            self.weights[index] *= 1.0 - (1.0 - BETA) * loss;
        }
        // In pairs: eight additions that wait for each other would take longer than all else here.
        let [a, b, c, d, e, f, g, h] = self.weights;
        let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
        let (keep, even) = ((1.0 - SHARE) / sum, SHARE / BUDGETS as f32);
        self.weights.iter_mut().for_each(|weight| *weight = *weight * keep + even);
    }

    /// The period is over for another reason, and work would have come after `at_least` or later. That teaches something only if no budget
    /// lasts longer: else the long ones would be judged by what did not happen.
    pub fn broken_off(&mut self, at_least: u64) {
        let longest = self.budgets.iter().copied().fold(0.0, f32::max);
        if at_least.min(MOST) as f32 > longest {
            self.ended(at_least);
        }
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;

    /// A physical machine's parking and waking, ns.
    const PARK: u64 = 7_500;
    const PERIODS: usize = 4_000;

    fn cost(budget: u64, park: u64, idle: u64) -> u64 {
        if idle <= budget {
            idle
        } else {
            budget + park
        }
    }

    /// What the periods cost a new `Hedge`, ski rental and the optimum. Each period is told the budget that was drawn for it: an adversary
    /// that knows it may choose accordingly.
    fn costs(park: u64, periods: usize, mut idle: impl FnMut(usize, u64) -> u64) -> [u64; 3] {
        let mut hedge = Hedge::new(park, 1_000, 1);
        let mut sums = [0; 3];
        for period in 0..periods {
            let budget = hedge.budget();
            let idle = idle(period, budget);
            hedge.ended(idle);
            let each = [cost(budget, park, idle), cost(park, park, idle), idle.min(park)];
            sums.iter_mut().zip(each).for_each(|(sum, each)| *sum += each);
        }
        sums
    }

    #[track_caller]
    fn within([own, ski, _]: [u64; 3], park: u64) {
        // One period more than the slack, for the one that uses it up, and a thousandth for f32.
        let bound = 1.05 * ski as f64 + (f64::from(SLACK) + 2.0) * park as f64 + 20_000.0;
        assert!(own as f64 <= 1.001 * bound, "{own} beside {ski} of ski rental");
    }

    #[track_caller]
    fn near_the_optimum([own, ski, optimum]: [u64; 3], ratio: f64) {
        assert!(own as f64 <= ratio * optimum as f64, "{own} beside {optimum}, ski rental {ski}");
    }

    #[test]
    fn constant_periods_are_learned_whether_spinning_or_parking_is_right() {
        for idle in [500, 3_000, 6_000, 8_000, 15_000, 1_000_000] {
            near_the_optimum(costs(PARK, PERIODS, |_, _| idle), 1.1);
        }
    }

    #[test]
    fn short_and_long_periods_by_turns_are_spun_through_as_far_as_the_short_ones_go() {
        near_the_optimum(costs(PARK, PERIODS, |period, _| [1_500, 1_500, 150_000][period % 3]), 1.3);
        let mut generator = Generator::new(5);
        near_the_optimum(costs(PARK, PERIODS, |_, _| [1_800, 300_000][generator.below(2)]), 1.3);
    }

    #[test]
    fn what_was_learned_is_forgotten_when_the_periods_change() {
        let phases = |length: usize| {
            costs(
                PARK,
                PERIODS,
                |period, _| if (period / length).is_multiple_of(2) { 3_000 } else { 200_000 },
            )
        };
        near_the_optimum(phases(500), 1.15);
        near_the_optimum(phases(50), 1.5);
    }

    /// In periods without memory whose mean is one parking, all budgets cost the same, 1.58 times the optimum: no policy that cannot see the
    /// future does better, so none can be asked for. Ours must not do worse.
    #[test]
    fn periods_without_memory_cost_what_they_must() {
        let mut generator = Generator::new(9);
        let mut exponential = |mean: f64| {
            costs(PARK, 10 * PERIODS, |_, _| {
                let uniform = (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                (-mean * (1.0 - uniform).ln()) as u64
            })
        };
        near_the_optimum(exponential(PARK as f64), 1.62);
        near_the_optimum(exponential(PARK as f64 / 4.0), 1.15);
        near_the_optimum(exponential(PARK as f64 * 4.0), 1.2);
    }

    /// The guard's promise: whatever happens, and whoever knows what was drawn.
    #[test]
    fn never_much_dearer_than_ski_rental() {
        for park in [1, 3_000, PARK, 50_000, 10_000_000] {
            // Work comes just after the worker has given up; what looks best is made worst.
            within(costs(park, PERIODS, |_, budget| budget + 1), park);
            within(costs(park, PERIODS, |_, budget| if budget < park { budget + 1 } else { u64::MAX }), park);
            within(costs(park, PERIODS, |_, budget| if budget == 0 { 1 } else { 2 * budget }), park);
            within(costs(park, PERIODS, |_, _| park + 1), park);
            within(costs(park, PERIODS, |_, _| 0), park);
            for seed in 0..20 {
                // Phases of random lengths with periods of random magnitudes.
                let mut generator = Generator::new(seed);
                let (mut left, mut shift) = (0, 0);
                let random = |_, _| {
                    if left == 0 {
                        (left, shift) = (1 + generator.below(200), generator.below(64));
                    }
                    left -= 1;
                    generator.next_u64() >> shift
                };
                within(costs(park, PERIODS, random), park);
            }
        }
    }

    #[test]
    fn the_weights_stay_a_distribution_whatever_the_times() {
        for (park, us) in [(0, 0), (0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX), (PARK, 1_000)] {
            let mut hedge = Hedge::new(park, us, 3);
            let mut generator = Generator::new(4);
            for period in 0..PERIODS {
                let longest = park.max(20u64.saturating_mul(us)).clamp(1, MOST);
                assert!(hedge.budget() <= longest, "{park} {us}");
                match period % 4 {
                    0 => hedge.ended(generator.next_u64() >> generator.below(64)),
                    1 => hedge.ended([0, u64::MAX][generator.below(2)]),
                    2 => hedge.broken_off(generator.next_u64() >> generator.below(64)),
                    _ => hedge.set_park(if generator.below(2) == 0 { park } else { generator.next_u64() }),
                }
                if period % 4 == 3 {
                    hedge.set_park(park);
                }
                let sum: f32 = hedge.weights.iter().sum();
                assert!((sum - 1.0).abs() < 1e-3 && hedge.credit.is_finite(), "{park} {us}: {hedge:?}");
                assert!(hedge.weights.iter().all(|weight| *weight > SHARE / 10.0), "{park} {us}: {hedge:?}");
            }
        }
    }

    /// A clock that went back makes a period look like none (callers subtract saturating), one that went forward like an endless one.
    #[test]
    fn a_clock_that_jumps_teaches_little() {
        let mut hedge = Hedge::new(PARK, 1_000, 1);
        (0..200).for_each(|_| hedge.ended(3_000));
        let before = hedge.weights;
        hedge.ended(0);
        assert!(hedge.weights.iter().zip(before).all(|(now, then)| (now - then).abs() < 0.01));
        hedge.ended(u64::MAX);
        let long_enough: f32 = hedge.weights[3..].iter().sum();
        assert!(long_enough > 0.9, "{:?}", hedge.weights);
    }

    #[test]
    fn a_period_that_was_broken_off_early_teaches_nothing() {
        let mut hedge = Hedge::new(PARK, 1_000, 1);
        let before = hedge.weights;
        hedge.broken_off(19_999);
        assert_eq!(hedge.weights, before);
        hedge.broken_off(20_001);
        assert!(hedge.weights[0] > before[0] && hedge.weights[BUDGETS - 2] < before[BUDGETS - 2]);
    }

    #[test]
    fn a_seed_has_one_answer() {
        let drawn = |seed| {
            let mut hedge = Hedge::new(PARK, 1_000, seed);
            let mut draw = |period: u64| {
                let budget = hedge.budget();
                hedge.ended(period * 997 % 30_000);
                budget
            };
            (0..100).map(&mut draw).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
