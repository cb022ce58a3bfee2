//! Modes: which forks become public, for those who look for a bug in their own parallel code. A mode changes when work is
//! shared, never what is computed. The normal one costs nothing; the others are carried out where requests are answered.

use std::ffi::OsString;

use crate::deque::Requests;
use crate::error::BuildError;
use crate::steal::Generator;

/// When a runtime lets other workers have the right side of a join, or a part of a loop.
///
/// The modes other than the first are for debugging. If a result is wrong in one of them, or differs between them, the program
/// has a race or depends on who runs what; [`NeverPromote`](Mode::NeverPromote) is its sequential meaning.
///
/// Tasks of [`spawn`](crate::spawn) and [`scope`](crate::scope) are public in every mode, because a caller may wait for them by
/// means that the runtime does not see; one worker ([`Builder::workers`](crate::Builder::workers)) runs those in sequence too.
///
/// ```
/// use upbeat::{Mode, Runtime};
///
/// for mode in [Mode::OnRequest, Mode::NeverPromote, Mode::AlwaysPromote, Mode::Seeded(7)] {
///     let runtime = Runtime::builder().workers(2).mode(mode).build()?;
///     assert_eq!(runtime.install(|_| upbeat::par::map(0..4, |i| i * i)), [0, 1, 4, 9]);
/// }
/// # Ok::<(), upbeat::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// When an idle worker asks. The default.
    #[default]
    OnRequest,
    /// Never: the worker that calls a join or a loop runs all of it, in order. Code whose sides wait for each other hangs.
    NeverPromote,
    /// Always: each fork is public at once while the worker's ring (64 tasks) has room, and a loop is cut down to single
    /// indices. Slow, and as parallel as the program can be.
    AlwaysPromote,
    /// At each fork as many tasks become public as a generator with this seed says, which also chooses victims and moments at
    /// which a worker yields its processor. The same seed draws the same numbers on each worker; the operating system still
    /// decides who is fast, so a seed makes a failure likelier to come back, not certain. A fork of which nothing was drawn stays
    /// private, so code whose sides wait for each other may hang.
    Seeded(u64),
}

impl Mode {
    /// `UPBEAT_MODE`, if it is set and not empty; else the default.
    pub(super) fn from_environment(variable: Option<OsString>) -> Result<Self, BuildError> {
        let Some(value) = variable.filter(|value| !value.is_empty()) else { return Ok(Self::default()) };
        let known = value.to_str().and_then(|text| match text.trim() {
            "never-promote" => Some(Self::NeverPromote),
            "always-promote" => Some(Self::AlwaysPromote),
            text => text.strip_prefix("seed=")?.parse().ok().map(Self::Seeded),
        });
        known.ok_or_else(|| BuildError::Mode { value: value.to_string_lossy().into_owned() })
    }

    /// How a ring treats requests.
    pub(crate) fn requests(self) -> Requests {
        match self {
            Self::OnRequest => Requests::Answered,
            Self::NeverPromote => Requests::Ignored,
            Self::AlwaysPromote | Self::Seeded(_) => Requests::Standing,
        }
    }

    /// How many of `private` tasks an answer makes public if there is room.
    pub(crate) fn exposed(self, private: usize, random: impl FnOnce(usize) -> usize) -> usize {
        match self {
            Self::Seeded(_) => random(private + 1),
            _ => private.div_ceil(2),
        }
    }

    /// Whether a worker should yield its processor now.
    pub(crate) fn yields(self, generator: &mut Generator) -> bool {
        matches!(self, Self::Seeded(_)) && generator.below(64) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 50.
    #[test]
    fn the_environment_is_read_or_refused() {
        let read = |text: &str| Mode::from_environment(Some(text.into()));
        assert_eq!(Mode::from_environment(None).unwrap(), Mode::OnRequest);
        assert_eq!(read("").unwrap(), Mode::OnRequest);
        assert_eq!(read("never-promote").unwrap(), Mode::NeverPromote);
        assert_eq!(read(" always-promote ").unwrap(), Mode::AlwaysPromote);
        assert_eq!(read("seed=18446744073709551615").unwrap(), Mode::Seeded(u64::MAX));
        for garbage in
            ["Never-promote", "seed", "seed=", "seed=-1", "seed=18446744073709551616", "always", " "]
        {
            match read(garbage) {
                Err(BuildError::Mode { value }) => assert_eq!(value, garbage),
                other => panic!("{garbage}: {other:?}"),
            }
        }
    }
}
