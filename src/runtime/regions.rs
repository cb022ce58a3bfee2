//! Which settings the parallel regions of this runtime have, where it learns (`crate::steal::learned`): the table of call sites, and what each
//! worker's present region was given.
//!
//! A region's settings are looked up by who has time: a thief that looks at a busy worker reads that one's word and follows the rule that it names. A
//! worker that steals a part of a region goes on under the same word. Regions that are nested in others have those' settings.

use std::time::Duration;

use super::registry::Registry;
use super::worker::WorkerThread;
use crate::heartbeat::rate::Rule;
use crate::heartbeat::sites::Key;
use crate::observe::clock::{Clock, Reader};
use crate::observe::counters::WorkerMetrics;
use crate::steal::learned::{
    Configuration, Learning, Network, Observed, PolicyLog, Sample, Site, SiteLog, Weights, ARMS,
    CONFIGURATIONS,
};
use crate::sync::{Mutex, Ordering};
use crate::topology::{Distance, Topology};

/// Call sites that are told apart; those that share a place are the first one's, and the others have the default settings.
const PLACES: usize = 256;
/// Regions shorter than this are not learned from: what a choice can gain there is less than what making it costs.
const LEAST: Duration = Duration::from_micros(50);
/// A worker's word: the arm, and above it when the region is late, ticks. 0 for arm 0.
const ARM_BITS: u32 = 3;

/// What is learned, and from what.
pub(crate) struct Regions {
    /// The arm of all regions, where there is nothing to choose.
    always: Option<usize>,
    network: Option<Box<Network>>,
    seed: u64,
    /// How many regions of each call site are kept for the log.
    logged: usize,
    /// The arms that differ on this machine, by bits.
    open: u32,
    terms: [Terms; ARMS],
    least: u64,
    places: Box<[Place]>,
}

/// How a thief deals with a worker.
pub(crate) struct Terms {
    pub(crate) rule: Rule,
    /// How long an idle worker keeps to its own node before it looks at one of another, ticks.
    pub(super) patience: u64,
}

type Place = Mutex<Option<(Key, Site)>>;

/// A region that runs.
pub(crate) struct Region {
    pub(super) key: Key,
    /// When it began, ticks.
    pub(super) began: u64,
    /// Somebody was woken for it.
    pub(super) has_woken: bool,
    chosen: Option<Begun>,
}

/// A region that something was chosen for.
struct Begun {
    key: Key,
    arm: usize,
    /// The worker's word before.
    outer: u64,
    /// What was counted until it began, if that matters.
    before: Option<Box<Counted>>,
}

/// Sums over all workers.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// One for both ends of a region: times since the start would show how two of them differ.
    reader: Reader,
    metrics: WorkerMetrics,
    /// How long the tasks took that were stolen, ns.
    stolen: [u64; Distance::ALL.len()],
}

/// What a call site has come to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SiteMetrics {
    /// The address of the code of its closure.
    pub site: usize,
    /// Its regions by settings: their names and how many had them, the default ones first.
    pub chosen: Vec<(&'static str, u64)>,
    /// The time that was saved beside the default settings, as far as is known, s; negative if trying others has cost more than it gained.
    pub saved: f64,
    /// Times that what was learned was found to be out of date.
    pub changes: u32,
}

impl Regions {
    /// `None` where nothing is learned.
    pub(crate) fn new(
        learning: Learning,
        network: Option<Box<Network>>,
        base: &Rule,
        clock: &Clock,
        topology: &Topology,
        seed: u64,
    ) -> Option<Self> {
        let network = match learning {
            Learning::Static => return None,
            Learning::Bandit | Learning::Always(_) => None,
            Learning::Learned => Some(network.unwrap_or_else(|| Weights::shipped().into_network())),
        };
        let ticks = |ns: u32| clock.ticks(Duration::from_nanos(u64::from(ns)));
        let nodes = topology.nodes().len();
        // What of a configuration is carried out here; the rest is for who places loops and data.
        let effect = |configuration: &Configuration| {
            (configuration.share_after, if nodes > 1 { configuration.patience } else { 0 })
        };
        let effects = CONFIGURATIONS.map(|configuration| effect(&configuration));
        let is_new = |arm: &usize| !effects[..*arm].contains(&effects[*arm]);
        Some(Self {
            always: if let Learning::Always(arm) = learning { Some(arm.min(ARMS - 1)) } else { None },
            network,
            seed,
            logged: 0,
            open: (0..ARMS).filter(is_new).map(|arm| 1 << arm).sum(),
            terms: effects.map(|(share_after, patience)| Terms {
                rule: Rule {
                    visible: ticks(share_after).min(base.beat),
                    coarse: base.coarse.max(ticks(share_after)),
                    beat: base.beat,
                },
                patience: ticks(patience),
            }),
            least: clock.ticks(LEAST),
            places: (0..PLACES).map(|_| Mutex::new(None)).collect(),
        })
    }

    /// Keeps the first `regions` regions of each call site for [`log`](Self::log).
    pub(crate) fn logging(self, regions: usize) -> Self {
        Self { logged: regions, ..self }
    }

    /// How a thief deals, at `now`, with a worker of this word.
    pub(super) fn terms(&self, word: u64, now: u64) -> &Terms {
        &self.terms[arm(word, now)]
    }

    fn site_seed(&self, key: Key) -> u64 {
        self.seed ^ key.hash()
    }

    fn place(&self, key: Key) -> &Place {
        &self.places[key.hash() as usize % PLACES]
    }

    /// A region begins at `now` on worker `index`, whose regions have lasted `usually` ticks. `None` when it has the default settings and
    /// nothing is learned from it: it is short, or its call site is being looked at by somebody else.
    fn begin(
        &self,
        registry: &Registry,
        index: usize,
        key: Key,
        usually: Option<u64>,
        now: u64,
    ) -> Option<Begun> {
        if let Some(arm) = self.always {
            registry.peers[index].counters.region.store(u64::MAX << ARM_BITS | arm as u64, Ordering::Relaxed);
            return None;
        }
        if usually.is_none_or(|usually| usually < self.least) {
            return None;
        }
        let mut place = self.place(key).try_lock().ok()?;
        let (found, site) = place.get_or_insert_with(|| {
            let mut site = Site::new(self.site_seed(key));
            site.keep_log(self.logged);
            (key, site)
        });
        if *found != key {
            return None;
        }
        let choice = site.choose(self.open);
        let before = (site.wants_counts() || site.wants_work())
            .then(|| Box::new(Counted::of(registry, registry.clock.reader(), now)));
        let word = &registry.peers[index].counters.region;
        let outer = word.load(Ordering::Relaxed);
        let until = now.saturating_add(choice.limit.exp() as u64).min(u64::MAX >> ARM_BITS);
        word.store(
            if choice.arm == 0 { 0 } else { until << ARM_BITS | choice.arm as u64 },
            Ordering::Relaxed,
        );
        Some(Begun { key, arm: choice.arm, outer, before })
    }

    /// It ended at `now`, after `time` ticks. Who does not get the place tells nothing.
    fn end(&self, registry: &Registry, begun: &Begun, time: u64, now: u64) {
        let counted =
            begun.before.as_ref().map(|before| Counted::of(registry, before.reader, now).since(before));
        let Ok(mut place) = self.place(begun.key).try_lock() else { return };
        let Some((_, site)) = place.as_mut().filter(|(key, _)| *key == begun.key) else { return };
        let sample = Sample {
            log_time: (time.max(1) as f32).ln(),
            log_work: counted.map_or(0.0, |counted| (counted.work(time).max(1) as f32).ln()),
        };
        let observed =
            counted.filter(|_| site.wants_counts()).map(|counted| counted.observed(registry, time));
        site.ended(begun.arm, sample, observed, self.network.as_deref());
    }

    /// What was chosen so far, and why; `None` if nobody asked for it. Without call sites where a region begins or ends at this moment.
    pub(crate) fn log(&self) -> Option<PolicyLog> {
        let of = |(key, site): &(Key, Site)| SiteLog {
            address: key.address(),
            seed: self.site_seed(*key),
            events: site.log().to_vec(),
        };
        (self.logged > 0).then(|| PolicyLog {
            open: self.open,
            weights: self.network.as_ref().map(|network| network.hash()),
            sites: self.places.iter().filter_map(|place| place.try_lock().ok()?.as_ref().map(of)).collect(),
        })
    }

    /// What each call site has come to, most regions first; without those where a region begins or ends at this moment, for whom nobody waits: in a
    /// child of `fork` they would never be done.
    pub(crate) fn metrics(&self, reader: &Reader) -> Vec<SiteMetrics> {
        let of = |(key, site): &(Key, Site)| SiteMetrics {
            site: key.address(),
            chosen: CONFIGURATIONS.iter().map(|known| known.name).zip(site.chosen()).collect(),
            saved: site.saved().signum() * reader.length(site.saved().abs() as u64) as f64 / 1e9,
            changes: site.changes(),
        };
        let mut all: Vec<SiteMetrics> =
            self.places.iter().filter_map(|place| place.try_lock().ok()?.as_ref().map(of)).collect();
        let regions = |site: &SiteMetrics| site.chosen.iter().map(|(_, count)| count).sum::<u64>();
        all.sort_by_key(|site| std::cmp::Reverse(regions(site)));
        all
    }
}

/// The arm that a word names at `now`: arm 0 once the region is late.
fn arm(word: u64, now: u64) -> usize {
    let arm = (word & ((1 << ARM_BITS) - 1)) as usize;
    if now <= word >> ARM_BITS && arm < ARMS {
        arm
    } else {
        0
    }
}

impl Counted {
    fn of(registry: &Registry, reader: Reader, now: u64) -> Self {
        let mut sum = Self { reader, metrics: WorkerMetrics::default(), stolen: Default::default() };
        for peer in &registry.peers {
            sum.metrics = sum.metrics.plus(&peer.counters.read(now, &reader));
            for (sum, stolen) in sum.stolen.iter_mut().zip(&peer.counters.stolen) {
                *sum += reader.length(stolen.load(Ordering::Relaxed));
            }
        }
        sum
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            reader: self.reader,
            metrics: self.metrics.since(&before.metrics),
            stolen: std::array::from_fn(|at| self.stolen[at].saturating_sub(before.stolen[at])),
        }
    }

    /// The time that all workers spent on a region of `time` ticks, ns. It is at least its own.
    fn work(&self, time: u64) -> u64 {
        (self.metrics.busy.as_nanos() as u64).max(self.reader.length(time))
    }

    fn observed(&self, registry: &Registry, time: u64) -> Observed {
        let WorkerMetrics { steals, failed_steals, beats, promotions, parks, busy, .. } = self.metrics;
        Observed {
            workers: registry.peers.len() as u32,
            nodes: registry.topology.nodes().len() as u32,
            time: self.reader.length(time),
            busy: busy.as_nanos() as u64,
            steals,
            stolen: self.stolen,
            failed: failed_steals,
            answers: beats,
            promotions,
            parks,
            variance: 0.0,
        }
    }
}

impl WorkerThread {
    /// A region of call site `key` begins here at `now`.
    pub(crate) fn begin_region(&self, key: Key, now: u64) -> Region {
        let registry = &*self.registry;
        let choose =
            |regions: &Regions| regions.begin(registry, self.index, key, registry.sites.usual(key), now);
        Region { key, began: now, has_woken: false, chosen: registry.regions.as_ref().and_then(choose) }
    }

    /// It ended at `now`. One that panicked did who knows what part of its work, and teaches nothing.
    pub(crate) fn end_region(&self, region: &Region, now: u64, panicked: bool) {
        let (registry, time) = (&*self.registry, now.saturating_sub(region.began));
        registry.sites.record(region.key, time, registry.sleep().wake_latency(), region.has_woken);
        if let (Some(regions), Some(chosen)) = (&registry.regions, &region.chosen) {
            registry.peers[self.index].counters.region.store(chosen.outer, Ordering::Relaxed);
            if !panicked {
                regions.end(registry, chosen, time, now);
            }
        }
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;
    use crate::topology::Machine;

    fn regions(machine: &str) -> Regions {
        let topology = Topology::dealt(&Machine::synthetic(machine).unwrap(), 4);
        let clock = Clock::new();
        let rule = Rule::new(&clock, Duration::from_micros(100));
        Regions::new(Learning::Bandit, None, &rule, &clock, &topology, 1).unwrap()
    }

    #[test]
    fn arms_that_come_to_the_same_are_closed_and_patience_takes_several_nodes() {
        assert_eq!(regions("core:4").open, 0b10_0011);
        assert_eq!(regions("node:2 core:2").open, 0b10_1011);
        assert!(regions("core:4").terms.iter().all(|terms| terms.patience == 0));
        assert!(regions("node:2 core:2").terms[3].patience > 0);
    }

    #[test]
    fn a_late_region_and_a_word_of_nonsense_have_arm_0() {
        let word = 1_000 << ARM_BITS | 3;
        assert_eq!([arm(word, 0), arm(word, 1_000), arm(word, 1_001)], [3, 3, 0]);
        assert_eq!([arm(0, 5), arm(u64::MAX, 5), arm(u64::MAX - 1, 5)], [0; 3]);
    }
}
