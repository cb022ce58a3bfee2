//! What the policy of a runtime has seen and chosen, as text: to look at, to send along with a complaint, and to repeat.
//!
//! `upbeat-policy-log 1`, then `open` with the arms that could be chosen (bits) and `weights` with a hash of the network's or `none`; for each call site
//! `site` with its address and seed, and what happened there in order: `chosen` with an arm when a region began, `ended` with the arm, the
//! logarithms of its time and work, and what was counted meanwhile if somebody did ([`Observed`]'s fields in their order). Last comes
//! `check` with a hash of all before it, as in files of weights.

use std::fmt::{self, Write as _};
use std::str::{FromStr, SplitWhitespace};

use super::bandit::Sample;
use super::configuration::{ARMS, CONFIGURATIONS};
use super::features::Observed;
use super::site::{Event, Site};
use super::weights::{check, Weights};

const HEADER: &str = "upbeat-policy-log 1";

/// What a runtime's policy has seen and chosen at its call sites; from [`Runtime::policy_log`](crate::Runtime::policy_log), or from the text that
/// it displays as.
///
/// ```
/// use upbeat::{Learning, PolicyLog, Runtime, Weights};
///
/// let runtime = Runtime::builder().workers(2).learning(Learning::Learned).policy_log(100).build()?;
/// let sum: u64 = runtime.install(|_| (0..1_000_000).sum());
/// assert_eq!(sum, 499_999_500_000);
///
/// let log = runtime.policy_log().expect("it was asked for");
/// // The same samples lead to the same choices, here and anywhere.
/// assert_eq!(log.replay(&Weights::shipped()), Ok(()));
/// assert_eq!(log.to_string().parse::<PolicyLog>()?, log);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyLog {
    /// The arms that may be chosen, by bits.
    pub(crate) open: u32,
    /// Which network gave its opinion, by its hash.
    pub(crate) weights: Option<u64>,
    pub(crate) sites: Vec<SiteLog>,
}

/// One call site's part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SiteLog {
    pub(crate) address: usize,
    pub(crate) seed: u64,
    pub(crate) events: Vec<Event>,
}

/// Why a log cannot be repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError {
    /// It was kept with other weights.
    Weights,
    /// Another choice comes out than was made: the log was changed, or comes from another version.
    Differs {
        /// The call site.
        site: usize,
        /// Its region, from 0.
        region: usize,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights => f.write_str("the log was kept with other weights: name those that the runtime was built with"),
            Self::Differs { site, region } => write!(
                f,
                "at call site {site:#x}, region {region} comes out with other settings: the log was changed, or is of another version"
            ),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplayError({self})")
    }
}

impl std::error::Error for ReplayError {}

/// Why a log's text was refused.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyLogError {
    /// It does not begin as logs do, or is of another version.
    Version,
    /// It ends too early.
    Length,
    /// A line, counted from 1, is none of a log.
    Line {
        /// The line.
        line: usize,
    },
    /// Its hash is not that of its contents, or it goes on after that.
    Check,
}

impl fmt::Display for PolicyLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => {
                write!(f, "it does not begin with `{HEADER}`: read it with the version that wrote it")
            }
            Self::Length => f.write_str("it is not as long as it should be: copy it again"),
            Self::Line { line } => write!(f, "line {line} is none of a log: copy it again"),
            Self::Check => f.write_str("its contents do not match its hash: copy it again"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for PolicyLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyLogError({self})")
    }
}

impl std::error::Error for PolicyLogError {}

/// How many regions begin in `events`.
fn regions(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Chosen(_))).count()
}

impl PolicyLog {
    /// How many regions' beginnings it has.
    pub fn regions(&self) -> usize {
        self.sites.iter().map(|site| regions(&site.events)).sum()
    }

    /// Its call sites by their addresses, and how many regions of each had which settings, the default ones first.
    pub fn sites(&self) -> Vec<(usize, Vec<(&'static str, u64)>)> {
        let of = |site: &SiteLog| {
            let mut chosen = CONFIGURATIONS.map(|known| (known.name, 0));
            for event in &site.events {
                if let Event::Chosen(arm) = event {
                    chosen[*arm].1 += 1;
                }
            }
            (site.address, chosen.to_vec())
        };
        self.sites.iter().map(of).collect()
    }

    /// Makes every choice again, from the samples alone. `weights` are those that the runtime was built with; without a network they do not
    /// matter.
    ///
    /// # Errors
    /// [`ReplayError`]: the weights are others, or a choice comes out differently.
    pub fn replay(&self, weights: &Weights) -> Result<(), ReplayError> {
        let network = match self.weights {
            None => None,
            Some(hash) if hash == weights.network().hash() => Some(weights.network()),
            Some(_) => return Err(ReplayError::Weights),
        };
        for site in &self.sites {
            let differs =
                |at| ReplayError::Differs { site: site.address, region: regions(&site.events[..at]) };
            Site::replay(site.seed, self.open, network, &site.events).map_err(differs)?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{HEADER}\nopen {}\n", self.open);
        match self.weights {
            Some(hash) => writeln!(text, "weights {hash:016x}")?,
            None => writeln!(text, "weights none")?,
        }
        for site in &self.sites {
            writeln!(text, "site {:x} {:x}", site.address, site.seed)?;
            for event in &site.events {
                write_event(&mut text, event)?;
            }
        }
        write!(f, "{text}{}", check(&text))
    }
}

fn write_event(text: &mut String, event: &Event) -> fmt::Result {
    match event {
        Event::Chosen(arm) => writeln!(text, "chosen {arm}"),
        Event::Ended(arm, Sample { log_time, log_work }, observed) => {
            write!(text, "ended {arm} {log_time} {log_work}")?;
            if let Some(observed) = observed {
                let Observed { workers, nodes, time, busy, steals, stolen, .. } = observed;
                let Observed { failed, answers, promotions, parks, variance, .. } = observed;
                write!(text, " {workers} {nodes} {time} {busy}")?;
                steals.iter().chain(stolen).try_for_each(|count| write!(text, " {count}"))?;
                write!(text, " {failed} {answers} {promotions} {parks} {variance}")?;
            }
            writeln!(text)
        }
    }
}

/// The next word of a line, as what is wanted.
fn next<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

fn next_hex(words: &mut SplitWhitespace<'_>) -> Option<u64> {
    u64::from_str_radix(words.next()?, 16).ok()
}

fn next_arm(words: &mut SplitWhitespace<'_>) -> Option<usize> {
    next(words).filter(|arm| *arm < ARMS)
}

fn read_ended(words: &mut SplitWhitespace<'_>) -> Option<Event> {
    let arm = next_arm(words)?;
    let sample = Sample { log_time: next(words)?, log_work: next(words)? };
    let Some(workers) = words.next() else { return Some(Event::Ended(arm, sample, None)) };
    let mut observed = Observed {
        workers: workers.parse().ok()?,
        nodes: next(words)?,
        time: next(words)?,
        busy: next(words)?,
        ..Observed::default()
    };
    for count in observed.steals.iter_mut().chain(&mut observed.stolen) {
        *count = next(words)?;
    }
    observed.failed = next(words)?;
    observed.answers = next(words)?;
    observed.promotions = next(words)?;
    observed.parks = next(words)?;
    observed.variance = next(words)?;
    Some(Event::Ended(arm, sample, Some(observed)))
}

impl PolicyLog {
    /// A line after the first.
    fn read(&mut self, line: &str) -> Option<()> {
        let words = &mut line.split_whitespace();
        match words.next()? {
            "open" => self.open = next(words)?,
            "weights" if line == "weights none" => return Some(()),
            "weights" => self.weights = Some(next_hex(words)?),
            "site" => {
                let (address, seed) = (next_hex(words)? as usize, next_hex(words)?);
                self.sites.push(SiteLog { address, seed, events: Vec::new() });
            }
            "chosen" => self.sites.last_mut()?.events.push(Event::Chosen(next_arm(words)?)),
            "ended" => self.sites.last_mut()?.events.push(read_ended(words)?),
            _ => return None,
        }
        words.next().is_none().then_some(())
    }
}

impl FromStr for PolicyLog {
    type Err = PolicyLogError;

    fn from_str(text: &str) -> Result<Self, PolicyLogError> {
        let end = text.rfind("check ").unwrap_or(text.len());
        let mut lines = text[..end].lines();
        if lines.next() != Some(HEADER) {
            return Err(PolicyLogError::Version);
        }
        let mut log = Self { open: 0, weights: None, sites: Vec::new() };
        for (at, line) in lines.enumerate() {
            log.read(line).ok_or(PolicyLogError::Line { line: at + 2 })?;
        }
        match &text[end..] {
            "" => Err(PolicyLogError::Length),
            last if last == check(&text[..end]) => Ok(log),
            _ => Err(PolicyLogError::Check),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steal::Generator;

    /// Two sites, the second of which was counted, as a network wants it.
    fn kept(weights: Option<&Weights>) -> PolicyLog {
        let network = weights.map(Weights::network);
        let open = (1 << ARMS) - 1;
        let site = |seed: u64| {
            let mut site = Site::new(seed);
            site.keep_log(60);
            for region in 0..100_u64 {
                let arm = site.choose(open).arm;
                let counted = || Observed {
                    workers: 8,
                    nodes: 2,
                    time: 5 * region,
                    variance: 0.1,
                    ..Observed::default()
                };
                let log_time = 10.0 - arm as f32 / 9.0 + Generator::new(region).below(100) as f32 / 3e3;
                let observed = site.wants_counts().then(counted);
                site.ended(arm, Sample { log_time, log_work: 0.1 }, observed, network);
            }
            SiteLog { address: 0x1234 + seed as usize, seed, events: site.log().to_vec() }
        };
        PolicyLog { open, weights: network.map(|network| network.hash()), sites: vec![site(7), site(8)] }
    }

    #[test]
    fn what_was_written_is_read_and_comes_out_again() {
        let shipped = Weights::shipped();
        for weights in [None, Some(&shipped)] {
            let log = kept(weights);
            assert_eq!(log.regions(), 2 * 60, "each site's first regions are kept");
            let read: PolicyLog = log.to_string().parse().unwrap();
            assert_eq!((&read, read.replay(&shipped)), (&log, Ok(())));
        }
    }

    #[test]
    fn a_log_that_was_changed_does_not_come_out() {
        let mut log = kept(None);
        let tries = |event: &Event| matches!(event, Event::Chosen(arm) if *arm != 0);
        let at = log.sites[1].events.iter().rposition(tries).unwrap();
        let region =
            log.sites[1].events[..at].iter().filter(|event| matches!(event, Event::Chosen(_))).count();
        log.sites[1].events[at] = Event::Chosen(0);
        let error = log.replay(&Weights::shipped()).unwrap_err();
        assert_eq!(error, ReplayError::Differs { site: 0x123c, region });
        log.weights = Some(1);
        assert_eq!(log.replay(&Weights::shipped()), Err(ReplayError::Weights));
    }

    #[test]
    fn what_is_damaged_is_refused_with_the_reason() {
        let whole = kept(None).to_string();
        let read = |text: &str| text.parse::<PolicyLog>().unwrap_err();
        assert_eq!(read(""), PolicyLogError::Version);
        assert_eq!(read(&whole.replace("log 1", "log 2")), PolicyLogError::Version);
        assert_eq!(read(&whole[..whole.rfind("check").unwrap()]), PolicyLogError::Length);
        assert_eq!(read(&whole.replacen("chosen 0", "chosen 99", 1)), PolicyLogError::Line { line: 5 });
        assert_eq!(read(&whole.replacen("chosen 0", "chosen 1", 1)), PolicyLogError::Check);
        assert_eq!(read(&whole.replacen("chosen 0", "chosen 0 0", 1)), PolicyLogError::Line { line: 5 });
        assert_eq!(read(&(whole.clone() + "chosen 0\n")), PolicyLogError::Check);
        let mut generator = Generator::new(4);
        for _ in 0..500 {
            let mut bytes = whole.clone().into_bytes();
            let at = generator.below(bytes.len());
            bytes[at] = generator.next_u64() as u8;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(text == whole || text.parse::<PolicyLog>().is_err());
            }
        }
    }
}
