//! Whether two threads get two cores right now. A round of measurements in which they did not says nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::affinity::Cpus;
use crate::workloads::spin_item;

/// Rounds of work in a probe; about 0.2 ms.
const LENGTH: u64 = 60_000;
/// Below this two threads did not have two cores. Two that had come to 1.6 to 1.9: they share caches and clock.
const ENOUGH: f64 = 1.5;

/// The probe, with the time that one thread needs.
#[derive(Debug)]
pub struct Probe {
    cpus: Cpus,
    alone: f64,
}

impl Probe {
    /// Measures what one thread needs. The calling thread is on the first CPU afterwards, if there are two.
    pub fn new(cpus: &Cpus) -> Self {
        let once = || {
            let start = Instant::now();
            spin_item(LENGTH);
            start.elapsed().as_secs_f64()
        };
        let alone = (0..20).map(|_| once()).fold(f64::INFINITY, f64::min);
        Self { cpus: cpus.clone(), alone }
    }

    /// How many cores two threads get; 2.0 where there is one CPU only, and nothing to find out.
    pub fn cores(&self) -> f64 {
        if self.cpus.count() < 2 {
            return 2.0;
        }
        let (up, go) = (AtomicBool::new(false), AtomicBool::new(false));
        // The helper is born on the second CPU: moved there later it would first wait for ours.
        self.cpus.pin(1);
        let took = std::thread::scope(|scope| {
            let helper = scope.spawn(|| {
                up.store(true, Ordering::Release);
                while !go.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                spin_item(LENGTH)
            });
            self.cpus.pin(0);
            while !up.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            go.store(true, Ordering::Release);
            spin_item(LENGTH);
            helper.join().expect("the probe does not panic");
            start.elapsed().as_secs_f64()
        });
        2.0 * self.alone / took
    }

    /// Whether the machine is ours.
    pub fn is_quiet(&self) -> bool {
        self.cores() >= ENOUGH
    }
}
