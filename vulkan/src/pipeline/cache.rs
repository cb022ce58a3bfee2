//! The file of compiled pipelines: a header of our own, for drivers trust what they are given.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ash::vk;

use crate::options::CacheFile;

/// What became of the file of [`Options::pipeline_cache`](crate::Options::pipeline_cache).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipelineCache {
    /// None was asked for, or there is no place for it.
    None,
    /// There was none yet.
    New,
    /// It was read.
    Loaded {
        /// Bytes of it.
        bytes: usize,
    },
    /// It cannot be read, is of another device or driver, or damaged, and will be written anew.
    Replaced {
        /// What was wrong with it.
        reason: &'static str,
    },
}

const MAGIC: &[u8; 8] = b"upbeatP1";

/// What pipelines depend on: the device, its driver and that driver's version.
pub(super) struct Identity {
    /// In the file.
    bytes: Vec<u8>,
    /// In the file's usual name. Without the driver's version: a new driver's file takes the place of the old one's.
    name: String,
}

impl Identity {
    pub(super) fn of(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Self {
        // SAFETY: the device is the instance's.
        let properties = unsafe { instance.get_physical_device_properties(physical) };
        let numbers =
            [properties.vendor_id, properties.device_id, properties.driver_version, properties.api_version];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend(properties.pipeline_cache_uuid);
        Self { bytes, name: format!("pipelines-{:04x}-{:04x}", properties.vendor_id, properties.device_id) }
    }
}

/// The user's folder for caches, given how variables are looked up. Relative ones are to be ignored (XDG Base Directory Specification).
fn folder(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let named = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")))?;
    folder.is_absolute().then(|| folder.join("upbeat"))
}

/// The file, where there is to be one.
pub(super) fn place(wanted: &CacheFile, identity: &Identity) -> Option<PathBuf> {
    match wanted {
        CacheFile::Nowhere => None,
        CacheFile::At(path) => Some(path.clone()),
        CacheFile::Usual => folder(|name| std::env::var_os(name)).map(|folder| folder.join(&identity.name)),
    }
}

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The file's contents as Vulkan wants them, empty where there are none of use.
pub(super) fn load(path: &Path, identity: &Identity) -> (Vec<u8>, PipelineCache) {
    let replaced = |reason| (Vec::new(), PipelineCache::Replaced { reason });
    let file = match std::fs::read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return (Vec::new(), PipelineCache::New),
        Err(_) => return replaced("it cannot be read"),
    };
    match unpack(&file, &identity.bytes) {
        Ok(data) => (data.to_vec(), PipelineCache::Loaded { bytes: data.len() }),
        Err(reason) => replaced(reason),
    }
}

fn unpack<'a>(file: &'a [u8], identity: &[u8]) -> Result<&'a [u8], &'static str> {
    let rest = file.strip_prefix(MAGIC).ok_or("it is no cache of ours")?;
    let rest = rest.strip_prefix(identity).ok_or("it is of another device or driver")?;
    let (sum, data) = rest.split_first_chunk::<8>().ok_or("it is cut off")?;
    if u64::from_le_bytes(*sum) == hash(data) {
        Ok(data)
    } else {
        Err("it is damaged")
    }
}

fn pack(data: &[u8], identity: &[u8]) -> Vec<u8> {
    [MAGIC, identity, &hash(data).to_le_bytes(), data].concat()
}

/// A name beside `path` that no other call has, of this process or another.
fn part(path: &Path) -> PathBuf {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.{}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed)));
    part.into()
}

/// Writes the file, whole or not at all. Who cannot write it compiles again next time: nothing is wrong with what was computed.
pub(super) fn save(path: &Path, identity: &Identity, data: &[u8]) {
    let part = part(path);
    if let Some(folder) = path.parent() {
        let _ = std::fs::create_dir_all(folder);
    }
    if std::fs::write(&part, pack(data, &identity.bytes)).is_err() || std::fs::rename(&part, path).is_err() {
        let _ = std::fs::remove_file(&part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked() {
        assert_eq!(unpack(&pack(b"data", b"me"), b"me"), Ok(&b"data"[..]));
        assert_eq!(unpack(&pack(b"", b"me"), b"me"), Ok(&b""[..]));
    }

    #[test]
    fn files_are_in_the_users_folder_for_caches() {
        let found = |xdg: &str, home: &str| {
            folder(|name| Some(if name == "HOME" { home } else { xdg }.into()))
                .map(|f| f.display().to_string())
        };
        assert_eq!(found("/xdg", "/home/me").as_deref(), Some("/xdg/upbeat"));
        assert_eq!(found("", "/home/me").as_deref(), Some("/home/me/.cache/upbeat"));
        assert_eq!(found("relative", "/home/me"), None);
        assert_eq!(found("", ""), None);
        assert_eq!(folder(|_| None), None);
    }

    /// Two devices that end at once, with one file, would mix their parts.
    #[test]
    fn no_two_calls_write_to_one_file() {
        let path = Path::new("/folder/pipelines.v1");
        let (one, other) = (part(path), part(path));
        assert_ne!(one, other);
        assert_eq!(one.parent(), path.parent());
    }

    #[test]
    fn every_damage_is_noticed() {
        let whole = pack(b"some data", b"me");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(unpack(&damaged, b"me").is_err(), "a changed byte {at}");
            assert!(unpack(&whole[..at], b"me").is_err(), "cut at {at}");
        }
        assert_eq!(unpack(&whole, b"us"), Err("it is of another device or driver"));
    }
}
