//! The file of compiled pipelines: a header of our own, for drivers trust what they are given.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ash::vk;
use upbeat_kernels::files;

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

/// The file, where there is to be one.
pub(super) fn place(wanted: &CacheFile, identity: &Identity) -> Option<PathBuf> {
    match wanted {
        CacheFile::Nowhere => None,
        CacheFile::At(path) => Some(path.clone()),
        CacheFile::Usual => files::folder().map(|folder| folder.join(&identity.name)),
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

/// Writes the file, whole or not at all. Who cannot write it compiles again next time: nothing is wrong with what was computed.
pub(super) fn save(path: &Path, identity: &Identity, data: &[u8]) {
    let _ = files::write_whole(path, &pack(data, &identity.bytes));
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
