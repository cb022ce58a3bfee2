//! What a row's measurement says: our value beside the best peer's, and whether the goal is met.

use crate::rows::{Goal, Kind, Row, Scale};

/// The most that any row may take of the best peer's time.
pub const WORST_RATIO: f64 = 1.05;

/// One contender's times, in the row's unit.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who.
    pub name: &'static str,
    /// Whose side.
    pub kind: Kind,
    /// The value in the middle, which is what is compared.
    pub median: f64,
    /// The least.
    pub best: f64,
    /// Below this are 99 of 100.
    pub tail: f64,
}

/// A measured row.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The group it belongs to.
    pub group: &'static str,
    /// What was done, with its sizes.
    pub work: String,
    /// Unit of all values.
    pub unit: &'static str,
    /// What was measured.
    pub entries: Vec<Entry>,
    /// What the machine allows at most, in the same unit.
    pub limit: Option<f64>,
    /// What is to be reached.
    pub goal: Goal,
    /// What the values are.
    pub scale: Scale,
    /// Rounds that count, and rounds thrown away because the machine was busy.
    pub rounds: (u32, u32),
}

impl Outcome {
    /// Scales what was measured, nanoseconds a call, to the row's unit.
    pub(crate) fn new(row: &Row<'_>, mut entries: Vec<Entry>, kept: u32, discarded: u32) -> Self {
        let least = |of: fn(&Entry) -> f64| {
            let of_sequential = entries.iter().filter(|entry| entry.kind == Kind::Sequential).map(of);
            of_sequential.fold(f64::INFINITY, f64::min)
        };
        let (median, best) = (least(|entry| entry.median), least(|entry| entry.best));
        let limit = row.workers.filter(|_| median.is_finite()).map(|workers| median / workers as f64);
        let scale = row.scale;
        for entry in &mut entries {
            let above = matches!(scale, Scale::AboveSequential { .. });
            let (median, best) = if above { (median, best) } else { (0.0, 0.0) };
            entry.median = (entry.median - median) / scale.operations();
            entry.best = (entry.best - best) / scale.operations();
            entry.tail = (entry.tail - median) / scale.operations();
        }
        let limit = limit.map(|limit| limit / scale.operations());
        Self {
            group: row.group,
            work: row.work.clone(),
            unit: scale.unit(),
            entries,
            limit,
            goal: row.goal,
            scale,
            rounds: (kept, discarded),
        }
    }

    fn least(&self, kind: Kind) -> Option<&Entry> {
        let entries = self.entries.iter().filter(|entry| entry.kind == kind);
        entries.min_by(|a, b| a.median.total_cmp(&b.median))
    }

    /// Our entry.
    ///
    /// # Panics
    /// When the row has none of ours.
    pub fn ours(&self) -> &Entry {
        self.least(Kind::Ours).expect("a row measures upbeat")
    }

    /// The better sequential order.
    pub fn sequential(&self) -> Option<&Entry> {
        self.least(Kind::Sequential)
    }

    /// The best peer.
    pub fn peer(&self) -> Option<&Entry> {
        self.least(Kind::Peer)
    }

    /// Our time as a share of the best peer's. There is none of differences, which may be zero or less.
    pub fn ratio(&self) -> Option<f64> {
        let difference = matches!(self.scale, Scale::AboveSequential { .. });
        let peer = self.peer().filter(|peer| !difference && peer.median > 0.0)?;
        Some(self.ours().median / peer.median)
    }

    /// Whether the goal is met; unknown where it is a ratio to a peer that is not there.
    pub fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::Peer(most) => self.ratio().map(|ratio| ratio <= most),
            Goal::Value(most) => Some(self.ours().median <= most),
            Goal::Sequential(most) => {
                self.sequential().map(|entry| self.ours().median / entry.median <= most)
            }
        }
    }
}

/// The geometric mean of the ratios to the best peer; `None` without any.
pub fn mean_ratio(outcomes: &[Outcome]) -> Option<f64> {
    let logarithms: Vec<f64> =
        outcomes.iter().filter_map(Outcome::ratio).filter(|&ratio| ratio > 0.0).map(f64::ln).collect();
    let count = logarithms.len() as f64;
    (count > 0.0).then(|| (logarithms.iter().sum::<f64>() / count).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Contender;

    fn entry(name: &'static str, kind: Kind, median: f64) -> Entry {
        Entry { name, kind, median, best: median / 2.0, tail: 2.0 * median }
    }

    fn outcome(scale: Scale, goal: Goal, entries: Vec<Entry>) -> Outcome {
        let contenders: Vec<Contender<'_>> = Vec::new();
        let work = String::from("work");
        let row =
            Row { group: "group", work, answer: 0, scale, goal, gap: None, workers: Some(2), contenders };
        Outcome::new(&row, entries, 5, 0)
    }

    fn entries(ours: f64) -> Vec<Entry> {
        vec![
            entry("left", Kind::Sequential, 120.0),
            entry("right", Kind::Sequential, 100.0),
            entry("upbeat", Kind::Ours, ours),
            entry("rayon", Kind::Peer, 80.0),
            entry("chili", Kind::Peer, 90.0),
        ]
    }

    #[test]
    fn the_best_peer_and_the_better_order_are_what_we_are_compared_with() {
        let found = outcome(Scale::Call, Goal::Peer(0.9), entries(60.0));
        assert_eq!(found.peer().unwrap().name, "rayon");
        assert_eq!(found.sequential().unwrap().name, "right");
        assert_eq!(found.ratio(), Some(0.75));
        assert_eq!(found.limit, Some(50.0));
        assert_eq!(found.met(), Some(true));
        assert_eq!(outcome(Scale::Call, Goal::Peer(0.7), entries(60.0)).met(), Some(false));
        assert_eq!(outcome(Scale::Call, Goal::Sequential(0.5), entries(60.0)).met(), Some(false));
        assert_eq!(outcome(Scale::Call, Goal::Value(60.0), entries(60.0)).met(), Some(true));
    }

    #[test]
    fn what_joins_add_is_a_difference_and_has_no_ratio() {
        let scale = Scale::AboveSequential { count: 10, unit: "ns a join" };
        let found = outcome(scale, Goal::Value(1.0), entries(108.0));
        assert_eq!((found.ours().median, found.unit), (0.8, "ns a join"));
        assert_eq!((found.met(), found.ratio()), (Some(true), None));
        let scale = Scale::Operation { count: 10, unit: "ns a task" };
        assert_eq!(outcome(scale, Goal::Peer(1.0), entries(60.0)).ours().median, 6.0);
    }

    #[test]
    fn without_peers_a_goal_against_them_is_neither_met_nor_missed() {
        let mut alone = entries(60.0);
        alone.retain(|entry| entry.kind != Kind::Peer);
        let alone = outcome(Scale::Call, Goal::Peer(1.0), alone);
        assert_eq!((alone.met(), alone.ratio()), (None, None));
        assert_eq!(mean_ratio(&[alone]), None);
    }

    #[test]
    fn the_mean_of_ratios_is_geometric() {
        let with = |ours| outcome(Scale::Call, Goal::Peer(1.0), entries(ours));
        let mean = mean_ratio(&[with(40.0), with(160.0)]).unwrap();
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }
}
