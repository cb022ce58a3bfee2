//! What is learned at one call site, and the log from which it can be repeated.

use std::ffi::OsString;

use super::bandit::{Bandit, Choice, Prior, Sample};
use super::configuration::ARMS;
use super::features::Observed;
use super::network::{prior, Network};
use super::numbers::exp;
use crate::error::BuildError;
use crate::steal::Generator;

/// How a runtime finds the settings of its parallel regions; [`Builder::learning`](crate::Builder::learning) takes it.
///
/// A region is what a call from outside runs in the runtime ([`Runtime::install`](crate::Runtime::install), [`join`](crate::join), a loop). Regions are told
/// apart by the code that makes them, and one shorter than 50 µs is never learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Learning {
    /// All regions have the same settings: nothing is learned. The default.
    #[default]
    Static,
    /// Call sites try other settings than the default ones, within a budget of 5 % of their time, and keep to those that are faster.
    Bandit,
    /// The same, beginning with what a small network expects of a site after its first two regions.
    Learned,
    /// All regions have the settings of this number; for measurements.
    #[doc(hidden)]
    Always(usize),
}

impl Learning {
    /// `UPBEAT_POLICY`, if it is set and not empty; else the default.
    pub(crate) fn from_environment(variable: Option<OsString>) -> Result<Self, BuildError> {
        let Some(value) = variable.filter(|value| !value.is_empty()) else { return Ok(Self::default()) };
        match value.to_str().map(str::trim) {
            Some("static") => Ok(Self::Static),
            Some("bandit") => Ok(Self::Bandit),
            Some("learned") => Ok(Self::Learned),
            _ => Err(BuildError::Policy { value: value.to_string_lossy().into_owned() }),
        }
    }
}

/// What happened at a site, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A region began with this arm.
    Chosen(usize),
    /// A region of this arm was over; what was counted meanwhile, if somebody did.
    Ended(usize, Sample, Option<Observed>),
}

/// One call site.
#[derive(Clone, Debug)]
pub struct Site {
    bandit: Bandit,
    generator: Generator,
    /// Regions by arm.
    chosen: [u64; ARMS],
    /// Time that was saved beside arm 0, in the unit of the samples' times.
    saved: f64,
    log: Vec<Event>,
    /// How many more regions' beginnings are kept.
    left: usize,
}

impl Site {
    /// A site of which nothing is known. The same seed and the same samples give the same choices.
    pub fn new(seed: u64) -> Self {
        Self {
            bandit: Bandit::new(Prior::UNKNOWN),
            generator: Generator::new(seed),
            chosen: [0; ARMS],
            saved: 0.0,
            log: Vec::new(),
            left: 0,
        }
    }

    /// From now on what happens is kept for [`log`](Self::log), up to the beginning of the last of so many regions.
    pub fn keep_log(&mut self, regions: usize) {
        self.left = regions;
    }

    /// What happened since [`keep_log`](Self::keep_log).
    pub fn log(&self) -> &[Event] {
        &self.log
    }

    /// A region begins; `open` names the arms that may be chosen by bits.
    pub fn choose(&mut self, open: u32) -> Choice {
        let choice = self.bandit.choose(open, &mut self.generator);
        self.note(Event::Chosen(choice.arm));
        choice
    }

    /// Whether the next sample should come with what the workers counted.
    pub fn wants_counts(&self) -> bool {
        self.bandit.awaits_opinion()
    }

    /// Whether samples should come with the work; otherwise it may be any constant.
    pub fn wants_work(&self) -> bool {
        self.bandit.varies()
    }

    /// A region of `arm` is over. With a `network`, the last of arm 0's first regions gives its opinion.
    pub fn ended(
        &mut self,
        arm: usize,
        sample: Sample,
        observed: Option<Observed>,
        network: Option<&Network>,
    ) {
        self.note(Event::Ended(arm, sample, observed));
        if let Some(chosen) = self.chosen.get_mut(arm) {
            *chosen += 1;
        }
        let awaited_opinion = self.bandit.awaits_opinion();
        if let Some(faster) = self.bandit.ended(arm, sample) {
            self.saved += f64::from(exp(sample.log_time)) * f64::from(exp(faster) - 1.0);
        }
        if let (true, false, Some(observed), Some(network)) =
            (awaited_opinion, self.bandit.is_first(), observed, network)
        {
            let observed = Observed { variance: self.bandit.variance(), ..observed };
            self.bandit.expect(prior(&network.forward(&observed.features()).out));
        }
    }

    /// Regions by arm.
    pub fn chosen(&self) -> [u64; ARMS] {
        self.chosen
    }

    /// Time that other arms than 0 have saved, as far as is known; negative if they have cost some.
    pub fn saved(&self) -> f64 {
        self.saved
    }

    /// Times that what was learned was found to be out of date.
    pub fn changes(&self) -> u32 {
        self.bandit.changes()
    }

    fn note(&mut self, event: Event) {
        if self.left > 0 {
            self.left -= usize::from(matches!(event, Event::Chosen(_)));
            self.log.push(event);
        }
    }

    /// Repeats a log that was kept from the beginning; the index of the first event that comes out differently, if one does.
    ///
    /// # Errors
    /// That index.
    pub fn replay(seed: u64, open: u32, network: Option<&Network>, log: &[Event]) -> Result<Self, usize> {
        let mut site = Self::new(seed);
        for (at, event) in log.iter().enumerate() {
            match *event {
                Event::Chosen(arm) if site.choose(open).arm != arm => return Err(at),
                Event::Chosen(_) => {}
                Event::Ended(arm, sample, observed) => site.ended(arm, sample, observed, network),
            }
        }
        Ok(site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(site: &mut Site, regions: usize, network: Option<&Network>, time: impl Fn(usize, usize) -> f32) {
        for region in 0..regions {
            let arm = site.choose((1 << ARMS) - 1).arm;
            let observed =
                site.wants_counts().then(|| Observed { workers: 8, nodes: 2, ..Observed::default() });
            site.ended(arm, Sample { log_time: time(region, arm), log_work: 0.0 }, observed, network);
        }
    }

    /// Log times around 10 with a deviation of 3 %, the same for the same region.
    fn noisy(region: usize, faster: f32) -> f32 {
        10.0 - faster + (Generator::new(region as u64).below(2001) as f32 / 1000.0 - 1.0) * 0.05
    }

    #[test]
    fn the_fastest_arm_is_found_and_what_it_saves_is_told() {
        let mut site = Site::new(1);
        run(&mut site, 300, None, |region, arm| noisy(region, [0.0, 0.02, 0.3, -0.2, 0.1, -0.5][arm]));
        let chosen = site.chosen();
        assert!(chosen[2] > 230, "{chosen:?}");
        assert!(site.saved() > 0.2 * 300.0 * f64::from(exp(9.7)), "{}", site.saved());
    }

    /// P2: what trying costs stays within its budget where nothing is to be gained.
    #[test]
    fn trying_costs_no_more_than_a_twentieth() {
        for seed in 0..200 {
            let mut site = Site::new(seed);
            let mut spent = 0.0;
            let slower = [0.0, 0.1, 0.2, 0.3, 0.35, 0.4];
            for region in 0..100 {
                let arm = site.choose((1 << ARMS) - 1).arm;
                let time = noisy(region, -slower[arm]);
                spent += f64::from(exp(time)) / f64::from(exp(noisy(region, 0.0)));
                site.ended(arm, Sample { log_time: time, log_work: 0.0 }, None, None);
            }
            assert!(spent <= 105.0, "seed {seed}: {spent}");
        }
    }

    #[test]
    fn a_region_that_changes_is_learned_anew() {
        let mut site = Site::new(3);
        run(&mut site, 300, None, |region, arm| noisy(region, [0.0, 0.0, 0.3, 0.0, 0.0, 0.0][arm]));
        let before = site.chosen();
        run(&mut site, 400, None, |region, arm| noisy(region, [0.0, 0.0, -0.5, 0.4, 0.0, 0.0][arm]));
        let after: Vec<u64> =
            site.chosen().iter().zip(before).map(|(after, before)| after - before).collect();
        assert!(site.changes() >= 1 && after[2] < 40 && after[3] > 250, "{after:?}");
    }

    /// A neighbour on the machine slows all arms down alike, and goes away again.
    #[test]
    fn a_machine_that_changes_its_speed_leaves_the_best_arm_the_best() {
        let network = Network::shipped();
        for (network, apart) in [(None, 100), (None, 60), (Some(&network), 100), (Some(&network), 60)] {
            let mut site = Site::new(6);
            run(&mut site, 1000, network, |region, arm| {
                let speed = 0.4 * (region / apart % 2) as f32;
                noisy(region, [0.0, 0.1, -0.2, -0.2, -0.2, -0.4][arm] - speed)
            });
            assert!(site.changes() >= 5, "the changes are noticed: {}", site.changes());
            assert!(site.chosen()[1] > 800, "every {apart}: {:?}", site.chosen());
        }
    }

    /// Many callers at a time: regions that began before a change end after it.
    #[test]
    fn regions_under_way_when_a_change_is_noticed_do_no_harm() {
        let mut site = Site::new(8);
        let mut under_way = std::collections::VecDeque::new();
        for region in 0..2000 {
            under_way.push_back(site.choose((1 << ARMS) - 1).arm);
            if under_way.len() < 8 {
                continue;
            }
            let arm: usize = under_way.pop_front().expect("there are eight");
            let speed = 0.6 * (region / 200 % 2) as f32;
            let log_time = noisy(region, [0.0, 0.1, -0.2, -0.2, -0.2, -0.4][arm] - speed);
            site.ended(arm, Sample { log_time, log_work: 0.0 }, None, None);
        }
        assert!(site.changes() >= 5 && site.chosen()[1] > 1200, "{} {:?}", site.changes(), site.chosen());
    }

    /// Sizes that differ by a hundredfold hide a tenth, unless the work is known.
    #[test]
    fn the_size_of_a_region_is_told_from_the_arms_doing() {
        let mut site = Site::new(4);
        for region in 0..400_u64 {
            let arm = site.choose((1 << ARMS) - 1).arm;
            let size = Generator::new(region).below(4600) as f32 / 1000.0;
            let log_time = noisy(region as usize + 1000, [0.0, 0.1, -0.2, -0.2, -0.2, -0.2][arm]) + size;
            assert!(region < 5 || site.wants_work());
            site.ended(arm, Sample { log_time, log_work: size }, None, None);
        }
        assert!(site.chosen()[1] > 250, "{:?}", site.chosen());
    }

    #[test]
    fn a_log_repeats_the_choices_and_a_changed_one_does_not() {
        let network = Network::shipped();
        for network in [None, Some(&network)] {
            let mut site = Site::new(7);
            site.keep_log(1_000_000);
            run(&mut site, 100, network, |region, arm| noisy(region, arm as f32 / 50.0));
            let again = Site::replay(7, (1 << ARMS) - 1, network, site.log()).unwrap();
            assert_eq!(again.chosen(), site.chosen());
            let mut changed = site.log().to_vec();
            let at =
                changed.iter().rposition(|event| matches!(event, Event::Chosen(arm) if *arm != 0)).unwrap();
            changed[at] = Event::Chosen(0);
            assert_eq!(Site::replay(7, (1 << ARMS) - 1, network, &changed).unwrap_err(), at);
        }
    }

    #[test]
    fn closed_arms_are_never_chosen_and_no_number_does_harm() {
        let mut site = Site::new(5);
        let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38, -1e38];
        for region in 0..500 {
            let arm = site.choose(0b10_0010).arm;
            assert!([0, 1, 5].contains(&arm));
            let sample = Sample { log_time: bad[region % 5], log_work: bad[region / 5 % 5] };
            site.ended(arm, sample, Some(Observed::default()), None);
            // Arms that are closed would be faster.
            let log_time = noisy(region, [0.0, 0.1, 0.5, 0.5, 0.5, -0.1][arm]);
            site.ended(arm, Sample { log_time, log_work: 0.0 }, None, None);
            site.ended(99, sample, None, None);
        }
        assert!(site.chosen()[1] > 300, "and the good ones count: {:?}", site.chosen());
    }
}
