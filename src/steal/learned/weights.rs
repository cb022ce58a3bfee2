//! A network's weights as a file: small, versioned and checked. Text, so that a change of them can be looked at.
//!
//! `upbeat-policy 1`, then `network` and its three sizes, a line a number, and last `check` with a hash of all before it (FNV-1a, 64 bits), against
//! damage and not against malice: weights can make a policy slow and nothing else.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::features::FEATURES;
use super::network::{Network, PARAMETERS, WIDTH};

const HEADER: &str = "upbeat-policy 1";

/// Weights larger than this are no result of learning.
const MOST: f32 = 1e4;

/// The weights that come with this version; `upbeat sim learn` makes them.
const SHIPPED: &str = include_str!("shipped.policy");

/// Why a file of weights was refused.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightsError {
    /// It does not begin as such files do, or is of another version.
    Version,
    /// It is for a network of other sizes.
    Sizes,
    /// It ends too early, or goes on after its end.
    Length,
    /// A line, counted from 1, is no finite number of a weight's size.
    Number {
        /// The line.
        line: usize,
    },
    /// Its hash is not that of its contents.
    Check,
}

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => write!(f, "it does not begin with `{HEADER}`: make it anew with `upbeat sim learn`"),
            Self::Sizes => write!(f, "it is not for a network of {FEATURES}, {WIDTH} and {WIDTH} units: make it anew with `upbeat sim learn`"),
            Self::Length => f.write_str("it is not as long as it should be: copy it again"),
            Self::Number { line } => write!(f, "line {line} is no weight: copy it again"),
            Self::Check => f.write_str("its contents do not match its hash: copy it again, or make it anew with `upbeat sim learn`"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeightsError({self})")
    }
}

impl std::error::Error for WeightsError {}

/// What [`Learning::Learned`](crate::Learning::Learned) begins with: the weights of a network, as `upbeat sim learn` writes them.
///
/// ```
/// use upbeat::{Weights, WeightsError};
///
/// assert_eq!("upbeat-policy 9".parse::<Weights>().unwrap_err(), WeightsError::Version);
/// assert!(Weights::shipped().to_string().starts_with("upbeat-policy 1\n"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Weights(Box<Network>);

impl Weights {
    /// Those that come with this version.
    pub fn shipped() -> Self {
        Self(Box::new(Network::shipped()))
    }

    pub(super) fn network(&self) -> &Network {
        &self.0
    }

    pub(crate) fn into_network(self) -> Box<Network> {
        self.0
    }
}

impl FromStr for Weights {
    type Err = WeightsError;

    /// Reads a file's text.
    fn from_str(text: &str) -> Result<Self, WeightsError> {
        Network::parse(text).map(|network| Self(Box::new(network)))
    }
}

impl fmt::Display for Weights {
    /// The file's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.write())
    }
}

impl Network {
    /// The network that comes with this version.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub fn shipped() -> Self {
        Self::parse(SHIPPED).expect("the weights that come with upbeat are whole")
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// See [`WeightsError`].
    pub fn parse(text: &str) -> Result<Self, WeightsError> {
        let body_end = text.rfind("check ").unwrap_or(text.len());
        let mut lines = text[..body_end].lines();
        if lines.next() != Some(HEADER) {
            return Err(WeightsError::Version);
        }
        if lines.next() != Some(&*sizes()) {
            return Err(WeightsError::Sizes);
        }
        let mut parameters = [0.0; PARAMETERS];
        for (at, parameter) in parameters.iter_mut().enumerate() {
            let line = lines.next().ok_or(WeightsError::Length)?;
            let number = line.parse().ok().filter(|number: &f32| number.abs() <= MOST);
            *parameter = number.ok_or(WeightsError::Number { line: at + 3 })?;
        }
        if lines.next().is_some() || body_end == text.len() {
            return Err(WeightsError::Length);
        }
        match text[body_end..] == check(&text[..body_end]) {
            true => Ok(Self { parameters }),
            false => Err(WeightsError::Check),
        }
    }

    /// What tells it from others.
    pub(crate) fn hash(&self) -> u64 {
        hash(&self.write())
    }

    /// The file's text.
    pub fn write(&self) -> String {
        let mut text = format!("{HEADER}\n{}\n", sizes());
        for parameter in &self.parameters {
            writeln!(text, "{parameter}").expect("text takes any number");
        }
        let check = check(&text);
        text + &check
    }
}

fn sizes() -> String {
    format!("network {FEATURES} {WIDTH} {WIDTH}")
}

/// FNV-1a, 64 bits.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The last line of a file whose other lines are `text`.
pub(super) fn check(text: &str) -> String {
    format!("check {:016x}\n", hash(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steal::Generator;

    fn some() -> Network {
        let mut generator = Generator::new(9);
        Network { parameters: std::array::from_fn(|_| generator.below(1000) as f32 / 333.0 - 1.5) }
    }

    #[test]
    fn what_was_written_is_read_and_the_shipped_file_is_whole() {
        assert_eq!(Network::parse(&some().write()), Ok(some()));
        assert_eq!(Network::shipped().write(), SHIPPED);
    }

    #[test]
    fn what_is_damaged_is_refused_with_the_reason() {
        let whole = some().write();
        let third = whole.lines().nth(2).unwrap();
        for (damaged, reason) in [
            (String::new(), WeightsError::Version),
            (whole.replace("upbeat-policy 1", "upbeat-policy 2"), WeightsError::Version),
            (whole.replace("16 16", "16 32"), WeightsError::Sizes),
            (whole[..whole.len() / 2].to_string() + "\n", WeightsError::Length),
            (whole[..whole.len() - 24].to_string(), WeightsError::Length),
            (whole.replacen(third, "NaN", 1), WeightsError::Number { line: 3 }),
            (whole.replacen(third, "inf", 1), WeightsError::Number { line: 3 }),
            (whole.replacen(third, "0.125", 1), WeightsError::Check),
            (whole.clone() + "1.0\n", WeightsError::Check),
        ] {
            let error = Network::parse(&damaged).unwrap_err();
            // Half a file may end within a number.
            let is_expected = error == reason
                || matches!((&error, &reason), (WeightsError::Number { .. }, WeightsError::Length));
            assert!(is_expected, "{error:?} for {reason:?}");
            assert!(!error.to_string().is_empty());
        }
    }

    /// Fault 36, and the fuzzers' file.
    #[test]
    fn random_damage_is_refused_or_harmless() {
        let whole = some().write().into_bytes();
        let mut generator = Generator::new(4);
        for _ in 0..2_000 {
            let mut bytes = whole.clone();
            for _ in 0..=generator.below(3) {
                let at = generator.below(bytes.len());
                bytes[at] = generator.next_u64() as u8;
            }
            bytes.truncate(bytes.len() - generator.below(2) * generator.below(bytes.len()));
            if let Ok(network) = Network::parse(&String::from_utf8_lossy(&bytes)) {
                assert!(network.parameters.iter().all(|parameter| parameter.is_finite()));
            }
        }
    }
}
