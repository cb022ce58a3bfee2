//! The baselines: whom a thief tries, what it takes, how it idles.
//!
//! Orders of victims are `upbeat::StealPolicy`, called as the runtime's workers call it; random and nearest-first are the runtime's own
//! code. A policy is an order with the settings and the idling that make it what its name says.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use upbeat::topology::Topology;
use upbeat::{Generator, Random, StealPolicy, Stealing};

use crate::machine::Machine;
use crate::settings::{Idling, Order, Settings};

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nearest first: the runtime's default, and what the others are measured by.
    Nearest,
    /// Every other worker in random order.
    Random,
    /// The next worker, and so on round.
    RoundRobin,
    /// Whom it last stole from, then at random.
    LastVictim,
    /// Nearest first, half of the victim's public tasks at once.
    StealHalf,
    /// Nearest first, spinning as long as a waking takes.
    SkiRental,
    /// The configuration that was best on other seeds.
    Tuned,
    /// Sees every deque.
    Oracle,
}

impl Policy {
    /// Every one of them.
    pub const ALL: [Policy; 8] = [
        Self::Nearest,
        Self::Random,
        Self::RoundRobin,
        Self::LastVictim,
        Self::StealHalf,
        Self::SkiRental,
        Self::Tuned,
        Self::Oracle,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::LastVictim => "last-victim",
            Self::StealHalf => "steal-half",
            Self::SkiRental => "ski-rental",
            Self::Tuned => "tuned",
            Self::Oracle => "oracle",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// The settings that it makes of `settings`.
    pub fn settings(self, settings: Settings) -> Settings {
        let order = match self {
            Self::Random => Order::Random,
            Self::RoundRobin => Order::RoundRobin,
            Self::LastVictim => Order::LastVictim,
            Self::Oracle => Order::Oracle,
            Self::Nearest | Self::StealHalf | Self::SkiRental | Self::Tuned => settings.order,
        };
        let batch = if self == Self::StealHalf { u32::MAX } else { settings.batch };
        Settings { order, batch, ..settings }
    }

    /// How its workers idle on `machine`, when the others idle so.
    pub fn idling(self, machine: &Machine, others: Idling) -> Idling {
        match self {
            Self::SkiRental => Idling::ski_rental(machine.wake),
            _ => others,
        }
    }
}

/// The next worker, and so on round.
#[derive(Clone, Copy, Debug, Default)]
struct RoundRobin;

impl StealPolicy for RoundRobin {
    fn victims(&self, thief: usize, topology: &Topology, _: &mut Generator, order: &mut Vec<usize>) {
        let workers = topology.workers();
        order.extend((1..workers).map(|step| (thief + step) % workers));
    }
}

/// Whom a thief last stole from, then the others at random.
#[derive(Debug)]
struct LastVictim(Vec<AtomicUsize>);

impl StealPolicy for LastVictim {
    fn victims(&self, thief: usize, topology: &Topology, generator: &mut Generator, order: &mut Vec<usize>) {
        Random.victims(thief, topology, generator, order);
        let last = self.0[thief].load(Relaxed);
        if let Some(at) = order.iter().position(|&victim| victim == last) {
            order[..=at].rotate_right(1);
        }
    }
}

/// The orders of all thieves.
#[derive(Debug)]
pub(crate) struct Orders(LastVictim);

impl Orders {
    pub(crate) fn new(workers: usize) -> Self {
        Self(LastVictim((0..workers).map(|_| AtomicUsize::new(usize::MAX)).collect()))
    }

    /// Fills `into`; an order that names nobody or somebody who is none is replaced, as the runtime does.
    pub(crate) fn draw(
        &self,
        order: Order,
        thief: usize,
        topology: &Topology,
        generator: &mut Generator,
        into: &mut Vec<usize>,
    ) {
        into.clear();
        let policy: &dyn StealPolicy = match order {
            Order::Random => &Stealing::Random,
            Order::RoundRobin => &RoundRobin,
            Order::LastVictim => &self.0,
            Order::Nearest | Order::Oracle => &Stealing::Nearest,
        };
        policy.victims(thief, topology, generator, into);
        debug_assert!(into.iter().all(|&victim| victim != thief && victim < topology.workers()));
    }

    /// `thief` stole from `victim`.
    pub(crate) fn stole(&self, thief: usize, victim: usize) {
        self.0 .0[thief].store(victim, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_names_every_other_worker_once() {
        let topology = Topology::flat(9);
        let orders = Orders::new(9);
        let mut generator = Generator::new(3);
        let mut order = Vec::new();
        orders.stole(4, 7);
        for kind in [Order::Nearest, Order::Random, Order::RoundRobin, Order::LastVictim] {
            orders.draw(kind, 4, &topology, &mut generator, &mut order);
            match kind {
                Order::LastVictim => assert_eq!(order[0], 7),
                Order::RoundRobin => assert_eq!(order[0], 5),
                _ => {}
            }
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 5, 6, 7, 8], "{kind:?}");
        }
    }

    #[test]
    fn names_lead_back_to_policies() {
        for policy in Policy::ALL {
            assert_eq!(Policy::named(policy.name()), Some(policy));
        }
        assert_eq!(Policy::named("best"), None);
    }
}
