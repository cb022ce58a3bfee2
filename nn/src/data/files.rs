//! Reads files and folders of text in an order that depends on their names alone.
//!
//! A path to a file is read whatever its name. A folder is walked: names are sorted by their bytes, hidden names and
//! build output (`target`, or a folder with a `CACHEDIR.TAG`) are left out, links are not followed, and only files with
//! one of the wanted endings are read. Bytes that are not UTF-8 become U+FFFD, the replacement character.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::DataError;

/// The endings read from folders when nothing else is asked for.
pub const DEFAULT_EXTENSIONS: [&str; 2] = ["rs", "md"];

/// The content of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Where it was read.
    pub path: PathBuf,
    /// What it holds.
    pub content: String,
}

/// Reads every path, files in the order given and folders in name order.
///
/// # Errors
/// A path that is missing, of a wrong kind or unreadable; no file with one of `extensions` in the folders; files without
/// any character.
pub fn read_texts(paths: &[PathBuf], extensions: &[String]) -> Result<Vec<Text>, DataError> {
    let mut files = Vec::new();
    for path in paths {
        let kind = fs::metadata(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => DataError::Missing(path.clone()),
            _ => unreadable(path, e),
        })?;
        if kind.is_dir() {
            walk(path, extensions, &mut files)?;
        } else if kind.is_file() {
            files.push(path.clone());
        } else {
            return Err(DataError::NotAFile(path.clone()));
        }
    }
    if files.is_empty() {
        return Err(DataError::NoFiles { paths: paths.to_vec(), extensions: extensions.to_vec() });
    }
    let mut texts = Vec::with_capacity(files.len());
    for path in files {
        let bytes = fs::read(&path).map_err(|e| unreadable(&path, e))?;
        texts.push(Text { content: String::from_utf8_lossy(&bytes).into_owned(), path });
    }
    if texts.iter().all(|t| t.content.is_empty()) {
        return Err(DataError::Empty { files: texts.len() });
    }
    Ok(texts)
}

fn unreadable(path: &Path, source: io::Error) -> DataError {
    DataError::Unreadable { path: path.to_path_buf(), source }
}

fn walk(folder: &Path, extensions: &[String], files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| unreadable(folder, e))? {
        entries.push(entry.map_err(|e| unreadable(folder, e))?);
    }
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(|e| unreadable(&path, e))?;
        if kind.is_dir() {
            if name != "target" && !path.join("CACHEDIR.TAG").exists() {
                walk(&path, extensions, files)?;
            }
        } else if kind.is_file() && extensions.iter().any(|e| path.extension().is_some_and(|x| x == &**e)) {
            files.push(path);
        }
    }
    Ok(())
}
