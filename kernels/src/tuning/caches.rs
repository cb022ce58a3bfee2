//! How large this machine's caches are.

use std::sync::OnceLock;

/// Sizes of two cache levels, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// The largest one that a core has to itself.
    pub private: usize,
    /// The last level.
    pub shared: usize,
}

impl Caches {
    /// What most machines of the last ten years have at least; used where the system does not say.
    const USUAL: Self = Self { private: 256 << 10, shared: 8 << 20 };

    /// Sizes of the first CPU's caches, read once. Linux tells them in sysfs; elsewhere 256 KiB and 8 MiB are assumed.
    pub fn get() -> Self {
        static CACHES: OnceLock<Caches> = OnceLock::new();
        *CACHES.get_or_init(|| {
            let level = |wanted: &str| {
                (0..8).find_map(|index| {
                    let read = |name: &str| {
                        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}");
                        std::fs::read_to_string(path).ok()
                    };
                    let is_it = read("level")?.trim() == wanted && read("type")?.trim() != "Instruction";
                    is_it.then(|| read("size").and_then(|size| bytes(size.trim()))).flatten()
                })
            };
            let private = level("2").unwrap_or(Self::USUAL.private);
            Self { private, shared: level("3").unwrap_or(Self::USUAL.shared).max(private) }
        })
    }
}

/// A size as sysfs writes it, `512K` say.
fn bytes(size: &str) -> Option<usize> {
    let (number, unit) = match size.split_at_checked(size.len().checked_sub(1)?)? {
        (number, "K") => (number, 1 << 10),
        (number, "M") => (number, 1 << 20),
        _ => (size, 1),
    };
    number.parse::<usize>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_sizes_are_read() {
        for (text, size) in [("512K", 512 << 10), ("32M", 32 << 20), ("100", 100)] {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        assert!(["", "K", "0", "-1K", "é"].iter().all(|text| bytes(text).is_none()));
        let caches = Caches::get();
        assert!(caches.shared >= caches.private && caches.private >= 64 << 10, "{caches:?}");
    }
}
