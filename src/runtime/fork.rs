//! `fork`: a child has its parent's memory and none of its parent's threads but the one that forked.
//!
//! A child begins anew: its free functions use a fresh global runtime, and a runtime of its parent's is refused with a message
//! instead of waited for. Who asks is always cold code. Rules: fault 39 and 40 in `docs/faults.md`.

#[cfg(all(target_os = "linux", not(upbeat_loom)))]
use crate::sync::Ordering;

/// How many times the processes before this one forked, from one to the next, since the first that built a runtime.
#[cfg(all(target_os = "linux", not(upbeat_loom)))]
static GENERATION: crate::sync::process::AtomicU64 = crate::sync::process::AtomicU64::new(0);

/// The generation of this process: what it built has the same one, what its parent built a lower one.
#[cfg(all(target_os = "linux", not(upbeat_loom)))]
pub(crate) fn generation() -> u64 {
    // Relaxed: written while the process has one thread only, from which all others come.
    GENERATION.load(Ordering::Relaxed)
}

/// From now on children of this process know that they are children. Called before a runtime has threads.
#[cfg(all(target_os = "linux", not(upbeat_loom)))]
pub(crate) fn watch() {
    extern "C" fn in_child() {
        GENERATION.store(GENERATION.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        super::current::forget_worker();
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        crate::sync::take_first_steal();
        // SAFETY: the handler stores to a static and a thread-local without destructor, which a child may do; the C library
        // forgets it when the code that it is in is unloaded.
        let refused = unsafe { libc::pthread_atfork(None, None, Some(in_child)) } != 0;
        // Only for want of memory, a few words of it.
        assert!(!refused, "the system has no memory for a fork handler");
    });
}

/// Not known on this system: the process counts as the first.
#[cfg(not(all(target_os = "linux", not(upbeat_loom))))]
pub(crate) fn generation() -> u64 {
    0
}

/// Not known on this system.
#[cfg(not(all(target_os = "linux", not(upbeat_loom))))]
pub(crate) fn watch() {}
