//! A folder of checkpoints, in which a crash at any point leaves a whole one.
//!
//! A checkpoint is a *generation*: a folder `generation-00000007` with its files and a `manifest` of their lengths and
//! hashes. It is written as `.partial`, every file synced, then the folder synced and renamed, then the parent synced;
//! older generations are removed last. So there is no moment without a whole generation, and parameters and training
//! state are never of different steps. The newest generation is the checkpoint; one that does not match its manifest is
//! refused, never skipped in silence.
//!
//! A writer holds a lock on `lock`, which the system releases when its process ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, FileSystem};
use super::error::CheckpointError;
use super::manifest::{Manifest, MANIFEST};

const PREFIX: &str = "generation-";
const PARTIAL: &str = ".partial";
const LOCK: &str = "lock";

/// A file of a checkpoint: its name and content.
pub type NamedFile = (&'static str, Vec<u8>);

/// The one spelling of a generation folder's name.
fn generation_name(number: u64) -> String {
    format!("{PREFIX}{number:08}")
}

/// The number of a generation folder; `None` for other names, among them other spellings of a number: what is found
/// is opened and removed by [`generation_name`].
fn generation_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.parse().ok()?;
    (generation_name(number) == name).then_some(number)
}

fn generation_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(generation_name(number))
}

/// Generations in `folder`, oldest first.
fn generations(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        found.extend(entry?.file_name().to_str().and_then(generation_of));
    }
    found.sort_unstable();
    Ok(found)
}

/// Writes checkpoints to a folder, alone.
#[derive(Debug)]
pub struct Store<D: Disk = FileSystem> {
    folder: PathBuf,
    disk: D,
    /// Held, never read: dropping it lets the next writer in.
    _lock: Lock,
}

/// A locked file, unlocked when dropped.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone is not enough: a process that another thread is just starting has a copy of every open file
        // until its program is loaded, and the lock is held while any copy is open. Where the system refuses, that is
        // when it ends.
        let _ = self.0.unlock();
    }
}

impl Store {
    /// Makes the folder where it is missing, and locks it.
    ///
    /// # Errors
    /// A folder that cannot be made or written to; another writer in it.
    pub fn create(folder: &Path) -> Result<Self, CheckpointError> {
        Self::with_disk(folder, FileSystem)
    }
}

impl<D: Disk> Store<D> {
    /// [`Store::create`] on another disk.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn with_disk(folder: &Path, disk: D) -> Result<Self, CheckpointError> {
        let write = |path: &Path, source| CheckpointError::Write { path: path.to_path_buf(), source };
        fs::create_dir_all(folder).map_err(|e| write(folder, e))?;
        let path = folder.join(LOCK);
        // Opening a pipe would wait for a reader.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(write(&path, io::Error::other("it is not a regular file")));
        }
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| write(&path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CheckpointError::Busy(folder.to_path_buf())),
            Err(TryLockError::Error(source)) => return Err(write(&path, source)),
        }
        Ok(Self { folder: folder.to_path_buf(), disk, _lock: Lock(lock) })
    }

    /// Where the checkpoints are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the folder holds a checkpoint, whole or not.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn holds_checkpoint(&self) -> Result<bool, CheckpointError> {
        let generations = generations(&self.folder)
            .map_err(|source| CheckpointError::Read { path: self.folder.clone(), source })?;
        Ok(!generations.is_empty())
    }

    /// Saves `files` as the newest checkpoint and returns its folder. Older ones are removed after it is durable; one
    /// that the system will not remove is left to the next call.
    ///
    /// # Errors
    /// [`CheckpointError::Write`], also when the newest generation has the last number; the older checkpoint is then whole, and what was written of the new one is removed
    /// as far as the system lets it.
    pub fn save(&self, files: &[NamedFile]) -> Result<PathBuf, CheckpointError> {
        let at = |path: &Path, result: io::Result<()>| {
            result.map_err(|source| CheckpointError::Write { path: path.to_path_buf(), source })
        };
        let older = generations(&self.folder)
            .map_err(|source| CheckpointError::Write { path: self.folder.clone(), source })?;
        let newest = older.last().copied().unwrap_or(0);
        let number = newest.checked_add(1).ok_or_else(|| CheckpointError::Write {
            path: self.folder.clone(),
            source: io::Error::other(format!("no number follows that of {}", generation_name(newest))),
        })?;
        let path = generation_path(&self.folder, number);
        let partial = self.folder.join(PARTIAL);
        if partial.exists() {
            at(&partial, self.disk.remove_folder(&partial))?;
        }
        let written = (|| {
            at(&partial, self.disk.create_folder(&partial))?;
            for (name, bytes) in files {
                at(&path.join(name), self.disk.write_file(&partial.join(name), bytes))?;
            }
            let manifest = Manifest::of(files).to_text();
            at(&path.join(MANIFEST), self.disk.write_file(&partial.join(MANIFEST), manifest.as_bytes()))?;
            at(&partial, self.disk.sync_folder(&partial))?;
            at(&path, self.disk.rename(&partial, &path))
        })();
        if let Err(error) = written {
            // The first error is the one to report; what this leaves behind the next save removes.
            let _ = self.disk.remove_folder(&partial);
            return Err(error);
        }
        at(&self.folder, self.disk.sync_folder(&self.folder))?;
        for number in older {
            if self.disk.remove_folder(&generation_path(&self.folder, number)).is_err() {
                break;
            }
        }
        Ok(path)
    }
}

/// Reads the newest checkpoint's files `names`, each checked against the manifest.
///
/// A writer may replace the checkpoint meanwhile; then the newer one is read.
///
/// # Errors
/// No checkpoint, unreadable or damaged files.
pub fn load(folder: &Path, names: &[&str]) -> Result<(PathBuf, Vec<Vec<u8>>), CheckpointError> {
    let mut tried = None;
    loop {
        let found = generations(folder).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CheckpointError::None(folder.to_path_buf()),
            _ => CheckpointError::Read { path: folder.to_path_buf(), source },
        })?;
        let newest = *found.last().ok_or_else(|| CheckpointError::None(folder.to_path_buf()))?;
        let path = generation_path(folder, newest);
        match read_generation(&path, names) {
            Ok(files) => return Ok((path, files)),
            // Only a generation that vanished under the reader is worth a second look.
            Err(CheckpointError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound && tried != Some(newest) =>
            {
                tried = Some(newest);
            }
            Err(error) => return Err(error),
        }
    }
}

fn read_generation(path: &Path, names: &[&str]) -> Result<Vec<Vec<u8>>, CheckpointError> {
    let manifest = Manifest::read(&path.join(MANIFEST))?;
    names.iter().map(|name| manifest.read_file(&path.join(name), name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_writer_enters_while_a_process_being_started_has_a_copy_of_the_lock() {
        let folder = std::env::temp_dir().join(format!("upbeat-store-copied-{}", std::process::id()));
        let store = Store::create(&folder).unwrap();
        let copy = store._lock.0.try_clone().unwrap();
        drop(store);
        let next = Store::create(&folder).map(drop);
        drop(copy);
        fs::remove_dir_all(&folder).unwrap();
        next.expect("the lock is released, not only closed");
    }
}
