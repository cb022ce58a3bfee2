//! Regions whose settings are learned: what is chosen can be seen, is the default where nothing is learned, and never changes a result.

mod support;

use std::time::{Duration, Instant};

use upbeat::topology::Machine;
use upbeat::{BuildError, Learning, PolicyLog, Runtime, SiteMetrics, Weights, WeightsError};

fn runtime(learning: Learning) -> Runtime {
    Runtime::builder().workers(3).learning(learning).build().unwrap()
}

fn sum(worker: &upbeat::Worker, numbers: &[u64]) -> u64 {
    if numbers.len() <= 64 {
        return numbers.iter().map(|number| number * number % 1_009).sum();
    }
    let (left, right) = numbers.split_at(numbers.len() / 2);
    let (left, right) = worker.join(|w| sum(w, left), |w| sum(w, right));
    left + right
}

/// Regions of about a millisecond from one call site, until `enough` says so.
fn regions(runtime: &Runtime, enough: impl Fn(&[SiteMetrics]) -> bool) -> Vec<SiteMetrics> {
    let numbers: Vec<u64> = (0..400_000).collect();
    let expected = numbers.iter().map(|number| number * number % 1_009).sum::<u64>();
    let begun = Instant::now();
    loop {
        assert_eq!(runtime.install(|worker| sum(worker, &numbers)), expected);
        let sites = runtime.metrics().sites;
        if enough(&sites) {
            return sites;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{sites:?}");
    }
}

fn count(site: &SiteMetrics) -> u64 {
    site.chosen.iter().map(|(_, count)| count).sum()
}

#[test]
fn what_was_chosen_is_told_call_site_by_call_site() {
    for learning in [Learning::Bandit, Learning::Learned] {
        let runtime = runtime(learning);
        let sites = regions(&runtime, |sites| sites.first().is_some_and(|site| count(site) >= 60));
        assert_eq!(sites.len(), 1, "{sites:?}");
        let names: Vec<&str> = sites[0].chosen.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["on-request", "eager", "push", "push-patient", "placed", "lazy"]);
        assert!(sites[0].chosen[0].1 >= 2, "the default settings come first: {sites:?}");
        // On one memory node these are the same as others.
        assert_eq!([2, 3, 4].map(|arm: usize| sites[0].chosen[arm].1), [0; 3], "{sites:?}");
        assert!(sites[0].saved.is_finite());
    }
}

#[test]
fn other_settings_are_tried() {
    let runtime = runtime(Learning::Bandit);
    let tried = |site: &SiteMetrics| count(site) - site.chosen[0].1;
    let sites = regions(&runtime, |sites| sites.first().is_some_and(|site| tried(site) >= 1));
    let tried = tried(&sites[0]);
    assert!(tried >= 1 && tried < count(&sites[0]), "{sites:?}");
}

#[test]
fn closures_that_are_handed_over_are_regions_too() {
    let runtime =
        Runtime::builder().workers(2).enrol_callers(false).learning(Learning::Bandit).build().unwrap();
    let sites = regions(&runtime, |sites| sites.first().is_some_and(|site| count(site) >= 10));
    assert_eq!(sites.len(), 1, "{sites:?}");
}

#[test]
fn several_nodes_have_patience_to_choose() {
    let machine = Machine::synthetic("node:2 core:2").unwrap();
    let runtime = Runtime::builder().topology(machine).workers(4).learning(Learning::Bandit).build().unwrap();
    let sites = regions(&runtime, |sites| sites.first().is_some_and(|site| count(site) >= 60));
    assert_eq!([2, 4].map(|arm: usize| sites[0].chosen[arm].1), [0; 2], "{sites:?}");
}

#[test]
fn nothing_is_learned_unless_it_is_asked_for_nor_of_short_regions() {
    let numbers: Vec<u64> = (0..400_000).collect();
    let default = runtime(Learning::Static);
    for _ in 0..20 {
        default.install(|worker| sum(worker, &numbers));
    }
    assert_eq!(default.metrics().sites, []);
    let bandit = runtime(Learning::Bandit);
    for _ in 0..200 {
        bandit.install(|worker| std::hint::black_box(worker.index()));
    }
    // One that the system interrupts may look long.
    assert!(bandit.metrics().sites.iter().map(count).sum::<u64>() < 100, "{:?}", bandit.metrics().sites);
}

#[test]
fn a_region_that_panics_is_over_and_callers_at_the_same_time_are_no_trouble() {
    let runtime = runtime(Learning::Learned);
    let numbers: Vec<u64> = (0..200_000).collect();
    let expected = runtime.install(|worker| sum(worker, &numbers));
    std::thread::scope(|threads| {
        for caller in 0..4 {
            let (runtime, numbers) = (&runtime, &numbers);
            threads.spawn(move || {
                for turn in 0..40 {
                    let region = || {
                        runtime.install(|worker| {
                            let sum = sum(worker, numbers);
                            assert!(turn % 10 != caller, "as planned");
                            sum
                        })
                    };
                    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(region)) {
                        Ok(sum) => assert_eq!(sum, expected),
                        Err(_) => assert_eq!(turn % 10, caller),
                    }
                }
            });
        }
    });
    assert_eq!(runtime.install(|worker| sum(worker, &numbers)), expected);
}

#[test]
fn a_log_of_what_was_chosen_can_be_repeated() {
    for learning in [Learning::Bandit, Learning::Learned] {
        let runtime = Runtime::builder().workers(3).learning(learning).policy_log(40).build().unwrap();
        regions(&runtime, |sites| sites.first().is_some_and(|site| count(site) >= 60));
        let log = runtime.policy_log().expect("it was asked for");
        assert_eq!(log.regions(), 40, "the first ones, though there were more");
        assert_eq!(log.replay(&Weights::shipped()), Ok(()));
        let read: PolicyLog = log.to_string().parse().unwrap();
        assert_eq!((read.sites(), read.replay(&Weights::shipped())), (log.sites(), Ok(())));
    }
    assert_eq!(runtime(Learning::Bandit).policy_log(), None);
    let builder = Runtime::builder().workers(2).learning(Learning::Static);
    assert_eq!(builder.policy_log(40).build().unwrap().policy_log(), None, "nothing is learned");
}

/// Fault 36.
#[test]
fn weights_are_checked_and_can_be_given() {
    assert_eq!("".parse::<Weights>().unwrap_err(), WeightsError::Version);
    let shipped = Weights::shipped();
    assert_eq!(shipped.to_string().parse::<Weights>().unwrap(), shipped);
    let runtime = Runtime::builder().workers(2).learning(Learning::Learned).weights(shipped).build().unwrap();
    regions(&runtime, |sites| sites.first().is_some_and(|site| count(site) >= 10));
}

/// Fault 50. In a process of its own, for the environment is everybody's.
#[test]
fn the_environment_chooses_and_garbage_is_refused() {
    if let Some(expected) = support::role() {
        let built = Runtime::builder().workers(2).build();
        match expected.as_str() {
            "refused" => {
                let error = built.map(drop).unwrap_err();
                assert!(matches!(&error, BuildError::Policy { value } if value == "clever"), "{error}");
                assert!(error.to_string().contains("static, bandit and learned"), "{error}");
            }
            "learns" => {
                regions(&built.unwrap(), |sites| sites.first().is_some_and(|site| count(site) >= 5));
            }
            _ => {
                let runtime = built.unwrap();
                let numbers: Vec<u64> = (0..400_000).collect();
                for _ in 0..5 {
                    runtime.install(|worker| sum(worker, &numbers));
                }
                assert_eq!(runtime.metrics().sites, []);
            }
        }
        return;
    }
    for (policy, expected) in [
        ("clever", "refused"),
        ("bandit", "learns"),
        (" learned ", "learns"),
        ("static", "nothing"),
        ("", "nothing"),
    ] {
        let mut child = support::rerun("the_environment_chooses_and_garbage_is_refused", expected);
        support::assert_passed(&child.env("UPBEAT_POLICY", policy).output().unwrap());
    }
}
