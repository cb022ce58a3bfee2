//! A checkpoint is whole or absent: every operation of a save is made to fail, and the process is made to stop there.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use upbeat_nn::checkpoint::disk::{Disk, FileSystem};
use upbeat_nn::checkpoint::{load, CheckpointError, Store};

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("upbeat-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes a write gets through between two points at which it may fail.
const PIECE: usize = 16;

/// Stops working at operation number `fails_at`: a write leaves what it had written by then.
struct Faulty {
    fails_at: u32,
    /// Whether everything after the failure fails too, as if the process were dead.
    dead: bool,
    operations: Cell<u32>,
}

impl Faulty {
    fn new(fails_at: u32, dead: bool) -> Self {
        Self { fails_at, dead, operations: Cell::new(0) }
    }

    fn fails(&self) -> bool {
        let now = self.operations.get() + 1;
        self.operations.set(now);
        now == self.fails_at || (self.dead && now > self.fails_at)
    }

    fn or_fail(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.fails() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            work()
        }
    }
}

impl Disk for &Faulty {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.or_fail(|| FileSystem.create_folder(path))
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        for end in (0..=bytes.len()).step_by(PIECE) {
            if self.fails() {
                fs::write(path, &bytes[..end])?;
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        self.or_fail(|| FileSystem.write_file(path, bytes))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.or_fail(|| FileSystem.sync_folder(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.or_fail(|| FileSystem.rename(from, to))
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        if self.fails() {
            // A removal that is cut short: the first file is gone, the rest is not.
            if let Some(Ok(first)) = fs::read_dir(path)?.next() {
                fs::remove_file(first.path())?;
            }
            return Err(io::ErrorKind::StorageFull.into());
        }
        FileSystem.remove_folder(path)
    }
}

const NAMES: [&str; 2] = ["parameters", "state"];

fn files(mark: u8) -> Vec<(&'static str, Vec<u8>)> {
    vec![("parameters", vec![mark; 100]), ("state", vec![mark + 100; 77])]
}

fn loaded(folder: &Path) -> Vec<Vec<u8>> {
    load(folder, &NAMES).expect("a whole checkpoint").1
}

fn bytes_of(mark: u8) -> Vec<Vec<u8>> {
    files(mark).into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn what_was_saved_last_is_loaded_and_older_ones_are_removed() {
    let folder = Folder::new("last");
    let store = Store::create(&folder.0.join("deep/er")).unwrap();
    assert!(!store.holds_checkpoint().unwrap());
    for mark in 1..=3 {
        store.save(&files(mark)).unwrap();
        assert_eq!(loaded(store.folder()), bytes_of(mark));
        assert!(store.holds_checkpoint().unwrap());
    }
    let mut names: Vec<_> = fs::read_dir(store.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["generation-00000003", "lock"]);
}

// fault 61: no space left, or an end of the process, at every point of a save
#[test]
fn a_save_that_fails_anywhere_leaves_a_whole_checkpoint() {
    for dead in [false, true] {
        let mut saved_despite_failure = 0;
        for fails_at in 1.. {
            let folder = Folder::new(if dead { "dead" } else { "full" });
            Store::create(&folder.0).unwrap().save(&files(1)).unwrap();
            let disk = Faulty::new(fails_at, dead);
            let result = Store::with_disk(&folder.0, &disk).unwrap().save(&files(2));
            if disk.operations.get() < fails_at {
                assert!(fails_at > 20, "the test reached only {fails_at} points");
                assert_eq!(result.unwrap().file_name().unwrap(), "generation-00000002");
                break;
            }
            let found = loaded(&folder.0);
            match result {
                Ok(_) => {
                    assert_eq!(found, bytes_of(2), "saved, at {fails_at}");
                    saved_despite_failure += 1;
                }
                Err(CheckpointError::Write { source, .. }) => {
                    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
                    assert!(
                        found == bytes_of(1) || found == bytes_of(2),
                        "at {fails_at}: neither old nor new"
                    );
                    if !dead {
                        assert!(
                            !folder.0.join(".partial").exists(),
                            "at {fails_at}: the failed save takes space"
                        );
                    }
                }
                Err(other) => panic!("at {fails_at}: {other}"),
            }
            // The next save, on a disk that works again, succeeds whatever was left behind.
            let store = Store::create(&folder.0).unwrap();
            store.save(&files(3)).unwrap();
            assert_eq!(loaded(&folder.0), bytes_of(3), "after {fails_at}");
            let left = fs::read_dir(&folder.0).unwrap().count();
            assert_eq!(left, 2, "after {fails_at}: only the newest generation and the lock stay");
        }
        assert_eq!(saved_despite_failure, 1, "only removing the older generation may fail without an error");
    }
}

#[test]
fn every_changed_or_missing_byte_is_noticed() {
    let folder = Folder::new("damage");
    let path = Store::create(&folder.0).unwrap().save(&files(9)).unwrap();
    for name in ["parameters", "state", "manifest"] {
        let file = path.join(name);
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            for bytes in [&changed[..], &whole[..at]] {
                fs::write(&file, bytes).unwrap();
                let error = load(&folder.0, &NAMES).expect_err("damage is noticed");
                assert!(matches!(error, CheckpointError::Damaged { .. }), "{name} at {at}: {error}");
            }
        }
        let longer = [&whole[..], b"x"].concat();
        fs::write(&file, longer).unwrap();
        assert!(matches!(load(&folder.0, &NAMES), Err(CheckpointError::Damaged { .. })), "{name} grew");
        fs::remove_file(&file).unwrap();
        assert!(matches!(load(&folder.0, &NAMES), Err(CheckpointError::Read { .. })), "{name} is gone");
        fs::write(&file, &whole).unwrap();
        assert_eq!(loaded(&folder.0), bytes_of(9));
    }
}

#[test]
fn a_manifest_that_claims_a_huge_file_allocates_nothing() {
    let folder = Folder::new("huge");
    let path = Store::create(&folder.0).unwrap().save(&files(1)).unwrap();
    let claim = format!("upbeat-checkpoint 1\nparameters {0} {0:016x}\nstate 1 {0:016x}\n", u64::MAX);
    fs::write(path.join("manifest"), claim).unwrap();
    let error = load(&folder.0, &NAMES).unwrap_err();
    assert!(error.to_string().contains("100 bytes instead of 18446744073709551615"), "{error}");
}

#[test]
fn one_writer_at_a_time() {
    let folder = Folder::new("busy");
    let first = Store::create(&folder.0).unwrap();
    assert!(matches!(Store::create(&folder.0), Err(CheckpointError::Busy(_))));
    drop(first);
    assert!(Store::create(&folder.0).is_ok());
}

#[test]
fn a_folder_without_checkpoints_says_so() {
    let folder = Folder::new("none");
    assert!(matches!(load(&folder.0, &NAMES), Err(CheckpointError::None(_))));
    fs::create_dir_all(folder.0.join("generation-123")).unwrap();
    fs::create_dir_all(folder.0.join("generation-0000000x")).unwrap();
    fs::create_dir_all(folder.0.join("generation-000000012")).unwrap();
    fs::create_dir_all(folder.0.join("generation-+0000012")).unwrap();
    assert!(
        matches!(load(&folder.0, &NAMES), Err(CheckpointError::None(_))),
        "other names are not generations"
    );
}

#[test]
fn the_last_number_is_not_followed_by_the_first() {
    let folder = Folder::new("numbers");
    let store = Store::create(&folder.0).unwrap();
    let first = store.save(&files(1)).unwrap();
    let last = folder.0.join(format!("generation-{}", u64::MAX));
    fs::rename(&first, &last).unwrap();
    let error = store.save(&files(2)).unwrap_err();
    assert!(
        error.to_string().contains("no number follows that of generation-18446744073709551615"),
        "{error}"
    );
    assert_eq!(loaded(&folder.0), bytes_of(1), "the checkpoint stays");
    fs::rename(&last, folder.0.join("generation-123456789")).unwrap();
    assert_eq!(store.save(&files(2)).unwrap(), folder.0.join("generation-123456790"));
    assert_eq!(loaded(&folder.0), bytes_of(2));
}

/// Replaces `path` by what waits for ever when it is opened.
#[cfg(unix)]
fn replace_by_pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused_unopened() {
    let folder = Folder::new("pipes");
    let store = Store::create(&folder.0).unwrap();
    for name in ["manifest", "parameters"] {
        let path = store.save(&files(1)).unwrap().join(name);
        replace_by_pipe(&path);
        let error = load(&folder.0, &NAMES).unwrap_err();
        assert!(error.to_string().contains("damaged: it is not a regular file"), "{error}");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let error = load(&folder.0, &NAMES).unwrap_err();
        assert!(error.to_string().contains("damaged: it is not a regular file"), "{error}");
    }
    drop(store);
    replace_by_pipe(&folder.0.join("lock"));
    let error = Store::create(&folder.0).unwrap_err();
    assert!(error.to_string().contains("it is not a regular file"), "{error}");
}
