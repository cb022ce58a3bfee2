//! The few operations on a file system that saving needs, behind a trait so that tests can make each of them fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What a checkpoint is written with. Each operation is durable when it returns.
pub trait Disk {
    /// Makes a folder whose parent exists.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes a new file, writes `bytes` and syncs them.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Syncs the names in a folder.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Renames a folder, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a folder and what it holds.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        // Only Unix opens folders as files; elsewhere a rename is durable when the system says so.
        if cfg!(unix) {
            File::open(path)?.sync_all()?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}
