//! A policy judged on cases that it was not made with: how far it is from each one's best configuration, and what learning has cost.

use upbeat::simulation::{Bandit, Prior, Sample, ARMS};
use upbeat::Generator;

use super::table::{Table, Time};

/// One case, some orders of its seeds.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Time beside the best configuration's around invocation 100, and at the last: means over the orders.
    pub regret: [f64; 2],
    /// Time of the first 100 invocations beside arm 0's, order by order.
    pub cost: Vec<f64>,
    /// Time of all invocations beside arm 0's, order by order.
    pub total: Vec<f64>,
    /// The same of each arm, had it been chosen always.
    pub fixed: [f64; ARMS],
}

/// Invocations around the hundredth that are averaged.
const AROUND: std::ops::Range<usize> = 90..110;

/// Replays a bandit that begins with `prior` (and hears `opinion` after arm 0's first regions) on `table`, `orders` times.
pub fn replay(
    table: &Table,
    prior: Prior,
    opinion: Option<Prior>,
    invocations: usize,
    orders: u64,
) -> Verdict {
    let means = table.means();
    let best = means.iter().copied().fold(f64::INFINITY, f64::min);
    let mut verdict = Verdict { fixed: means.map(|time| time / means[0]), ..Verdict::default() };
    for order in 0..orders {
        let mut seeds = Generator::new(order ^ 0x6a09);
        let mut draws = Generator::new(order ^ 0xbb67);
        let mut bandit = Bandit::new(prior);
        let (mut spent, mut fixed) = (0.0, 0.0);
        for invocation in 0..invocations {
            let seed = seeds.below(table.times[0].len());
            let was_first = bandit.is_first();
            let choice = bandit.choose((1 << ARMS) - 1, &mut draws);
            let whole = table.times[choice.arm][seed];
            let is_late = whole.time.ln() > f64::from(choice.limit);
            let Time { time, work } = if is_late { table.cut[choice.arm][seed] } else { whole };
            bandit.ended(choice.arm, Sample { log_time: time.ln() as f32, log_work: work.ln() as f32 });
            if let (true, false, Some(opinion)) = (was_first, bandit.is_first(), opinion) {
                bandit.expect(opinion);
            }
            spent += time;
            fixed += table.times[0][seed].time;
            if invocation + 1 == 100.min(invocations) {
                verdict.cost.push(spent / fixed);
            }
            if AROUND.contains(&invocation) {
                verdict.regret[0] += means[choice.arm] / best / (AROUND.len() as f64 * orders as f64);
            }
            if invocation + 20 >= invocations {
                verdict.regret[1] += means[choice.arm] / best / (20.0 * orders as f64);
            }
        }
        verdict.total.push(spent / fixed);
    }
    verdict
}
