//! Which of a machine's Vulkan devices is taken: by kind, by name or by place, else the fastest kind.

use std::fmt;

use crate::error::{Reason, VulkanUnavailable};

/// What a device is, the fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A GPU of a virtual machine's host.
    Virtual,
    /// Anything else.
    Other,
    /// A CPU that computes like a GPU, as Mesa's lavapipe does.
    Cpu,
}

impl Kind {
    /// Its word in [`UPBEAT_VULKAN_DEVICE`](crate::Options::from_env).
    pub fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Other => "other",
            Self::Cpu => "cpu",
        }
    }

    const ALL: [Self; 5] = [Self::Discrete, Self::Integrated, Self::Virtual, Self::Other, Self::Cpu];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A device as a choice sees it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Whether it has all that kernels need.
    pub(crate) usable: bool,
}

/// Which device to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The fastest kind that has all that kernels need; never one that computes on the CPU.
    #[default]
    Fastest,
    /// The first of a kind, one that has all that kernels need before one that has not.
    Kind(Kind),
    /// The one at a place in [`devices`](crate::devices), from 0.
    Index(usize),
    /// The first whose name contains this, letters' case aside; one that has all that kernels need before one that has not.
    Name(String),
    /// The fastest kind that has all that kernels need, or a CPU where there is no other: for tests.
    Any,
}

impl Choice {
    /// What a user's word means: a number, a kind (`discrete`, `integrated`, `virtual`, `other`, `cpu`), `any`, else part of a name.
    /// Nothing but spaces is [`Fastest`](Self::Fastest).
    pub fn parse(word: &str) -> Self {
        let word = word.trim();
        let kind = Kind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(word));
        match (kind, word.parse()) {
            _ if word.is_empty() => Self::Fastest,
            (Some(kind), _) => Self::Kind(kind),
            (None, Ok(index)) => Self::Index(index),
            _ if word.eq_ignore_ascii_case("any") => Self::Any,
            _ => Self::Name(word.to_owned()),
        }
    }

    fn wanted(&self) -> String {
        match self {
            Self::Fastest | Self::Any => "any".to_owned(),
            Self::Kind(kind) => kind.name().to_owned(),
            Self::Index(index) => index.to_string(),
            Self::Name(name) => name.clone(),
        }
    }

    /// The place of the device to take among `devices`. One that cannot be used is taken only where no other fits, so that what it lacks is
    /// told.
    pub(crate) fn pick(&self, devices: &[Candidate]) -> Result<usize, VulkanUnavailable> {
        let unavailable = |reason| Err(VulkanUnavailable { reason });
        if devices.is_empty() {
            return unavailable(Reason::NoDevice);
        }
        let first = |fits: &dyn Fn(&Candidate) -> bool| {
            let usable = devices.iter().position(|device| device.usable && fits(device));
            usable.or_else(|| devices.iter().position(fits))
        };
        // The first of the fastest: the loader's own order decides among equals.
        let fastest = |may_be_a_cpu: bool| {
            let fits = |&i: &usize| may_be_a_cpu || devices[i].kind != Kind::Cpu;
            (0..devices.len()).filter(fits).min_by_key(|&i| (!devices[i].usable, devices[i].kind))
        };
        let found = match self {
            Self::Fastest => match fastest(false) {
                None => return unavailable(Reason::SoftwareOnly { device: devices[0].name.clone() }),
                found => found,
            },
            Self::Any => fastest(true),
            Self::Kind(kind) => first(&|device| device.kind == *kind),
            Self::Index(index) => (*index < devices.len()).then_some(*index),
            Self::Name(name) => {
                let name = name.to_lowercase();
                first(&|device| device.name.to_lowercase().contains(&name))
            }
        };
        let told = || devices.iter().map(|Candidate { kind, name, .. }| format!("{name} ({kind})")).collect();
        match found {
            Some(index) => Ok(index),
            None => unavailable(Reason::NoMatch { wanted: self.wanted(), found: told() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> Vec<Candidate> {
        [
            (Kind::Cpu, "llvmpipe"),
            (Kind::Integrated, "UHD 770"),
            (Kind::Discrete, "Arc A770"),
            (Kind::Discrete, "RTX"),
        ]
        .map(|(kind, name)| Candidate { kind, name: name.to_owned(), usable: true })
        .into()
    }

    #[test]
    fn words_mean_kinds_places_and_names() {
        assert_eq!(Choice::parse(" "), Choice::Fastest);
        assert_eq!(Choice::parse("CPU"), Choice::Kind(Kind::Cpu));
        assert_eq!(Choice::parse("any"), Choice::Any);
        assert_eq!(Choice::parse("2"), Choice::Index(2));
        assert_eq!(Choice::parse("770"), Choice::Index(770), "a number is a place, however large");
        assert_eq!(Choice::parse("uhd 770"), Choice::Name("uhd 770".to_owned()));
    }

    #[test]
    fn the_fastest_kind_is_taken_and_the_first_of_it() {
        let devices = devices();
        assert_eq!(Choice::Fastest.pick(&devices), Ok(2));
        assert_eq!(Choice::Kind(Kind::Integrated).pick(&devices), Ok(1));
        assert_eq!(Choice::Index(3).pick(&devices), Ok(3));
        assert_eq!(Choice::Name("rtx".to_owned()).pick(&devices), Ok(3));
        assert_eq!(Choice::Name("770".to_owned()).pick(&devices), Ok(1));
    }

    #[test]
    fn a_cpu_is_taken_only_when_asked_for() {
        let cpu = &devices()[..1];
        assert_eq!(
            Choice::Fastest.pick(cpu),
            Err(VulkanUnavailable { reason: Reason::SoftwareOnly { device: "llvmpipe".to_owned() } })
        );
        assert_eq!(Choice::Any.pick(cpu), Ok(0));
        assert_eq!(Choice::Kind(Kind::Cpu).pick(cpu), Ok(0));
    }

    /// An old card beside a new one, or a driver that is only half there, takes nobody's GPU away.
    #[test]
    fn a_device_that_lacks_something_is_taken_only_where_no_other_fits() {
        let lacking = |places: &[usize]| {
            let mut devices = devices();
            places.iter().for_each(|&place| devices[place].usable = false);
            devices
        };
        for choice in [Choice::Fastest, Choice::Any] {
            assert_eq!(choice.pick(&lacking(&[2])), Ok(3), "the other of its kind");
            assert_eq!(choice.pick(&lacking(&[2, 3])), Ok(1), "the next kind");
        }
        assert_eq!(Choice::Any.pick(&lacking(&[1, 2, 3])), Ok(0));
        assert_eq!(
            Choice::Fastest.pick(&lacking(&[1, 2, 3])),
            Ok(2),
            "what a GPU lacks is told, no CPU taken"
        );
        assert_eq!(Choice::Any.pick(&lacking(&[0, 1, 2, 3])), Ok(2));
        assert_eq!(Choice::Kind(Kind::Discrete).pick(&lacking(&[2])), Ok(3));
        assert_eq!(Choice::Kind(Kind::Discrete).pick(&lacking(&[2, 3])), Ok(2), "a kind is a kind");
        assert_eq!(Choice::Name("a".to_owned()).pick(&lacking(&[0])), Ok(2));
        assert_eq!(Choice::Name("arc".to_owned()).pick(&lacking(&[2])), Ok(2), "that one was asked for");
        assert_eq!(Choice::Index(2).pick(&lacking(&[2])), Ok(2));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let error = Choice::parse("virtual").pick(&devices()[..2]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no Vulkan device is \"virtual\"; choose among llvmpipe (cpu), UHD 770 (integrated)"
        );
        assert_eq!(Choice::Any.pick(&[]), Err(VulkanUnavailable { reason: Reason::NoDevice }));
        assert!(matches!(Choice::Index(4).pick(&devices()).unwrap_err().reason, Reason::NoMatch { .. }));
    }
}
