//! Which unit multiplies numbers in bf16: the fastest that the machine has, or the one that `UPBEAT_BF16` asks for.

use std::fmt;
use std::sync::OnceLock;

use crate::isa::Isa;

/// What multiplies numbers in bf16 without widening them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Intel's matrix extensions (AMX), on Linux.
    Amx,
    /// The dot products of AVX-512 BF16.
    Dots,
    /// AMX's arithmetic in plain code: tests what is around it on machines that lack it. Slow. Used at the level `emulated512`.
    Twin,
}

/// An `UPBEAT_BF16` that names no unit, or one that this machine, its operating system or its level lacks.
#[derive(Clone, PartialEq, Eq)]
pub enum UnitError {
    /// Not a known name.
    Unknown(String),
    /// Known, but there is none at this level of this machine.
    Unsupported(Unit, Isa),
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "UPBEAT_BF16={name} is not one of amx, dots, twin, f32"),
            Self::Unsupported(unit, level) => {
                let (unit, level) = (unit.name(), level.name());
                write!(f, "UPBEAT_BF16={unit} is not supported by this machine at its level {level}; unset it, or take f32")
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnitError({self})")
    }
}

impl std::error::Error for UnitError {}

impl Unit {
    /// Every unit.
    pub const ALL: [Unit; 3] = [Unit::Amx, Unit::Dots, Unit::Twin];

    /// The name that `UPBEAT_BF16` uses.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Amx => "amx",
            Unit::Dots => "dots",
            Unit::Twin => "twin",
        }
    }

    /// Whether this machine and its operating system have it. For AMX this asks Linux for the process' permission to use it; once that is
    /// given, the system refuses stacks for signals (`sigaltstack`) that are too small to save AMX's registers, about 11 KiB.
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx => {
                static FOUND: OnceLock<bool> = OnceLock::new();
                *FOUND.get_or_init(super::amx::is_supported)
            }
            #[cfg(target_arch = "x86_64")]
            Unit::Dots => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16"),
            Unit::Twin => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The unit that `UPBEAT_BF16` asks for (`amx`, `dots`, `twin`; `f32` for none), or when it is unset or empty the fastest one: AMX, the dot
    /// products of an AMD processor (Intel's take longer than widening and f32's multiply-add), or none. Levels below AVX-512 have none
    /// but the twin.
    ///
    /// # Errors
    /// When it names no unit, or one that is not to be had here.
    ///
    /// # Panics
    /// When `UPBEAT_ISA` is wrong, as [`Isa::active`].
    pub fn from_env() -> Result<Option<Unit>, UnitError> {
        let level = Isa::active();
        let has = |unit: Unit| unit == Unit::Twin || (level == Isa::Avx512 && unit.is_supported());
        let asked = std::env::var_os("UPBEAT_BF16").unwrap_or_default();
        let asked = asked.to_string_lossy().to_ascii_lowercase();
        if asked == "f32" {
            return Ok(None);
        }
        if asked.is_empty() {
            return Ok(match level {
                Isa::Emulated512 => Some(Unit::Twin),
                _ if has(Unit::Amx) => Some(Unit::Amx),
                _ if has(Unit::Dots) && is_amd() => Some(Unit::Dots),
                _ => None,
            });
        }
        match Unit::ALL.into_iter().find(|unit| unit.name() == asked) {
            Some(unit) if has(unit) => Ok(Some(unit)),
            Some(unit) => Err(UnitError::Unsupported(unit, level)),
            None => Err(UnitError::Unknown(asked)),
        }
    }

    /// The unit in use, chosen once a process; `None` where numbers in bf16 are widened and multiplied in f32.
    ///
    /// # Panics
    /// When `UPBEAT_BF16` or `UPBEAT_ISA` is wrong; call [`Unit::from_env`] first to report that in your own way.
    pub fn active() -> Option<Unit> {
        static ACTIVE: OnceLock<Option<Unit>> = OnceLock::new();
        *ACTIVE.get_or_init(|| Unit::from_env().unwrap_or_else(|error| panic!("{error}")))
    }

    /// Panics when this machine lacks the unit.
    pub(super) fn check(self) {
        assert!(self.is_supported(), "this machine has no unit {}", self.name());
    }
}

/// Whether the processor is AMD's.
fn is_amd() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let vendor = std::arch::x86_64::__cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}
