//! A fence that costs the side that is in a hurry nothing, and the other side a system call.
//!
//! Two threads that each store and then load what the other stores need a full fence each, or both may load the old values. Where one of
//! them does it often and the other seldom, Linux' `membarrier` makes the fence for both: before it returns, every thread of the process that
//! runs has made a full fence (`man 2 membarrier`, `PRIVATE_EXPEDITED`; a thread that does not run made one when it was switched off). So
//! [`light`](AsymmetricFence::light) only has to keep the compiler from moving accesses. Where there is no `membarrier` (another system,
//! an old kernel, a filter of system calls) both are full fences.

use std::sync::atomic::{compiler_fence, AtomicU8, Ordering};

use super::fence;

/// Which of the two this process has; the same for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsymmetricFence {
    /// The system makes both fences at [`heavy`](Self::heavy).
    Membarrier,
    /// Each side makes its own.
    Both,
}

impl AsymmetricFence {
    /// Asks the system, once in a process: 2 µs where that has one thread, 5 to 15 ms where it has more. A child of `fork` inherits the
    /// answer and what was asked for.
    pub(crate) fn new() -> Self {
        // No lock, which a child of `fork` might find taken for ever. Two threads may both ask: the first answer is kept.
        static KNOWN: AtomicU8 = AtomicU8::new(0);
        let mut known = KNOWN.load(Ordering::Acquire);
        if known == 0 {
            let answer = if membarrier(REGISTER) { 1 } else { 2 };
            known = match KNOWN.compare_exchange(0, answer, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => answer,
                Err(first) => first,
            };
        }
        if known == 1 {
            Self::Membarrier
        } else {
            Self::Both
        }
    }

    /// Whether [`light`](Self::light) costs nothing.
    #[inline(always)]
    pub(crate) fn is_free(self) -> bool {
        self == Self::Membarrier
    }

    /// The side that is in a hurry.
    #[inline(always)]
    pub(crate) fn light(self) {
        match self {
            Self::Membarrier => compiler_fence(Ordering::SeqCst),
            Self::Both => fence(Ordering::SeqCst),
        }
    }

    /// The other side. False if the system refuses what it has granted before (a filter of system calls that was set up later, or no memory):
    /// then this thread has made its fence and the others have not.
    #[must_use]
    #[cold]
    pub(crate) fn heavy(self) -> bool {
        fence(Ordering::SeqCst);
        self == Self::Both || membarrier(FENCE)
    }
}

/// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED` of `linux/membarrier.h`.
const REGISTER: i32 = 1 << 4;
/// `MEMBARRIER_CMD_PRIVATE_EXPEDITED`.
const FENCE: i32 = 1 << 3;

/// Whether the system did it.
#[cfg(target_os = "linux")]
fn membarrier(command: i32) -> bool {
    // SAFETY: the call takes three numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Not on this system.
#[cfg(not(target_os = "linux"))]
fn membarrier(_command: i32) -> bool {
    false
}
