//! Sizes of the blocks that products and convolutions are cut into: from the caches, or from a short search that was saved.
//!
//! No size here touches the order of a sum, so none changes a bit of any result: a tuned machine computes what others do, and
//! sizes may change while kernels run. [`search`] refines them, [`Tuning::save`] keeps them in a text file that people can read, and
//! every later process takes them from there.
//!
//! `UPBEAT_TUNING` names another file than the usual one; `off` means the caches' sizes alone.
//!
//! ```
//! use upbeat_kernels::tuning::{self, Tuning};
//!
//! let sizes = Tuning { tasks: 4, ..Tuning::from_caches() };
//! tuning::set(sizes)?;
//! assert_eq!(tuning::active(), sizes);
//! # Ok::<(), upbeat_kernels::tuning::TuningError>(())
//! ```

mod caches;
mod error;
mod file;
mod search;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;

pub use caches::Caches;
pub use error::TuningError;
pub use search::{search, Found, Trial};

use file::usual_path;

/// Sizes of blocks. The defaults are those of [`Tuning::from_caches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Bytes of the block that a task packs for itself, and reads again for every panel of the other factor.
    pub private_bytes: usize,
    /// Bytes of the factor that all tasks share, packed at once.
    pub shared_bytes: usize,
    /// Fewest multiply-adds worth a task.
    pub task_work: usize,
    /// Tasks to aim for a worker where there is work enough.
    pub tasks: usize,
}

/// Where the active sizes come from.
#[derive(Debug)]
pub enum Source {
    /// From the caches: `UPBEAT_TUNING=off`, or nothing was saved.
    Caches,
    /// From this file.
    Saved(PathBuf),
    /// From the caches, as the usual file cannot be used.
    Ignored(PathBuf, TuningError),
}

impl Tuning {
    /// What the sizes of this machine's caches suggest: half of the second level for a task's own block, half of the last level
    /// for the shared factor, tasks of 2²⁰ multiply-adds or more (some 20 µs of an AVX2 core), six a worker.
    pub fn from_caches() -> Self {
        Self::of(Caches::get())
    }

    pub(crate) fn of(caches: Caches) -> Self {
        Self {
            private_bytes: caches.private / 2,
            shared_bytes: caches.shared / 2,
            task_work: 1 << 20,
            tasks: 6,
        }
    }

    /// What `UPBEAT_TUNING` asks for: the sizes of the file it names, or the caches' for `off`. Unset or empty: those of the
    /// usual file, if it is there and of this machine, else the caches'.
    ///
    /// # Errors
    /// When a file that `UPBEAT_TUNING` names cannot be read, holds something else, or is of another machine.
    pub fn from_env() -> Result<(Self, Source), TuningError> {
        let asked = std::env::var_os("UPBEAT_TUNING").filter(|value| !value.is_empty());
        match (asked, usual_path()) {
            (Some(value), _) if value == "off" => Ok((Self::from_caches(), Source::Caches)),
            (Some(value), _) => {
                let path = PathBuf::from(value);
                Ok((Self::load(&path)?, Source::Saved(path)))
            }
            (None, Some(path)) if path.exists() => Ok(match Self::load(&path) {
                Ok(tuning) => (tuning, Source::Saved(path)),
                Err(error) => (Self::from_caches(), Source::Ignored(path, error)),
            }),
            (None, _) => Ok((Self::from_caches(), Source::Caches)),
        }
    }

    /// Every field with its name and the values that make sense.
    fn fields(&mut self) -> [(&'static str, &mut usize, std::ops::RangeInclusive<usize>); 4] {
        [
            ("private_bytes", &mut self.private_bytes, 4 << 10..=1 << 30),
            ("shared_bytes", &mut self.shared_bytes, 64 << 10..=1 << 36),
            ("task_work", &mut self.task_work, 1 << 10..=1 << 34),
            ("tasks", &mut self.tasks, 1..=1024),
        ]
    }

    /// # Errors
    /// A value that makes no sense.
    fn check(mut self) -> Result<Self, TuningError> {
        for (name, value, range) in self.fields() {
            if !range.contains(value) {
                return Err(TuningError::OutOfRange { name, value: *value, range });
            }
        }
        Ok(self)
    }
}

/// The active sizes, in the order of [`Tuning::fields`]; those of `first` when there were none.
fn cells(first: impl FnOnce() -> Tuning) -> &'static [AtomicUsize; 4] {
    static ACTIVE: OnceLock<[AtomicUsize; 4]> = OnceLock::new();
    ACTIVE.get_or_init(|| first().fields().map(|(_, value, _)| AtomicUsize::new(*value)))
}

/// The sizes in use: what [`set`] set last, or at first what [`Tuning::from_env`] gives.
///
/// # Panics
/// When `UPBEAT_TUNING` is wrong and nothing was set; call [`Tuning::from_env`] first to report that in your own way, and
/// [`set`] to go on without it.
pub fn active() -> Tuning {
    let cells = cells(|| Tuning::from_env().unwrap_or_else(|error| panic!("{error}")).0);
    let mut tuning = Tuning { private_bytes: 0, shared_bytes: 0, task_work: 0, tasks: 0 };
    for ((_, value, _), cell) in tuning.fields().into_iter().zip(cells) {
        // Each size is good by itself, and no result depends on any: an old one beside a new one does no harm.
        *value = cell.load(Ordering::Relaxed);
    }
    tuning
}

/// Uses `tuning` in this process from now on, whatever `UPBEAT_TUNING` says.
///
/// # Errors
/// A value that makes no sense; nothing changes then.
pub fn set(tuning: Tuning) -> Result<(), TuningError> {
    let mut tuning = tuning.check()?;
    let cells = cells(|| tuning);
    for ((_, value, _), cell) in tuning.fields().into_iter().zip(cells) {
        cell.store(*value, Ordering::Relaxed);
    }
    Ok(())
}
