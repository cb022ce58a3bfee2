//! What the runtime promises of stealing policies: a user's own decides whom a thief asks, and a wrong one harms nobody.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use support::{assert_passed, rerun, role, stderr, until, watched};
use upbeat::topology::Topology;
use upbeat::{Generator, Runtime, StealPolicy, Stealing};

/// Sends every thief to worker 0, who asks worker 1.
struct ToTheFirst(Arc<AtomicUsize>);

impl StealPolicy for ToTheFirst {
    fn victims(&self, thief: usize, _: &Topology, _: &mut Generator, order: &mut Vec<usize>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        order.push(usize::from(thief == 0));
    }
}

/// Both sides of a join on a worker of `runtime` run at once.
fn shares_a_join(runtime: &Runtime) {
    let begun = AtomicBool::new(false);
    runtime.join(|| until(|| begun.load(Ordering::Acquire)), || begun.store(true, Ordering::Release));
}

#[test]
fn a_policy_of_ones_own_is_asked_and_leads_to_the_work() {
    watched("a policy of one's own", || {
        let asked = Arc::new(AtomicUsize::new(0));
        let runtime = Runtime::builder().workers(3).stealing(ToTheFirst(asked.clone())).build().unwrap();
        shares_a_join(&runtime);
        assert!(asked.load(Ordering::Relaxed) > 0);
        let stolen: u64 = runtime.metrics().total().steals.iter().sum();
        assert!(stolen > 0);
    });
}

#[test]
fn a_policy_may_be_chosen_at_run_time() {
    for choice in [Stealing::Random, Stealing::Nearest] {
        let policy: Box<dyn StealPolicy> = Box::new(choice);
        let runtime = Runtime::builder().workers(2).stealing(policy).build().unwrap();
        assert_eq!(runtime.join(|| 1, || 2), (1, 2));
    }
}

/// Names workers that do not exist.
struct Lost;

impl StealPolicy for Lost {
    fn victims(&self, _: usize, topology: &Topology, _: &mut Generator, order: &mut Vec<usize>) {
        order.push(topology.workers());
    }
}

/// Fault 36. Work is shared all the same, and the warning comes once, in a child whose stderr nobody else writes to.
#[test]
fn a_policy_that_is_wrong_is_replaced_with_one_warning() {
    if role().is_some() {
        let runtime = Runtime::builder().workers(2).stealing(Lost).build().unwrap();
        (0..10).for_each(|_| shares_a_join(&runtime));
        return;
    }
    let child = rerun("a_policy_that_is_wrong_is_replaced_with_one_warning", "wrong").output().unwrap();
    assert_passed(&child);
    let said = stderr(&child);
    assert_eq!(said.matches("upbeat: the stealing policy sent worker").count(), 1, "{said}");
}
