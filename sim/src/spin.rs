//! Spin or park on one worker: what fixed budgets, ski rental and the runtime's own Hedge cost on traces of idle periods, beside the optimum
//! that knows each period's length. Lengths and costs are ns, made up; what was measured on a real machine is `upbeat bench idle`.

use upbeat::simulation::{Hedge, BUDGETS_US};
use upbeat::Generator;

/// What parking and being woken cost together, by assumption: a physical machine and a virtual one, as the presets have them.
pub const PARKS: [u64; 2] = [7_500, 50_000];
/// Fixed budgets that are compared, ns: the runtime's own among them.
pub const FIXED: [u64; 4] = [0, 5_000, 20_000, 30_000];
/// Runs of Hedge with other seeds, of which the worst counts as well.
const SEEDS: u64 = 5;

/// One trace under every policy; costs are multiples of the optimum's.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the periods are like.
    pub trace: &'static str,
    /// What parking costs, ns.
    pub park: u64,
    /// Under [`FIXED`] budgets.
    pub fixed: [f64; FIXED.len()],
    /// Under the best budget that Hedge has, known beforehand.
    pub best: f64,
    /// Spinning for as long as parking costs.
    pub ski: f64,
    /// Hedge: the mean of five seeds, and the worst.
    pub hedge: [f64; 2],
}

struct Draws(Generator);

impl Draws {
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> u64 {
        (-mean * (1.0 - self.uniform()).ln()) as u64
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.below((most - least) as usize) as u64
    }
}

/// Makes period `i` of `count`; the last argument is what parking costs.
type Trace = fn(&mut Draws, usize, usize, u64) -> u64;

/// The traces. No policy that cannot see the future costs less than e/(e-1) = 1.58 times the optimum on the one without memory whose mean is
/// what parking costs: there all budgets cost the same.
const TRACES: [(&str, Trace); 19] = [
    ("constant 1 us", |_, _, _, _| 1_000),
    ("constant 3 us", |_, _, _, _| 3_000),
    ("constant 15 us", |_, _, _, _| 15_000),
    ("constant 200 us", |_, _, _, _| 200_000),
    ("constant, 1.1 parkings", |_, _, _, park| park * 11 / 10),
    ("exponential, a quarter of a parking", |draws, _, _, park| draws.exponential(park as f64 / 4.0)),
    ("exponential, one parking", |draws, _, _, park| draws.exponential(park as f64)),
    ("exponential, four parkings", |draws, _, _, park| draws.exponential(park as f64 * 4.0)),
    ("heavy tail (Pareto 1.1), 1 us and more", |draws, _, _, _| {
        (1_000.0 / (1.0 - draws.uniform()).powf(1.0 / 1.1)).min(1e12) as u64
    }),
    ("below 2 us, one in five above 100", |draws, _, _, _| bimodal(draws, 5, 1)),
    ("below 2 us, every second above 100", |draws, _, _, _| bimodal(draws, 2, 1)),
    ("below 2 us, four in five above 100", |draws, _, _, _| bimodal(draws, 5, 4)),
    ("two short, one long, in turn", |_, i, _, _| [1_500, 1_500, 150_000][i % 3]),
    ("longer and shorter by degrees", |draws, i, count, _| {
        let phase = (12.0 * std::f64::consts::PI * i as f64 / count as f64).sin();
        draws.exponential(14_000.0 * (2.7 * phase).exp())
    }),
    ("500 short, 500 long", |draws, i, _, _| phases(draws, i, 500)),
    ("50 short, 50 long", |draws, i, _, _| phases(draws, i, 50)),
    ("ten times longer once in the middle", |draws, i, count, _| {
        draws.exponential(if i < count / 2 { 4_000.0 } else { 40_000.0 })
    }),
    ("just longer than ski rental spins", |_, _, _, park| park + 1),
    ("just longer than 5 us, or than 20", |draws, _, _, _| [5_001, 20_001][draws.0.below(2)]),
];

fn bimodal(draws: &mut Draws, of: usize, long: usize) -> u64 {
    if draws.0.below(of) < long {
        draws.between(100_000, 300_000)
    } else {
        draws.between(0, 2_000)
    }
}

fn phases(draws: &mut Draws, i: usize, length: usize) -> u64 {
    if (i / length).is_multiple_of(2) {
        draws.between(0, 4_000)
    } else {
        draws.between(100_000, 200_000)
    }
}

/// What a budget costs in a period of length `idle`: the time spun, and a parking if work came later.
pub fn cost(budget: u64, park: u64, idle: u64) -> u64 {
    if idle <= budget {
        idle
    } else {
        budget + park
    }
}

/// All traces, `periods` long, under all policies, for each of [`PARKS`].
pub fn compare(periods: usize) -> Vec<Row> {
    let rows = PARKS.into_iter().flat_map(|park| {
        TRACES.into_iter().map(move |(name, trace)| {
            let mut draws = Draws(Generator::new(7));
            let idle: Vec<u64> = (0..periods).map(|i| trace(&mut draws, i, periods, park)).collect();
            row(name, park, &idle)
        })
    });
    rows.collect()
}

fn row(trace: &'static str, park: u64, idle: &[u64]) -> Row {
    let optimum: u64 = idle.iter().map(|&idle| idle.min(park)).sum();
    let ratio = |sum: u64| sum as f64 / optimum.max(1) as f64;
    let fixed = |budget: u64| ratio(idle.iter().map(|&idle| cost(budget, park, idle)).sum());
    let runs = (1..=SEEDS).map(|seed| {
        let mut hedge = Hedge::new(park, 1_000, seed);
        let each = idle.iter().map(|&idle| {
            let budget = hedge.budget();
            hedge.ended(idle);
            cost(budget, park, idle)
        });
        ratio(each.sum())
    });
    let runs: Vec<f64> = runs.collect();
    let ski = fixed(park);
    Row {
        trace,
        park,
        fixed: FIXED.map(fixed),
        best: BUDGETS_US.iter().map(|us| fixed(us * 1_000)).fold(ski, f64::min),
        ski,
        hedge: [runs.iter().sum::<f64>() / SEEDS as f64, runs.iter().copied().fold(0.0, f64::max)],
    }
}

/// The geometric mean of what Hedge costs beside ski rental.
pub fn beside_ski_rental(rows: &[Row]) -> f64 {
    (rows.iter().map(|row| (row.hedge[0] / row.ski).ln()).sum::<f64>() / rows.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal P6 but for the trace without memory, where it cannot be met.
    #[test]
    fn hedge_is_near_the_optimum_on_every_trace_and_a_tenth_below_ski_rental() {
        let rows = compare(10_000);
        for row in &rows {
            let most = if row.trace == "exponential, one parking" { 1.6 } else { 1.5 };
            assert!(row.hedge[1] <= most, "{row:?}");
            // The guard's bound: a twentieth, and ten parkings, which are as much again of the shortest trace.
            assert!(row.hedge[1] <= 1.10 * row.ski, "{row:?}");
        }
        assert!(beside_ski_rental(&rows) <= 0.9);
    }

    #[test]
    fn nothing_is_below_the_optimum_and_ski_rental_at_most_twice_it() {
        for row in compare(2_000) {
            let all = row.fixed.into_iter().chain([row.best, row.ski]).chain(row.hedge);
            assert!(all.clone().all(|ratio| ratio >= 1.0), "{row:?}");
            assert!(row.ski <= 2.0 && row.best <= row.ski, "{row:?}");
        }
    }
}
