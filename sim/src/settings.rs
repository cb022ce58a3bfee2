//! What holds for a whole parallel region, and who chooses it: the third level of `policy.md`.
//!
//! The six configurations are those that a learned policy picks from. A [`Chooser`] is asked when a region begins and told how long it
//! took when it ends; it sees nothing else, as in the runtime.

use upbeat::simulation::{self, Configuration, ARMS};

use crate::program::Region;

pub use upbeat::simulation::Placement;

/// When busy workers make tasks public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// When somebody asks, or has nothing to do: the runtime's rules. Tasks are shared that last so long, ns.
    OnRequest(u64),
    /// The oldest one so often, ns, whether anybody wants it or not: the heartbeat of Acar et al. (PLDI 2018).
    Timer(u64),
}

impl Sharing {
    /// Its time, ns.
    pub fn beat(self) -> u64 {
        match self {
            Self::OnRequest(beat) | Self::Timer(beat) => beat,
        }
    }
}

/// Whom a thief tries first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `upbeat::Stealing::Nearest`.
    Nearest,
    /// `upbeat::Stealing::Random`.
    Random,
    /// The next worker, and so on round.
    RoundRobin,
    /// Whom it last stole from, then at random.
    LastVictim,
    /// All deques are seen at once: what no thief can know. A bound, not a policy.
    Oracle,
}

/// What holds for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When tasks become public.
    pub sharing: Sharing,
    /// Whether what becomes public goes to the node that has its data, rather than staying until somebody takes it.
    pub push: bool,
    /// How long an idle worker looks at its own node only, ns.
    pub patience: u64,
    /// Whom thieves try first.
    pub order: Order,
    /// Where loops begin.
    pub placement: Placement,
    /// The most tasks that a thief takes at once; never more than half, rounded up.
    pub batch: u32,
}

impl Settings {
    /// What the runtime does today.
    pub const TODAY: Self = Self::of(&simulation::CONFIGURATIONS[0]);

    /// What the runtime's workers would do under a configuration of the learned policy.
    pub const fn of(configuration: &Configuration) -> Self {
        let Configuration { share_after, push, patience, placement, batch, .. } = *configuration;
        Self {
            sharing: Sharing::OnRequest(share_after as u64),
            push,
            patience: patience as u64,
            order: Order::Nearest,
            placement,
            batch,
        }
    }
}

/// The six configurations of the learned policy, by name. The first one is the default.
pub const CONFIGURATIONS: [(&str, Settings); ARMS] = {
    let mut all = [("", Settings::TODAY); ARMS];
    let mut arm = 0;
    while arm < ARMS {
        let configuration = &simulation::CONFIGURATIONS[arm];
        all[arm] = (configuration.name, Settings::of(configuration));
        arm += 1;
    }
    all
};

/// What a worker without work does before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idling {
    /// How long it polls even though another one watches, ns. The runtime's workers do not: at most one of them polls.
    pub spin: u64,
    /// Whether each worker learns that time instead, by the runtime's own `src/steal/learned/hedge.rs`.
    pub learned: bool,
    /// Whether each thief that leaves work behind wakes the next sleeper, so that wakings spread like a tree; else only who leaves the
    /// watch does, one after the other.
    pub tree: bool,
    /// Whether thieves mind their node: they look at its inbox between victims too, leave it the parts of a loop that were dealt out to it
    /// for as long as the region is patient, and begin to spin when their own patience ends.
    pub near: bool,
}

impl Idling {
    /// What the runtime does today.
    pub const TODAY: Self = Self { spin: 0, learned: false, tree: false, near: false };
    /// The longest budget of `policy.md`, with wakings that spread.
    pub const SPIN: Self = Self { spin: 20_000, tree: true, ..Self::TODAY };
    /// The same, with thieves that mind their node.
    pub const NEAR: Self = Self { near: true, ..Self::SPIN };
    /// As [`NEAR`](Self::NEAR), for a time that each worker learns.
    pub const LEARNED: Self = Self { spin: 0, learned: true, ..Self::NEAR };

    /// All of them, by their names on the command line.
    pub const ALL: [(&'static str, Self); 4] =
        [("today", Self::TODAY), ("spin", Self::SPIN), ("near", Self::NEAR), ("learned", Self::LEARNED)];

    /// Spins as long as a waking takes, then sleeps: at most twice the best in hindsight (Karlin et al., 1994).
    pub fn ski_rental(wake: [u64; 2]) -> Self {
        Self { spin: wake[0] + wake[1], ..Self::SPIN }
    }
}

/// Chooses settings for regions.
pub trait Chooser {
    /// A region begins at `now`, ns.
    fn choose(&mut self, region: Region, now: u64) -> Settings;

    /// How long the region that was just chosen for may take, ns, until [`late`](Self::late) is asked.
    fn limit(&self) -> u64 {
        u64::MAX
    }

    /// A region takes longer than its limit: what it goes on with.
    fn late(&mut self, region: Region) -> Settings {
        let _ = region;
        Settings::TODAY
    }

    /// A region that was chosen for took `time` ns.
    fn ended(&mut self, _region: Region, _time: u64) {}
}

/// The same for all regions.
#[derive(Clone, Copy, Debug)]
pub struct Always(pub Settings);

impl Chooser for Always {
    fn choose(&mut self, _: Region, _: u64) -> Settings {
        self.0
    }
}
