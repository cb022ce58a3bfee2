//! What is learned from: regions as their first runs with arm 0 show them, and what each configuration makes of them. A text file with a line a
//! region, so that what took an hour to simulate need not be simulated again.

use std::fmt::Write as _;

use upbeat::simulation::{Features, ARMS, FEATURES};

use super::cases::{Case, FAMILIES};

/// Invocations of each configuration that a line is made of.
const SEEDS: u64 = 2;
/// The first line of a file.
const HEADER: &str = "upbeat-regions 1";

/// One region.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The case that it is of.
    pub number: u64,
    /// Index into [`FAMILIES`].
    pub family: usize,
    /// What arm 0's runs show.
    pub features: Features,
    /// Log times beside arm 0's.
    pub ratios: [f32; ARMS],
}

impl Region {
    /// Simulates case `number` of those that are learned from.
    pub fn simulated(number: u64) -> Self {
        let case = Case::drawn(number);
        let (times, features) = case.times(number * 1_000, SEEDS);
        let sum = |arm: usize| times[arm].iter().map(|time| time.time).sum::<f64>();
        Self {
            number,
            family: FAMILIES.iter().position(|&family| family == case.workload).expect("it is one of them"),
            features,
            ratios: std::array::from_fn(|arm| (sum(arm) / sum(0)).ln() as f32),
        }
    }

    fn line(&self) -> String {
        let mut line = format!("{} {}", self.number, self.family);
        for number in self.features.iter().chain(&self.ratios) {
            write!(line, " {number}").expect("text takes any number");
        }
        line
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let number = words.next()?.parse().ok()?;
        let family = words.next()?.parse().ok().filter(|&family: &usize| family < FAMILIES.len())?;
        let numbers: Vec<f32> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let is_whole = numbers.len() == FEATURES + ARMS && numbers.iter().all(|number| number.is_finite());
        is_whole.then(|| Self {
            number,
            family,
            features: std::array::from_fn(|at| numbers[at]),
            ratios: std::array::from_fn(|arm| numbers[FEATURES + arm]),
        })
    }
}

/// The file's text.
pub fn write(regions: &[Region]) -> String {
    let mut text = format!("{HEADER}\n");
    for region in regions {
        text.push_str(&region.line());
        text.push('\n');
    }
    text
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// The line that is wrong, and how.
pub fn read(text: &str) -> Result<Vec<Region>, String> {
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line) != Some(HEADER) {
        return Err(format!("line 1 is not \"{HEADER}\": this is no file of regions, or of another version"));
    }
    let parse = |(at, line)| {
        Region::parse(line).ok_or_else(|| {
            format!(
                "line {} is not a region: a number, a family, {FEATURES} features, {ARMS} log times",
                at + 1
            )
        })
    };
    lines.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_damaged_is_told() {
        let region = Region {
            number: 7,
            family: 3,
            features: std::array::from_fn(|at| at as f32 / 7.0),
            ratios: [0.0, -0.5, 0.25, 0.0, 1e-9, 2.0],
        };
        let text = write(&[region.clone(), Region { number: 8, ..region.clone() }]);
        let read_back = read(&text).unwrap();
        assert_eq!((read_back.len(), &read_back[0]), (2, &region));
        for (damaged, message) in [
            (text[20..].to_string(), "line 1"),
            (text[..text.len() - 4].to_string(), "line 3"),
            (text.replace("0.25", "NaN"), "line 2"),
            (text.replacen("7 3", "7 99", 1), "line 2"),
        ] {
            let error = read(&damaged).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
