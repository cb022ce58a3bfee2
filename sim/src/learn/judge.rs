//! A policy judged on cases that it was not made with: how far it is from each one's best configuration, and what learning has cost.

use upbeat::simulation::{Bandit, Prior, Sample, ARMS};
use upbeat::Generator;

use super::table::{Table, Time};

/// What a policy begins with.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// What is thought of any region.
    pub prior: Prior,
    /// What is thought of this one after arm 0's first runs.
    pub opinion: Option<Prior>,
}

/// One case under one policy, order by order of its seeds.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Time beside the best configuration's around invocation 100, and at the last ones.
    pub regret: Vec<[f64; 2]>,
    /// Time of the first 100 invocations beside arm 0's.
    pub cost: Vec<f64>,
    /// Time of all invocations beside arm 0's.
    pub total: Vec<f64>,
}

impl Verdict {
    /// Time beside the best configuration's at the last invocations, as the mean of the orders.
    pub fn last_regret(&self) -> f64 {
        mean(&self.regret.iter().map(|regret| regret[1]).collect::<Vec<_>>())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Invocations around the hundredth, and last ones, that are averaged.
const AROUND: std::ops::Range<usize> = 90..110;
const LAST: usize = 20;

/// Replays a bandit on `table`, in `orders` orders of its seeds, which are the same for every policy.
pub fn replay(table: &Table, beginning: Beginning, invocations: usize, orders: u64) -> Verdict {
    assert!(invocations >= AROUND.end, "the hundredth invocation and those around it are looked at");
    let means = table.means();
    let best = means.iter().copied().fold(f64::INFINITY, f64::min);
    let mut verdict = Verdict::default();
    for order in 0..orders {
        let mut seeds = Generator::new(order ^ 0x6a09);
        let mut draws = Generator::new(order ^ 0xbb67);
        let mut bandit = Bandit::new(beginning.prior);
        let (mut spent, mut fixed, mut regret) = (0.0, 0.0, [0.0; 2]);
        for invocation in 0..invocations {
            let seed = seeds.below(table.times[0].len());
            let awaited_opinion = bandit.awaits_opinion();
            let choice = bandit.choose((1 << ARMS) - 1, &mut draws);
            let whole = table.times[choice.arm][seed];
            let is_late = whole.time.ln() > f64::from(choice.limit);
            let Time { time, work } = if is_late { table.cut[choice.arm][seed] } else { whole };
            bandit.ended(choice.arm, Sample { log_time: time.ln() as f32, log_work: work.ln() as f32 });
            if let (true, false, Some(opinion)) = (awaited_opinion, bandit.is_first(), beginning.opinion) {
                bandit.expect(opinion);
            }
            spent += time;
            fixed += table.times[0][seed].time;
            if invocation + 1 == 100 {
                verdict.cost.push(spent / fixed);
            }
            let beside_best = means[choice.arm] / best;
            if AROUND.contains(&invocation) {
                regret[0] += beside_best / AROUND.len() as f64;
            }
            if invocation + LAST >= invocations {
                regret[1] += beside_best / LAST as f64;
            }
        }
        verdict.regret.push(regret);
        verdict.total.push(spent / fixed);
    }
    verdict
}

/// A policy over all cases. Times are beside arm 0's, geometric means over cases; an interval is over the orders.
#[derive(Clone, Debug)]
pub struct Score {
    /// Time beside each case's best configuration around invocation 100, and at the last ones.
    pub regret: [[f64; 3]; 2],
    /// Time of all invocations.
    pub total: [f64; 3],
    /// Time of the first 100 invocations beside what it would take to know the best configuration from the third one on.
    pub cold: [f64; 3],
    /// The worst case's time of the first 100 invocations (mean of its orders), and of all, in any order.
    pub worst: [f64; 2],
    /// The share of cases that are more than 5 % from their best at the end.
    pub missed: f64,
}

/// Sums up what became of a policy on `cases`.
pub fn score(cases: &[(&Table, Verdict)]) -> Score {
    let orders = cases.first().map_or(0, |(_, verdict)| verdict.cost.len());
    let over_cases = |of: &dyn Fn(&Table, &Verdict, usize) -> f64| {
        let log = |order: usize| {
            cases.iter().map(|(table, verdict)| of(table, verdict, order).ln()).sum::<f64>()
                / cases.len() as f64
        };
        crate::compare::interval(&(0..orders).map(log).collect::<Vec<_>>()).map(f64::exp)
    };
    Score {
        regret: [0, 1].map(|at| over_cases(&|_, verdict, order| verdict.regret[order][at])),
        total: over_cases(&|_, verdict, order| verdict.total[order]),
        cold: over_cases(&|table, verdict, order| verdict.cost[order] / (0.98 * table.best() + 0.02)),
        worst: [
            cases.iter().map(|(_, verdict)| mean(&verdict.cost)).fold(0.0, f64::max),
            cases.iter().flat_map(|(_, verdict)| &verdict.total).copied().fold(0.0, f64::max),
        ],
        missed: cases.iter().filter(|(_, verdict)| verdict.last_regret() > 1.05).count() as f64
            / cases.len().max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case whose arms take so long, with one seed in two 10 % longer.
    fn table(times: [f64; ARMS]) -> Table {
        let of = |time: f64| [1.0, 1.1].map(|seed| Time { time: time * seed, work: 1.0 }).to_vec();
        Table {
            times: times.map(of),
            cut: times.map(|time| of(time.min(times[0] * 2.0))),
            features: [0.0; 16],
        }
    }

    #[test]
    fn who_finds_the_best_has_no_regret_and_the_budget_holds() {
        let found = table([1e6, 1.1e6, 0.6e6, 1.2e6, 1.3e6, 9e6]);
        let none = table([1e6, 1.05e6, 1.1e6, 1.2e6, 1.3e6, 9e6]);
        let beginning = Beginning { prior: Prior::UNKNOWN, opinion: None };
        let verdicts = [&found, &none].map(|table| (table, replay(table, beginning, 300, 10)));
        for (_, verdict) in &verdicts {
            assert_eq!((verdict.cost.len(), verdict.regret.len(), verdict.total.len()), (10, 10, 10));
            assert!(verdict.regret.iter().all(|regret| regret[1] < 1.03), "{verdict:?}");
        }
        let score = score(&verdicts);
        assert!(score.worst[0] > 1.0 && score.worst[0] < 1.05, "{score:?}");
        assert!(score.total[0] < 0.85 && score.missed == 0.0 && score.cold[0] > 1.0, "{score:?}");
    }

    #[test]
    fn a_right_opinion_saves_and_a_wrong_one_costs_little() {
        let table = table([1e6, 1.3e6, 1.4e6, 0.3e6, 1.4e6, 2e6]);
        let opinion = |mean| Some(Prior { mean, deviation: [0.1; ARMS] });
        let of = |opinion| {
            let beginning = Beginning { prior: Prior::UNKNOWN, opinion };
            score(&[(&table, replay(&table, beginning, 300, 20))]).cold[0]
        };
        let (right, wrong) = ([0.0, 0.3, 0.3, -1.2, 0.3, 0.7], [0.0, -0.1, -0.1, 0.3, -0.1, -0.1]);
        let (right, none, wrong) = (of(opinion(right)), of(None), of(opinion(wrong)));
        assert!(right <= none && none <= wrong && right < 1.03, "{right} {none} {wrong}");
    }
}
