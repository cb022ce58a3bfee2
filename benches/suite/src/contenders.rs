//! The runtimes under comparison, pinned alike: the caller is on the first CPU, helpers are on the others.
//!
//! forte, the best peer on some rows, needs a nightly compiler, so it cannot be linked here; `docs/benchmarks/` says how
//! it is measured beside us.

#[cfg(feature = "peers")]
use std::num::NonZero;

use upbeat::{BuildError, Pin, Runtime};

use crate::affinity::Cpus;

/// Our runtime and its peers, each with the same number of workers.
#[derive(Debug)]
pub struct Set {
    /// Ours.
    pub upbeat: Runtime,
    /// rayon's pool. Its caller sleeps while one of its threads works.
    #[cfg(feature = "peers")]
    pub rayon: rayon::ThreadPool,
    /// chili's pool. Its caller is one of the workers.
    #[cfg(feature = "peers")]
    pub chili: chili::ThreadPool,
}

impl Set {
    /// Starts them with `workers` workers, one a CPU if `pinned`. Leaves the calling thread on the first CPU then.
    ///
    /// # Errors
    /// When our runtime cannot be built.
    ///
    /// # Panics
    /// When rayon's pool cannot be built.
    pub fn new(workers: usize, cpus: &Cpus, pinned: bool) -> Result<Self, BuildError> {
        cpus.release();
        let pin = if pinned { Pin::Cores } else { Pin::None };
        let upbeat = Runtime::builder().workers(workers).pin(pin).build()?;
        #[cfg(feature = "peers")]
        let rayon = {
            let cpus = cpus.clone();
            let builder = rayon::ThreadPoolBuilder::new().num_threads(workers);
            let builder = builder.start_handler(move |thread| {
                if pinned {
                    cpus.pin(thread);
                }
            });
            builder.build().expect("a rayon pool")
        };
        #[cfg(feature = "peers")]
        let chili = {
            // Its threads are where they were started; with more than one helper they have to share the other CPUs.
            if pinned && workers == 2 {
                cpus.pin(1);
            }
            let config = chili::Config { thread_count: NonZero::new(workers), ..chili::Config::default() };
            chili::ThreadPool::with_config(config)
        };
        if pinned {
            cpus.pin(0);
        }
        Ok(Self {
            upbeat,
            #[cfg(feature = "peers")]
            rayon,
            #[cfg(feature = "peers")]
            chili,
        })
    }
}
