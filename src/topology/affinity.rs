//! The CPUs that this process may use, which one a thread runs on, and pinning a thread to one.

/// The CPU numbers in the calling thread's affinity mask; empty where the system has no such thing.
#[cfg(target_os = "linux")]
pub(crate) fn allowed() -> Vec<usize> {
    let mut set = empty_set();
    // SAFETY: the set is a plain bit array of the size given, and 0 means this thread.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } != 0;
    if failed {
        return Vec::new();
    }
    // SAFETY: every index is below the number of bits in the set.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Pins the calling thread to `cpu`; false when the system refuses.
#[cfg(target_os = "linux")]
pub(crate) fn pin(cpu: usize) -> bool {
    if cpu >= libc::CPU_SETSIZE as usize {
        return false;
    }
    let mut set = empty_set();
    // SAFETY: the index is below the number of bits in the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is a plain bit array of the size given, and 0 means this thread.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) == 0 }
}

/// The CPU that the calling thread runs on at this moment, if the system says.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn current_cpu() -> Option<usize> {
    // SAFETY: takes nothing and gives a number, negative for "not known".
    let cpu = unsafe { libc::sched_getcpu() };
    usize::try_from(cpu).ok()
}

#[cfg(target_os = "linux")]
fn empty_set() -> libc::cpu_set_t {
    // SAFETY: a CPU set is an array of integers, for which zeros are a value.
    unsafe { std::mem::zeroed() }
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
pub(crate) fn pin(_cpu: usize) -> bool {
    false
}
