//! The goals of the learned policy, on machines and seeds that nothing was learned from.

use upbeat::par;
use upbeat::simulation::{prior, Network, Prior, ARMS};

use super::cases::{Case, FAMILIES};
use super::data::Region;
use super::judge::{replay, score, Beginning, Score, Verdict};
use super::live::Live;
use super::table::Table;
use super::train::{train, unknown, Plan};
use crate::compare::{interval, Setup};
use crate::machine::Machine;
use crate::policy::Policy;
use crate::settings::{Idling, Settings, CONFIGURATIONS};
use crate::workloads::Workload;

/// Orders of each case's seeds: what intervals are over.
const ORDERS: u64 = 10;
/// Invocations of each case.
const INVOCATIONS: usize = 500;
/// Nobody's opinion: nothing is known of other regions either.
const NONE: Prior = Prior { mean: [0.0; ARMS], deviation: [0.3; ARMS] };
/// Seeds of the cases; those that are learned from have others.
const FIRST_SEED: u64 = 1 << 40;

/// What was found. Policies by name.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Policies and what became of them.
    pub scores: Vec<(&'static str, Score)>,
    /// The configuration that is fastest over all cases, if all had the same; its time beside arm 0's.
    pub single: (&'static str, f64),
    /// The bandit's time beside that one's: over all cases, and over layers of a network.
    pub beside_single: [[f64; 3]; 2],
    /// How far the worst region is from its best configuration under that one, and under the bandit at the end.
    pub worst_regret: [f64; 2],
    /// The bandit's 99th percentile of the service's jobs beside random stealing's, and beside the oracle's.
    pub service: [[f64; 3]; 2],
}

/// Examines the policy on `cases` cases of `seeds` seeds. With the `regions` that `network` was trained on, also networks that never saw a region
/// of the family that they are asked about.
pub fn examine(
    cases: u64,
    seeds: u64,
    network: &Network,
    regions: Option<&[Region]>,
    progress: &mut dyn FnMut(f64, &str),
) -> Findings {
    let numbers: Vec<u64> = (0..cases).collect();
    let mut drawn: Vec<(Case, Table)> = Vec::new();
    // A few at a time, to tell how far it is.
    for some in numbers.chunks(8) {
        progress(0.9 * some[0] as f64 / cases as f64, "simulating every configuration");
        drawn.extend(par::map(0..some.len(), |at| {
            let number = some[at];
            let case = Case::held_out(number);
            let table = case.table(FIRST_SEED + number * 1_000, seeds);
            (case, table)
        }));
    }
    progress(0.9, "replaying the policies");
    let opinion = |network: &Network, table: &Table| Some(prior(&network.forward(&table.features).out));
    let judge = |beginning: &dyn Fn(&Case, &Table) -> Beginning| -> Vec<(&Table, Verdict)> {
        drawn
            .iter()
            .map(|(case, table)| (table, replay(table, beginning(case, table), INVOCATIONS, ORDERS)))
            .collect()
    };
    let bandit = judge(&|_, _| Beginning { prior: Prior::UNKNOWN, opinion: None });
    let mut scores = vec![
        ("no opinion", score(&judge(&|_, _| Beginning { prior: NONE, opinion: None }))),
        ("bandit", score(&bandit)),
        (
            "learned",
            score(&judge(&|_, table| Beginning { prior: Prior::UNKNOWN, opinion: opinion(network, table) })),
        ),
    ];
    if let Some(regions) = regions {
        let others = FAMILIES.map(|family| -> Vec<Region> {
            regions.iter().filter(|region| FAMILIES[region.family] != family).cloned().collect()
        });
        let trained: Vec<(Prior, Network)> = par::map(0..others.len(), |at| {
            let others = &others[at];
            (unknown(others), train(others, Plan::default(), &mut |_| {}))
        });
        let of =
            |case: &Case| &trained[FAMILIES.iter().position(|&family| family == case.workload).unwrap_or(0)];
        scores.push((
            "bandit, family unseen",
            score(&judge(&|case, _| Beginning { prior: of(case).0, opinion: None })),
        ));
        scores.push((
            "learned, family unseen",
            score(&judge(&|case, table| Beginning {
                prior: of(case).0,
                opinion: opinion(&of(case).1, table),
            })),
        ));
    }
    let total =
        |arm: usize| drawn.iter().map(|(_, table)| table.ratios()[arm].ln()).sum::<f64>() / cases as f64;
    let single = (0..ARMS).min_by(|&a, &b| total(a).total_cmp(&total(b))).expect("there are arms");
    let beside = |counts: &dyn Fn(&Case) -> bool| {
        let chosen: Vec<_> = drawn.iter().zip(&bandit).filter(|((case, _), _)| counts(case)).collect();
        let log = |order: usize| {
            let of = |((_, table), (_, verdict)): &(&(Case, Table), &(&Table, Verdict))| {
                (verdict.total[order] / table.ratios()[single]).ln()
            };
            chosen.iter().map(of).sum::<f64>() / chosen.len().max(1) as f64
        };
        interval(&(0..ORDERS as usize).map(log).collect::<Vec<_>>()).map(f64::exp)
    };
    let is_layers = |case: &Case| matches!(case.workload, Workload::Layers | Workload::PlacedLayers);
    let worst_single =
        drawn.iter().map(|(_, table)| table.ratios()[single] / table.best()).fold(0.0, f64::max);
    let worst_bandit = bandit.iter().map(|(_, verdict)| verdict.last_regret()).fold(0.0, f64::max);
    progress(0.97, "the service");
    Findings {
        scores,
        single: (CONFIGURATIONS[single].0, total(single).exp()),
        beside_single: [beside(&|_| true), beside(&is_layers)],
        worst_regret: [worst_single, worst_bandit],
        service: service(),
    }
}

/// Jobs that come from outside, on 32 workers: after one run in which it learns, the bandit beside random stealing and the oracle.
fn service() -> [[f64; 3]; 2] {
    let machine = Machine::preset("2x32").expect("a preset");
    let setup = Setup { machine, workers: 32, idling: Idling::SPIN, settings: Settings::TODAY };
    let logs = par::map(0..ORDERS as usize, |order| {
        let seed = order as u64 + 1;
        let of = |policy| setup.run_policy(Workload::Service, policy, seed).percentile(990) as f64;
        let mut live = Live::new(seed);
        let mut run = |seed| setup.run(Workload::Service, &mut live, setup.idling, seed);
        run(FIRST_SEED + seed);
        let learned = run(seed).percentile(990) as f64;
        [Policy::Random, Policy::Oracle].map(|policy| (learned / of(policy)).ln())
    });
    [0, 1].map(|at| interval(&logs.iter().map(|logs| logs[at]).collect::<Vec<_>>()).map(f64::exp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exam_has_every_policy_and_the_same_answer_again() {
        let network = Network::shipped();
        let mut told = 0;
        let first = examine(8, 2, &network, None, &mut |_, _| told += 1);
        assert_eq!(
            first.scores.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["no opinion", "bandit", "learned"]
        );
        assert!(told >= 3 && first.service.iter().all(|ratio| ratio[0] > 0.2 && ratio[0] < 5.0));
        for (name, score) in &first.scores {
            assert!(score.regret[1][0] >= 1.0 && score.worst[0] < 1.2, "{name}: {score:?}");
        }
        let again = examine(8, 2, &network, None, &mut |_, _| {});
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
    }
}
