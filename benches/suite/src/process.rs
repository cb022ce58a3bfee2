//! What the kernel has counted for the threads of this process: CPU time and voluntary switches.

use std::fs;
use std::time::Duration;

/// Sums over threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a CPU. Exact for threads that are asleep, and to a scheduler's tick for one that runs.
    pub cpu: Duration,
    /// How often one of them went to sleep of its own accord, and so woke before.
    pub sleeps: u64,
}

/// Usage of the live threads whose names begin with `prefix`; `None` where the system does not tell.
pub fn usage(prefix: &str) -> Option<Usage> {
    let mut sum = Usage::default();
    for thread in fs::read_dir("/proc/self/task").ok()? {
        let folder = thread.ok()?.path();
        // A thread may end while we look; then its files are gone and it does not count.
        let Ok(name) = fs::read_to_string(folder.join("comm")) else { continue };
        if !name.starts_with(prefix) {
            continue;
        }
        let Ok(schedstat) = fs::read_to_string(folder.join("schedstat")) else { continue };
        let Ok(status) = fs::read_to_string(folder.join("status")) else { continue };
        sum.cpu += Duration::from_nanos(schedstat.split_whitespace().next()?.parse().ok()?);
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        sum.sleeps += sleeps.trim().parse::<u64>().ok()?;
    }
    Some(sum)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_and_sleeps_of_named_threads_are_counted() {
        let thread = std::thread::Builder::new().name("usage-of-me".into());
        let (begin, begun) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = thread.spawn(move || {
            for _ in 0..20 {
                std::thread::sleep(Duration::from_micros(100));
            }
            crate::workloads::spin_item(2_000_000);
            begin.send(()).unwrap();
            let _ = ended.recv();
        });
        let thread = thread.unwrap();
        begun.recv().unwrap();
        let used = usage("usage-of-me").unwrap();
        assert!(used.sleeps >= 20, "{used:?}");
        assert!(usage("").unwrap().sleeps >= used.sleeps);
        assert_eq!(usage("nobody has this name"), Some(Usage::default()));
        drop(end);
        thread.join().unwrap();
    }
}
