//! The CPUs that this process may use, which one a thread runs on, and keeping a thread on some of them.
//!
//! Masks are as long as the kernel's: one of 1024 bits is refused where the kernel was built for more CPUs.

/// The bits of the largest mask that is asked for; no kernel has been built for so many CPUs.
pub(crate) const LONGEST: usize = 1 << 16;
#[cfg(target_os = "linux")]
const WORD: usize = libc::c_ulong::BITS as usize;

/// The CPU numbers in the calling thread's affinity mask; empty where the system has no such thing.
#[cfg(target_os = "linux")]
pub(crate) fn allowed() -> Vec<usize> {
    let mut bits = libc::CPU_SETSIZE as usize;
    while bits <= LONGEST {
        let mut mask: Vec<libc::c_ulong> = vec![0; bits / WORD];
        let size = size_of_val(mask.as_slice());
        // SAFETY: a CPU set is an array of words of this type; this one has the size given, and 0 means this thread.
        if unsafe { libc::sched_getaffinity(0, size, mask.as_mut_ptr().cast()) } == 0 {
            return (0..bits).filter(|cpu| mask[cpu / WORD] & 1 << (cpu % WORD) != 0).collect();
        }
        // Refused: it is too short, or there is nothing to know.
        bits *= 2;
    }
    Vec::new()
}

/// Keeps the calling thread on `cpus`; false when the system refuses, and when there are none.
#[cfg(target_os = "linux")]
pub(crate) fn pin(cpus: &[usize]) -> bool {
    let Some(&last) = cpus.iter().max().filter(|&&last| last < LONGEST) else { return false };
    let mut mask: Vec<libc::c_ulong> = vec![0; last / WORD + 1];
    cpus.iter().for_each(|cpu| mask[cpu / WORD] |= 1 << (cpu % WORD));
    let size = size_of_val(mask.as_slice());
    // SAFETY: as above; a mask may be shorter than the kernel's, which takes the rest for zeros.
    unsafe { libc::sched_setaffinity(0, size, mask.as_ptr().cast()) == 0 }
}

/// The CPU that the calling thread runs on at this moment, if the system says.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn current_cpu() -> Option<usize> {
    // SAFETY: takes nothing and gives a number, negative for "not known".
    let cpu = unsafe { libc::sched_getcpu() };
    usize::try_from(cpu).ok()
}

/// Not known on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn allowed() -> Vec<usize> {
    Vec::new()
}

/// Not known on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn current_cpu() -> Option<usize> {
    None
}

/// Not possible on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_cpus: &[usize]) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Fault 46: a mask without CPUs, or with none that there is, is refused and changes nothing.
    #[test]
    fn what_cannot_be_pinned_to_is_refused() {
        let before = allowed();
        assert!(!before.is_empty());
        for nowhere in [&[][..], &[LONGEST], &[LONGEST - 1], &[usize::MAX]] {
            assert!(!pin(nowhere), "{nowhere:?}");
        }
        assert_eq!(allowed(), before);
        // In a thread of its own, whose mask ends with it.
        let narrowed = std::thread::spawn(|| {
            let last = allowed().pop().unwrap();
            // A CPU that is not there does no harm beside one that is.
            assert!(pin(&[last, LONGEST - 1]));
            (last, allowed())
        });
        let (last, now) = narrowed.join().unwrap();
        assert_eq!(now, [last]);
    }
}
