//! A row: work for the device, whose answer is known, and what it is compared with.

use std::ops::Range;

use upbeat_vulkan::{f16, Buffer, Commands, Device, Float, VulkanError};

use super::measure::Outcome;
use crate::bench::record::Record;
use crate::failure::Failure;

/// What sizes rows are to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Tiny shapes, whose numbers mean nothing.
    pub(super) small: bool,
    /// Bytes of the largest buffer of a row that is compared with copies.
    pub(super) bytes: usize,
}

/// What a row's value is set beside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beside {
    /// The rate at which the device copies, of which it is to reach a share. A peer's value is shown, too.
    Copies(Option<f64>),
    /// The peer, of whose rate it is to reach a share.
    Peer(Option<f64>),
}

/// Adds a call to a list.
type Call = Box<dyn Fn(&mut Commands) -> Result<(), VulkanError>>;

/// Work that was made ready, and its answer.
pub(super) struct Work {
    record: Call,
    answer: Answer,
}

/// Outputs of `parts` parts of `width` numbers each.
struct Answer {
    outs: Vec<Buffer<f32>>,
    parts: usize,
    width: usize,
    /// What a part must be: that of the first output, then that of the next.
    expected: Box<dyn Fn(usize) -> Vec<f64>>,
    /// How far off it may be, as a share of the part's largest number.
    tolerance: f64,
}

type Make = Box<dyn Fn(&Device) -> Result<Work, VulkanError>>;

/// A row of the table.
pub(super) struct Case {
    /// `FAMILY: SHAPE`, by which peers know it.
    pub(super) name: String,
    /// What a call computes or moves, in billions of `unit`'s seconds.
    pub(super) amount: f64,
    unit: &'static str,
    pub(super) beside: Beside,
    small: Make,
    timed: Make,
}

/// Most parts of an answer that are all checked.
const FEW_PARTS: usize = 256;
/// Parts of a longer answer that are checked: the first, the last, and some between.
const SPOTS: usize = 6;

impl Work {
    /// What `record` adds to a list gives `outs`, of `parts` parts each, and `expected` says what a part must be.
    pub(super) fn new(
        outs: Vec<Buffer<f32>>,
        parts: usize,
        tolerance: f64,
        expected: impl Fn(usize) -> Vec<f64> + 'static,
        record: impl Fn(&mut Commands) -> Result<(), VulkanError> + 'static,
    ) -> Self {
        let width = outs[0].len() / parts;
        let answer = Answer { outs, parts, width, expected: Box::new(expected), tolerance };
        Self { record: Box::new(record), answer }
    }

    /// Adds a call to a list.
    pub(super) fn record(&self, commands: &mut Commands) -> Result<(), VulkanError> {
        (self.record)(commands)
    }

    /// Makes sure that an answer which is never written is no right one.
    pub(super) fn spoil(&self, device: &Device) -> Result<(), VulkanError> {
        let mut commands = device.commands();
        for out in &self.answer.outs {
            commands.fill(out, f32::NAN)?;
        }
        commands.submit()?.wait()
    }

    /// Compares the answer with what it must be: all of a short one, parts of a long one.
    pub(super) fn check(&self, name: &str) -> Result<(), Failure> {
        let Answer { outs, parts, width, expected, tolerance } = &self.answer;
        let spots: Vec<usize> = match *parts {
            0..=FEW_PARTS => (0..*parts).collect(),
            _ => (0..SPOTS).map(|spot| spot * (parts - 1) / (SPOTS - 1)).collect(),
        };
        for part in spots {
            let mut found = Vec::new();
            for out in outs {
                found.extend(out.slice(part * width..(part + 1) * width).to_vec()?);
            }
            let expected = expected(part);
            let allowed = tolerance * expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            let near = |(&found, &expected): (&f32, &f64)| (f64::from(found) - expected).abs() <= allowed;
            let wrong = found.iter().zip(&expected).position(|pair| !near(pair));
            if let Some(at) = wrong {
                let (found, expected) = (found[at], expected[at]);
                let sentence = format!("{name}: number {at} of part {part} is {found:e}, not {expected:e}");
                return Err(Failure::Work(sentence));
            }
        }
        Ok(())
    }
}

impl Case {
    /// `make` makes the work of a shape: of `small`, all of whose answer is checked, and of `shape`, which is timed.
    pub(super) fn new<S: Copy + 'static>(
        name: String,
        (amount, unit): (f64, &'static str),
        beside: Beside,
        [shape, small]: [S; 2],
        make: impl Fn(&Device, S) -> Result<Work, VulkanError> + Copy + 'static,
    ) -> Self {
        Self {
            name,
            amount: amount / 1e9,
            unit,
            beside,
            small: Box::new(move |device| make(device, small)),
            timed: Box::new(move |device| make(device, shape)),
        }
    }

    /// What comes before the shape: rows with the same are as fast as each other, more or less.
    pub(super) fn family(&self) -> &str {
        self.name.split(':').next().unwrap_or_default()
    }

    pub(super) fn is_beside_copies(&self) -> bool {
        matches!(self.beside, Beside::Copies(_))
    }

    /// The work of the shape that is quickly checked.
    pub(super) fn small(&self, device: &Device) -> Result<Work, VulkanError> {
        (self.small)(device)
    }

    /// The work that is timed.
    pub(super) fn timed(&self, device: &Device) -> Result<Work, VulkanError> {
        (self.timed)(device)
    }

    /// What was measured, a record for each of those that it is set beside.
    pub(super) fn records(&self, outcome: &Outcome) -> Vec<Record> {
        let record = |peer: Option<(String, f64)>, goal: Option<f64>| {
            let (peer, peer_value) = peer.unzip();
            Record {
                bench: "vulkan",
                work: self.name.clone(),
                unit: self.unit,
                value: outcome.rate,
                limit: outcome.copies,
                met: goal.zip(peer_value).map(|(goal, peer)| outcome.rate >= goal * peer),
                peer: peer.map(Into::into),
                peer_value,
                goal,
            }
        };
        match self.beside {
            Beside::Peer(goal) => vec![record(outcome.peer.clone(), goal)],
            Beside::Copies(goal) => {
                let copies = outcome.copies.map(|rate| ("the fastest copy".to_owned(), rate));
                let mut records = vec![record(copies, goal)];
                records.extend(outcome.peer.clone().map(|peer| record(Some(peer), None)));
                records
            }
        }
    }
}

/// Numbers as they are stored.
pub(super) trait Stored: Float {
    /// In names of rows.
    const NAME: &'static str;
    fn of(x: f32) -> Self;
    fn wide(self) -> f64;
}

impl Stored for f32 {
    const NAME: &'static str = "f32";
    fn of(x: f32) -> Self {
        x
    }
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Stored for f16 {
    const NAME: &'static str = "f16";
    fn of(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn wide(self) -> f64 {
        self.to_f64()
    }
}

/// Made-up numbers between `low` and `high`, each of which follows from its place: whoever checks an answer needs only a few of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) seed: u64,
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Numbers {
    /// Between -1 and 1.
    pub(super) fn around_zero(seed: u64) -> Self {
        Self { seed, low: -1.0, high: 1.0 }
    }

    /// The number at a place: the finaliser of splitmix64, as a share of what lies between the bounds.
    fn at<T: Stored>(&self, i: usize) -> T {
        let mut z = (i as u64).wrapping_add(self.seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32;
        T::of(self.low + share * (self.high - self.low))
    }

    /// Those at `places`, as they are stored as `T`, in f64.
    pub(super) fn wide<T: Stored>(&self, places: Range<usize>) -> Vec<f64> {
        places.map(|i| self.at::<T>(i).wide()).collect()
    }

    /// The first `len` of them on a device.
    pub(super) fn upload<T: Stored>(&self, device: &Device, len: usize) -> Result<Buffer<T>, VulkanError> {
        device.upload(&(0..len).map(|i| self.at(i)).collect::<Vec<T>>())
    }
}
