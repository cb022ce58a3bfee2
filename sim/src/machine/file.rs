//! Machines in text files: a key and its numbers a line, on top of a preset.
//!
//! ```text
//! # two sockets of 16 cores, two threads each
//! base 2x32
//! nodes 2
//! caches 2
//! cores 8
//! threads 2
//! probe 40 80 120 350
//! wake 4500 3000
//! fill compact
//! ```

use std::fmt;

use super::{Fill, Machine, PRESETS};

/// Most CPUs of a machine: as many workers as the runtime allows.
const MOST_CPUS: u64 = upbeat::MAX_WORKERS as u64;
/// Longest time in a file, ns: a second.
const LONGEST: u64 = 1_000_000_000;

/// Why a text describes no machine.
#[derive(Clone, PartialEq, Eq)]
pub enum MachineError {
    /// A line that cannot be read: its number, from 1, and why.
    Line(usize, String),
    /// The whole makes no sense.
    Whole(String),
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line, why) => write!(f, "line {line}: {why}"),
            Self::Whole(why) => f.write_str(why),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineError({self})")
    }
}

impl std::error::Error for MachineError {}

impl Machine {
    /// Reads a description; what it leaves out is as on the preset that its line `base` names, or as on `2x32`.
    ///
    /// # Errors
    /// A line that is no key with the right numbers; sizes or times out of range.
    pub fn parse(name: &str, text: &str) -> Result<Self, MachineError> {
        let lines = || {
            let lines = text.lines().enumerate().map(|(at, line)| {
                let line = line.split('#').next().unwrap_or_default();
                (at + 1, line.split_whitespace().collect::<Vec<_>>())
            });
            lines.filter(|(_, words)| !words.is_empty())
        };
        let mut machine = Self::preset("2x32").expect("a preset");
        for (at, words) in lines().filter(|(_, words)| words[0] == "base") {
            machine = words
                .get(1)
                .and_then(|name| Self::preset(name))
                .ok_or_else(|| MachineError::Line(at, format!("base takes one of {}", PRESETS.join(", "))))?;
        }
        for (at, words) in lines().filter(|(_, words)| words[0] != "base") {
            machine.set(words[0], &words[1..]).map_err(|why| MachineError::Line(at, why))?;
        }
        machine.name = name.into();
        machine.check().map_err(MachineError::Whole)?;
        Ok(machine)
    }

    fn set(&mut self, key: &str, words: &[&str]) -> Result<(), String> {
        if key == "fill" {
            self.fill = match words {
                ["spread"] => Fill::Spread,
                ["compact"] => Fill::Compact,
                _ => return Err("fill takes spread or compact".into()),
            };
            return Ok(());
        }
        let count = |into: &mut u32| {
            *into = one(key, words, MOST_CPUS)? as u32;
            Ok(())
        };
        let time = |into: &mut u64| {
            *into = one(key, words, LONGEST)?;
            Ok(())
        };
        match key {
            "nodes" => count(&mut self.nodes),
            "caches" => count(&mut self.caches),
            "cores" => count(&mut self.cores),
            "threads" => count(&mut self.threads),
            "package" => count(&mut self.package),
            "probe" => {
                self.probe = several(key, words)?;
                Ok(())
            }
            "steal" => {
                self.steal = several(key, words)?;
                Ok(())
            }
            "wake" => {
                self.wake = several(key, words)?;
                Ok(())
            }
            "slow" => {
                self.slow = several::<2>(key, words)?.map(|slow| slow.min(u64::from(u32::MAX)) as u32);
                Ok(())
            }
            "bandwidth" => time(&mut self.bandwidth),
            "stream" => time(&mut self.stream),
            "overlap" => time(&mut self.overlap),
            "glance" => time(&mut self.glance),
            "draw" => time(&mut self.draw),
            "pause" => time(&mut self.pause),
            "fork" => time(&mut self.fork),
            "answer" => time(&mut self.answer),
            "promote" => time(&mut self.promote),
            "latch" => time(&mut self.latch),
            "resolution" => time(&mut self.resolution),
            _ => Err(format!("{key} is no property of a machine (see sim/README.md for those that are)")),
        }
    }

    fn check(&self) -> Result<(), String> {
        for (what, count) in [
            ("nodes", self.nodes),
            ("caches", self.caches),
            ("cores", self.cores),
            ("threads", self.threads),
            ("package", self.package),
        ] {
            if count == 0 {
                return Err(format!("{what} must be 1 or more"));
            }
        }
        let cpus = [self.caches, self.cores, self.threads]
            .iter()
            .try_fold(u64::from(self.nodes), |product, &factor| product.checked_mul(u64::from(factor)));
        if cpus.is_none_or(|cpus| cpus > MOST_CPUS) {
            return Err(format!("the machine has more than {MOST_CPUS} CPUs"));
        }
        if [self.pause, self.resolution, self.bandwidth, self.overlap].contains(&0) {
            return Err("pause, resolution, bandwidth and overlap must be 1 or more".into());
        }
        if self.slow.iter().any(|&slow| !(1024..=102_400).contains(&slow)) {
            return Err(
                "slow takes two factors between 1024 (as fast) and 102400 (a hundred times slower)".into()
            );
        }
        Ok(())
    }
}

fn one(key: &str, words: &[&str], most: u64) -> Result<u64, String> {
    match words {
        [word] => word.parse().ok().filter(|&n| n <= most),
        _ => None,
    }
    .ok_or_else(|| format!("{key} takes one whole number up to {most}"))
}

fn several<const N: usize>(key: &str, words: &[&str]) -> Result<[u64; N], String> {
    let numbers = words.iter().map(|word| word.parse().ok().filter(|&n| n <= LONGEST));
    let numbers: Option<Vec<u64>> = numbers.collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| format!("{key} takes {N} whole numbers up to {LONGEST}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_on_top_of_its_base() {
        let text =
            "# mine\n\nnodes 2\nbase 4x28 # comments go anywhere\nthreads 2\nprobe 1 2 3 4\nfill compact\n";
        let machine = Machine::parse("mine", text).unwrap();
        let base = Machine::preset("4x28").unwrap();
        let name = "mine".to_string();
        let probe = [1, 2, 3, 4];
        assert_eq!(machine, Machine { name, nodes: 2, threads: 2, probe, fill: Fill::Compact, ..base });
        assert_eq!(Machine::parse("", "").unwrap().cpus(), 64);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, words) in [
            ("cores", "line 1: cores takes one whole number"),
            ("\ncores two", "line 2: cores takes one"),
            ("cores -1", "cores takes one"),
            ("cores 99999999999999999999", "cores takes one"),
            ("probe 1 2 3", "probe takes 4 whole numbers"),
            ("wake 1 2 3", "wake takes 2"),
            ("base 9x9", "line 1: base takes one of 2-core, 2x32, 4x28, 8x32"),
            ("base", "base takes one of"),
            ("fill up", "fill takes spread or compact"),
            ("speed 3", "speed is no property"),
            ("nodes 0", "nodes must be 1 or more"),
            ("package 0", "package must be 1 or more"),
            ("nodes 1000\ncores 1000", "more than 1024 CPUs"),
            ("nodes 1024\ncores 1024\ncaches 1024\nthreads 1024", "more than 1024 CPUs"),
            ("pause 0", "must be 1 or more"),
            ("slow 0 0", "slow takes two factors"),
        ] {
            let error = Machine::parse("m", text).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
