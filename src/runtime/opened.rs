//! The scopes that a worker has open, for others to find and to help with.
//!
//! A scope's tasks are in its own queue (`task/scope.rs`). Whoever is without work looks at the scopes of all workers, each in its turn,
//! and keeps the beat as with joins: a scope that is over within 2 µs is never shared, and a look in vain is repeated after twice the
//! time. Nothing is left behind when a scope ends. Model: `loom-tests/tests/scope.rs`.

use std::sync::Arc;

use super::worker::WorkerThread;
use crate::heartbeat::rate::Rule;
use crate::sync::{left_out, lock, ticks, AtomicU64, Mutex, Ordering, HAS_TIME};
use crate::task::scope::Shared;

/// The open scopes of one worker, alone on their cache lines: thieves lock them, and its worker writes what is beside them.
#[repr(align(128))]
pub(crate) struct Opened {
    /// When the oldest of them was opened, ticks, at least 1; 0 when there is none.
    oldest: AtomicU64,
    /// The oldest first.
    scopes: Mutex<Vec<Arc<Shared>>>,
}

/// What a worker without work remembers of one that it looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// Which scope was the oldest.
    oldest: u64,
    at: u64,
    /// How long to wait until the next look.
    patience: u64,
    /// How often it found one: each of several gets its turn, for the oldest may never run out of tasks.
    turn: usize,
}

impl Opened {
    pub(super) fn new() -> Self {
        Self { oldest: AtomicU64::new(0), scopes: Mutex::new(Vec::new()) }
    }

    /// Its worker opens a scope.
    pub(crate) fn push(&self, scope: &Arc<Shared>) {
        let mut scopes = lock(&self.scopes);
        scopes.push(scope.clone());
        if scopes.len() == 1 {
            // Relaxed: before it sleeps, a worker looks between fences.
            self.oldest.store(scope.opened_at().max(1), Ordering::Relaxed);
        }
    }

    /// The scope that its worker opened last is over.
    pub(crate) fn pop(&self) {
        let mut scopes = lock(&self.scopes);
        let last = scopes.pop();
        if scopes.is_empty() {
            self.oldest.store(0, Ordering::Relaxed);
        }
        drop(scopes);
        drop(last);
    }

    /// Whether a task waits in any of them.
    pub(super) fn has_tasks(&self) -> bool {
        // Relaxed: who asks before it sleeps has made a fence, and so has who pushed a task; see `Shared::publish`.
        self.oldest.load(Ordering::Relaxed) != 0
            && !left_out!("scope_second_look")
            && lock(&self.scopes).iter().any(|scope| !scope.is_idle())
    }

    /// A scope that has a task and has been open for long enough, if it is time to look again; any that has one for who `hurries`.
    fn find(&self, look: &mut Look, rule: &Rule, hurries: bool) -> Option<Arc<Shared>> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        if oldest == 0 {
            return None;
        }
        let now = ticks();
        // A clock that goes back makes a scope old.
        let is_ripe = |since: u64| hurries || now.wrapping_sub(since) >= rule.visible;
        if oldest != look.oldest {
            *look = Look { oldest, turn: look.turn, ..Look::default() };
        }
        if !is_ripe(oldest) || !hurries && now.wrapping_sub(look.at) < look.patience {
            return None;
        }
        let is_wanted = |scope: &&Arc<Shared>| is_ripe(scope.opened_at()) && !scope.is_idle();
        let scopes = lock(&self.scopes);
        let wanted = scopes.iter().filter(is_wanted);
        let found = match wanted.clone().count() {
            0 => None,
            count => wanted.clone().nth(look.turn % count).cloned(),
        };
        drop(scopes);
        look.turn = look.turn.wrapping_add(usize::from(found.is_some()));
        look.at = now;
        look.patience = if found.is_some() { 0 } else { (look.patience * 2).clamp(rule.visible, rule.beat) };
        found
    }
}

impl WorkerThread {
    /// A scope that could use this worker's help: one of its own, or another worker's.
    pub(super) fn find_scope(&self) -> Option<Arc<Shared>> {
        let (peers, rule) = (&self.registry.peers, &self.registry.terms.rule);
        // Who leaves looks for the last time. Where no time passes there is none to wait for.
        let is_last = HAS_TIME && self.registry.sleep().is_terminating();
        let mut thief = self.thief.borrow_mut();
        // Each worker's scopes come first in their turn, for those of one may never run out of tasks.
        let first = self.index + self.searches.get() as usize / peers.len();
        let mut all = (0..peers.len()).map(|step| first.wrapping_add(step) % peers.len());
        all.find_map(|index| {
            peers[index].opened.find(thief.look_at_scopes(index), rule, is_last || index == self.index)
        })
    }
}
