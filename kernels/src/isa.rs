//! Which instruction set the kernels use: the best the machine has, or a lower one asked for by `UPBEAT_ISA`.

use std::fmt;
use std::sync::OnceLock;

use crate::simd::{Avx2, Avx512, Emulated512, Kernel, Neon, Scalar, Sse41};

/// An instruction-set level that the kernels are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust, one lane; for processors that have none of the others.
    Scalar,
    /// SSE4.1, 4 lanes.
    Sse41,
    /// NEON of AArch64, 4 lanes.
    Neon,
    /// AVX2 and FMA, 8 lanes.
    Avx2,
    /// AVX-512F, 16 lanes.
    Avx512,
    /// The 16 lanes of AVX-512 as pairs of AVX2's: tests what is written for AVX-512 on machines that lack it. Computes the same bits, but
    /// for products in bf16, where it takes [AMX's arithmetic](crate::simd::pairs::Unit::Twin).
    /// Compiled in with the feature `emulated512`.
    Emulated512,
}

/// An `UPBEAT_ISA` that names no level, or one that this machine or program lacks.
#[derive(Clone, PartialEq, Eq)]
pub enum IsaError {
    /// Not a known name.
    Unknown(String),
    /// Known, but the machine or its operating system does not support it.
    Unsupported(Isa),
    /// Known, but left out of this program.
    NotCompiled(Isa),
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "UPBEAT_ISA={name} is not one of {}", Isa::ALL.map(Isa::name).join(", "))
            }
            Self::Unsupported(isa) => write!(f, "UPBEAT_ISA={} is not supported by this machine", isa.name()),
            Self::NotCompiled(isa) => {
                let name = isa.name();
                write!(f, "UPBEAT_ISA={name} needs upbeat-kernels compiled with the feature {name}")
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IsaError({self})")
    }
}

impl std::error::Error for IsaError {}

impl Isa {
    /// Every level, lowest first.
    pub const ALL: [Isa; 6] = [Isa::Scalar, Isa::Sse41, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Emulated512];

    /// The name that `UPBEAT_ISA` uses.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Sse41 => "sse4.1",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Emulated512 => "emulated512",
        }
    }

    /// Whether this machine can run it (CPU and operating system; the standard library checks XCR0).
    pub fn is_supported(self) -> bool {
        match self {
            Isa::Scalar => true,
            // The levels below are active only after their detection succeeded, so the tokens exist.
            Isa::Emulated512 => Emulated512::detect().is_some(),
            Isa::Sse41 => Sse41::detect().is_some(),
            Isa::Neon => Neon::detect().is_some(),
            Isa::Avx2 => Avx2::detect().is_some(),
            Isa::Avx512 => Avx512::detect().is_some(),
        }
    }

    /// The best level of this machine.
    pub fn detect() -> Isa {
        [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Sse41]
            .into_iter()
            .find(|isa| isa.is_supported())
            .unwrap_or(Isa::Scalar)
    }

    /// The level that `UPBEAT_ISA` asks for, or the best one when it is unset or empty.
    ///
    /// # Errors
    /// When it names no level, or one that this machine, its operating system or this program lacks.
    pub fn from_env() -> Result<Isa, IsaError> {
        let Some(name) = std::env::var_os("UPBEAT_ISA").filter(|v| !v.is_empty()) else {
            return Ok(Isa::detect());
        };
        let name = name.to_string_lossy().to_ascii_lowercase();
        let isa = Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or(IsaError::Unknown(name))?;
        match isa {
            _ if isa.is_supported() => Ok(isa),
            Isa::Emulated512 if cfg!(not(feature = "emulated512")) => Err(IsaError::NotCompiled(isa)),
            _ => Err(IsaError::Unsupported(isa)),
        }
    }

    /// The level in use, chosen once a process.
    ///
    /// # Panics
    /// When `UPBEAT_ISA` is wrong; call [`Isa::from_env`] first to report that in your own way.
    pub fn active() -> Isa {
        static ACTIVE: OnceLock<Isa> = OnceLock::new();
        *ACTIVE.get_or_init(|| Isa::from_env().unwrap_or_else(|error| panic!("{error}")))
    }
}

/// Runs `kernel` with the vectors of the active level.
#[inline]
#[allow(unreachable_code)] // An absent level has no value.
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match Isa::active() {
        Isa::Scalar => kernel.run(Scalar),
        // The levels below are active only after their detection succeeded, so the tokens exist.
        Isa::Emulated512 => Emulated512::detect().expect("AVX2 was detected").run(kernel),
        Isa::Sse41 => Sse41::detect().expect("SSE4.1 was detected").run(kernel),
        Isa::Neon => Neon::detect().expect("NEON was detected").run(kernel),
        Isa::Avx2 => Avx2::detect().expect("AVX2 was detected").run(kernel),
        Isa::Avx512 => Avx512::detect().expect("AVX-512 was detected").run(kernel),
    }
}
