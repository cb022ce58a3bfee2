//! The list of a checkpoint's files with their lengths and hashes, one line each after a line with the format's version.
//!
//! Nothing is allocated for a length that the file system does not confirm.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::error::CheckpointError;
use super::hash::hash;
use super::store::NamedFile;

/// Name of the manifest in its generation.
pub(super) const MANIFEST: &str = "manifest";
/// The first line; the number changes whenever an older reader would misread the files.
const HEADER: &str = "upbeat-checkpoint 1";
/// No manifest is longer; a longer file is not one.
const LONGEST: u64 = 4096;

/// Length in bytes and XXH64 of each file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    files: Vec<(String, u64, u64)>,
}

impl Manifest {
    pub(super) fn of(files: &[NamedFile]) -> Self {
        let line = |(name, bytes): &NamedFile| (name.to_string(), bytes.len() as u64, hash(bytes));
        Self { files: files.iter().map(line).collect() }
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for (name, bytes, hash) in &self.files {
            text.push_str(&format!("{name} {bytes} {hash:016x}\n"));
        }
        text
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        match lines.next() {
            Some(HEADER) => {}
            Some(other) if other.starts_with("upbeat-checkpoint ") => {
                return Err(format!("its format is `{other}`, and this program reads `{HEADER}`"));
            }
            _ => return Err("it is not the manifest of a checkpoint".into()),
        }
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (name, bytes, hash) = (words.next()?, words.next()?, words.next()?);
            let parsed = (name.to_string(), bytes.parse().ok()?, u64::from_str_radix(hash, 16).ok()?);
            words.next().is_none().then_some(parsed)
        };
        let files: Option<Vec<_>> = lines.map(line).collect();
        let files = files.ok_or("a line of the manifest is not `name bytes hash`")?;
        let manifest = Self { files };
        // Written in one way only, so that another spelling of the same numbers is damage too.
        if manifest.to_text() != text {
            return Err("the manifest is not as it was written".into());
        }
        Ok(manifest)
    }

    pub(super) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let damaged = |reason| CheckpointError::Damaged { path: path.to_path_buf(), reason };
        let mut bytes = Vec::new();
        let (file, _) = open(path)?;
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
        if bytes.len() as u64 > LONGEST {
            return Err(damaged("the manifest is too long".into()));
        }
        let text = String::from_utf8(bytes).map_err(|_| damaged("the manifest is not text".into()))?;
        Self::from_text(&text).map_err(damaged)
    }

    /// Reads the file `name` at `path` and checks it.
    pub(super) fn read_file(&self, path: &Path, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let damaged = |reason| CheckpointError::Damaged { path: path.to_path_buf(), reason };
        let (_, length, expected) = self
            .files
            .iter()
            .find(|f| f.0 == name)
            .ok_or_else(|| damaged("the manifest does not list it".into()))?;
        let (file, found) = open(path)?;
        if found != *length {
            return Err(damaged(format!("it has {found} bytes instead of {length}")));
        }
        let mut bytes = Vec::with_capacity(found as usize);
        // A file that grows meanwhile is not followed; its hash, or the byte too many, tells.
        file.take(length.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|source| unreadable(path, source))?;
        if hash(&bytes) != *expected {
            return Err(damaged("its content does not match its hash".into()));
        }
        Ok(bytes)
    }
}

/// Opens a file and gives its length. Whatever else bears the name (a pipe, a device) is refused unopened: opening a
/// pipe would wait for a writer.
fn open(path: &Path) -> Result<(File, u64), CheckpointError> {
    let unreadable = |source| unreadable(path, source);
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        let reason = "it is not a regular file".into();
        return Err(CheckpointError::Damaged { path: path.to_path_buf(), reason });
    }
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    Ok((file, length))
}

fn unreadable(path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Read { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_its_text() {
        let manifest = Manifest::of(&[("a", b"hello".to_vec()), ("b.c", Vec::new())]);
        assert_eq!(Manifest::from_text(&manifest.to_text()), Ok(manifest));
    }

    #[test]
    fn other_texts_are_refused() {
        let text = Manifest::of(&[("a", b"hello".to_vec())]).to_text();
        for cut in 0..text.len() {
            // Cut after the header the manifest lists no file, which reading one then refuses.
            if let Ok(manifest) = Manifest::from_text(&text[..cut]) {
                assert_eq!(manifest.files, [], "{cut}");
            }
        }
        for bad in [
            "",
            "hello\n",
            "upbeat-checkpoint 2\n",
            "upbeat-checkpoint 1\na 5\n",
            "upbeat-checkpoint 1\na 5 0 0\n",
        ] {
            assert!(Manifest::from_text(bad).is_err(), "{bad}");
        }
        assert!(Manifest::from_text("upbeat-checkpoint 2\n").unwrap_err().contains("upbeat-checkpoint 2"));
    }
}
