//! Pinning of threads that the runtime under test does not pin: the caller's and the peers'.
//!
//! Unpinned, two threads beside other load may share one core for tens of milliseconds, and a comparison of runtimes
//! becomes one of luck.

/// The CPUs that the process may use, as they were before anything was pinned.
#[derive(Clone, Debug)]
pub struct Cpus(Vec<usize>);

impl Cpus {
    /// Reads the calling thread's mask; call it first of all.
    pub fn read() -> Self {
        Self(upbeat::topology::machine().cpus.iter().map(|cpu| cpu.id).collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Keeps the calling thread, and the threads that it starts from now on, on the `nth` of the CPUs, counted round.
    /// Best effort: where the system refuses, the thread stays where it was.
    pub fn pin(&self, nth: usize) {
        if let Some(nth) = nth.checked_rem(self.0.len()) {
            allow(&self.0[nth..=nth]);
        }
    }

    /// Gives the calling thread all of them back.
    pub fn release(&self) {
        allow(&self.0);
    }
}

#[cfg(target_os = "linux")]
fn allow(cpus: &[usize]) {
    // SAFETY: a CPU set is an array of integers, for which zeros are a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the index is below the number of bits in the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the set is a plain bit array of the size given, and 0 means this thread.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
}

#[cfg(not(target_os = "linux"))]
fn allow(_cpus: &[usize]) {}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own, whose mask goes with it.
    #[test]
    fn a_pinned_thread_may_use_one_cpu_and_a_released_one_all() {
        std::thread::spawn(|| {
            let cpus = Cpus::read();
            assert!(cpus.count() > 0);
            for nth in [0, 1, cpus.count(), 1000] {
                cpus.pin(nth);
                if cfg!(target_os = "linux") {
                    assert_eq!(Cpus::read().0, [cpus.0[nth % cpus.count()]]);
                }
            }
            cpus.release();
            assert_eq!(Cpus::read().0, cpus.0);
        })
        .join()
        .unwrap();
    }
}
