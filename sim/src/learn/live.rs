//! The learned policy while a simulation runs: a site for each place where the program's regions begin.

use std::collections::HashMap;

use upbeat::simulation::{Sample, Site, ARMS};

use crate::program::Region;
use crate::settings::{Chooser, Settings, CONFIGURATIONS};

/// Chooses as the runtime does under `UPBEAT_POLICY=bandit`. Sizes of regions are what the program says.
pub struct Live {
    seed: u64,
    /// With the arm of each site's region that was chosen for last. Of regions that overlap the last one decides, as the engine has it.
    sites: HashMap<u32, (Site, usize)>,
    limit: u64,
}

impl Live {
    /// Knows nothing yet; keep it for the next run, and it goes on learning.
    pub fn new(seed: u64) -> Self {
        Self { seed, sites: HashMap::new(), limit: u64::MAX }
    }

    /// Regions by arm, of all sites.
    pub fn chosen(&self) -> [u64; ARMS] {
        let mut sum = [0; ARMS];
        for (site, _) in self.sites.values() {
            sum.iter_mut().zip(site.chosen()).for_each(|(sum, chosen)| *sum += chosen);
        }
        sum
    }
}

impl Chooser for Live {
    fn choose(&mut self, region: Region, _: u64) -> Settings {
        let seed = self.seed ^ u64::from(region.site);
        let (site, arm) = self.sites.entry(region.site).or_insert_with(|| (Site::new(seed), 0));
        let choice = site.choose((1 << ARMS) - 1);
        *arm = choice.arm;
        self.limit = f64::from(choice.limit).exp() as u64;
        CONFIGURATIONS[choice.arm].1
    }

    fn limit(&self) -> u64 {
        self.limit
    }

    fn ended(&mut self, region: Region, time: u64) {
        let Some((site, arm)) = self.sites.get_mut(&region.site) else { return };
        let sample = Sample { log_time: (time.max(1) as f64).ln() as f32, log_work: 0.0 };
        site.ended(*arm, sample, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{simulate, Plan};
    use crate::machine::Machine;
    use crate::program::walk;
    use crate::settings::{Always, Idling};
    use crate::workloads::{Shape, Workload};

    #[test]
    fn a_run_that_learns_loses_no_task_comes_again_and_learns() {
        let machine = Machine::preset("2x32").unwrap();
        let run = |chooser: &mut dyn Chooser, seed| {
            let program = Workload::Layers.program(Shape { workers: 16, nodes: machine.nodes, seed });
            let plan = Plan { machine: &machine, workers: 16, idling: Idling::SPIN, seed };
            let outcome = simulate(&*program, plan, chooser);
            assert_eq!(outcome.leaves, walk(&*program).leaves);
            outcome.makespan
        };
        let learn = || {
            let mut live = Live::new(1);
            let times: Vec<u64> = (1..=12).map(|seed| run(&mut live, seed)).collect();
            (times, live.chosen())
        };
        let (times, chosen) = learn();
        assert_eq!((times.clone(), chosen), learn());
        // The best arm deals loops out, and halves these layers' time; most of that is gained within the first run.
        let default = run(&mut Always(CONFIGURATIONS[0].1), 12);
        assert!(chosen[4] > 40 && times[11] * 10 < default * 7, "{default}, {chosen:?} {times:?}");
    }
}
