//! Files that outlive a process, of this crate and of those above it: where the user's caches are, and writing one whole or not at all.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The user's folder for caches, given how variables are looked up. Relative ones are to be ignored (XDG Base Directory Specification).
fn folder_of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let named = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")))?;
    folder.is_absolute().then(|| folder.join("upbeat"))
}

/// `upbeat` in the user's folder for caches, where one is known.
pub fn folder() -> Option<PathBuf> {
    folder_of(|name| std::env::var_os(name))
}

/// A name beside `path` that no other call has, of this process or another.
fn part(path: &Path) -> PathBuf {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.{}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed)));
    part.into()
}

/// Writes a file, whole or not at all: who reads it meanwhile finds the old one or the new one. Folders are made.
///
/// # Errors
/// What making folders, writing or renaming fails with; no part of the file is left then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let part = part(path);
    std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&part);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_in_the_users_folder_for_caches() {
        let found = |xdg: &str, home: &str| {
            folder_of(|name| Some(if name == "HOME" { home } else { xdg }.into()))
                .map(|f| f.display().to_string())
        };
        assert_eq!(found("/xdg", "/home/me").as_deref(), Some("/xdg/upbeat"));
        assert_eq!(found("", "/home/me").as_deref(), Some("/home/me/.cache/upbeat"));
        assert_eq!(found("relative", "/home/me"), None);
        assert_eq!(found("", ""), None);
        assert_eq!(folder_of(|_| None), None);
    }

    /// Two devices that end at once, with one file, would mix their parts.
    #[test]
    fn no_two_calls_write_to_one_file() {
        let path = Path::new("/folder/pipelines.v1");
        let (one, other) = (part(path), part(path));
        assert_ne!(one, other);
        assert_eq!(one.parent(), path.parent());
    }
}
