//! A clock for deciding how long to go on, read in 10 ns where the system's takes 30.
//!
//! It paces loops and thieves and times what workers do (`observe/clock.rs` measures its rate). Nothing correct rests on it: it may
//! differ between processors, stand still or go back.

/// Ticks of a processor's counter: 0.25 to 1 ns each.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and it reads a register.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Half nanoseconds since some moment.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn ticks() -> u64 {
    super::now() * 2
}
