//! What a simulation found, and as JSON.

use serde_json::{json, Value};
use upbeat::topology::Distance;

/// What a simulation found. Times are ns; those of workers are sums over all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// When the program was done.
    pub makespan: u64,
    /// Number of workers.
    pub workers: u64,
    /// The program's work, as if all memory were near and free.
    pub useful: u64,
    /// What far and busy memory added to it.
    pub inflated: u64,
    /// Forks, answers, steals and wakings.
    pub overhead: u64,
    /// Leaves and loop items that were run.
    pub leaves: u64,
    /// Joins.
    pub forks: u64,
    /// Tasks that were run by another worker than their owner, by [`Distance`], nearest first.
    pub steals: [u64; Distance::ALL.len()],
    /// How long those took, by the same distances, ns.
    pub stolen_time: [u64; Distance::ALL.len()],
    /// Those of other nodes.
    pub remote: u64,
    /// Rounds over all victims that found nothing.
    pub failed_steals: u64,
    /// Steals of loops of which nothing was left.
    pub empty: u64,
    /// Requests, answers to them, and tasks that were made public or sent.
    pub requests: u64,
    /// Requests that were answered.
    pub answers: u64,
    /// Tasks that were made public.
    pub promotions: u64,
    /// Those of them that were sent to another node.
    pub pushed: u64,
    /// Public tasks that their owners ran themselves.
    pub taken_back: u64,
    /// Sleepers that were woken, and times that a worker went to sleep.
    pub wakes: u64,
    /// Times that a worker went to sleep.
    pub parks: u64,
    /// The longest time that a public task lay while some worker had nothing to do.
    pub longest_wait: u64,
    /// Times of the regions or jobs, ascending.
    pub times: Vec<u64>,
    /// Events that it took.
    pub events: u64,
}

impl Outcome {
    /// Time in which workers had nothing to do.
    pub fn idle(&self) -> u64 {
        (self.makespan * self.workers).saturating_sub(self.useful + self.inflated + self.overhead)
    }

    /// The share of the workers' time that was the program's work.
    pub fn efficiency(&self) -> f64 {
        self.share(self.useful)
    }

    /// The share of the workers' time.
    fn share(&self, time: u64) -> f64 {
        time as f64 / (self.makespan * self.workers).max(1) as f64
    }

    /// Steals in all.
    pub fn stolen(&self) -> u64 {
        self.steals.iter().sum()
    }

    /// The time that `per_mille` of 1000 regions or jobs stay within.
    pub fn percentile(&self, per_mille: usize) -> u64 {
        match self.times.len() {
            0 => 0,
            count => self.times[((count - 1) * per_mille).div_ceil(1000)],
        }
    }

    /// The numbers, with the label that they are simulated.
    pub fn to_json(&self) -> Value {
        json!({
            "simulated": true,
            "makespan_ns": self.makespan,
            "workers": self.workers,
            "efficiency": self.efficiency(),
            "useful": self.share(self.useful),
            "inflated": self.share(self.inflated),
            "overhead": self.share(self.overhead),
            "idle": self.share(self.idle()),
            "leaves": self.leaves,
            "forks": self.forks,
            "steals": self.stolen(),
            "steals_by_distance": self.steals,
            "remote_share": self.remote as f64 / self.stolen().max(1) as f64,
            "failed_steals": self.failed_steals,
            "empty_steals": self.empty,
            "requests": self.requests,
            "answers": self.answers,
            "promotions": self.promotions,
            "pushed": self.pushed,
            "taken_back": self.taken_back,
            "wakes": self.wakes,
            "parks": self.parks,
            "longest_wait_ns": self.longest_wait,
            "p50_ns": self.percentile(500),
            "p99_ns": self.percentile(990),
            "p999_ns": self.percentile(999),
            "events": self.events,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_is_there() {
        let of = |times: Vec<u64>| Outcome { times, ..Outcome::default() };
        assert_eq!(of(vec![]).percentile(990), 0);
        assert_eq!(of(vec![7]).percentile(999), 7);
        let hundred = of((1..=101).collect());
        assert_eq!([500, 990, 1000].map(|p| hundred.percentile(p)), [51, 100, 101]);
    }

    #[test]
    fn shares_of_the_workers_time_make_a_whole() {
        let outcome = Outcome {
            makespan: 100,
            workers: 2,
            useful: 120,
            inflated: 20,
            overhead: 10,
            ..Default::default()
        };
        assert_eq!(outcome.idle(), 50);
        assert_eq!(outcome.efficiency(), 0.6);
        let json = outcome.to_json();
        let shares = ["useful", "inflated", "overhead", "idle"].map(|key| json[key].as_f64().unwrap());
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(json["simulated"], true);
    }
}
