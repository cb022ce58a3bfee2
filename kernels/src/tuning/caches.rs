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

    /// Sizes of the caches of the first CPU that this process may use, read once. Where the system does not tell them, 256 KiB
    /// and 8 MiB are assumed.
    pub fn get() -> Self {
        static CACHES: OnceLock<Caches> = OnceLock::new();
        *CACHES.get_or_init(|| Self::of(&upbeat::topology::machine().caches))
    }

    /// From levels, kinds and sizes.
    fn of(caches: &[(u32, String, u64)]) -> Self {
        let size = |wanted: u32| {
            let is_it = |(level, kind, _): &&(u32, String, u64)| *level == wanted && kind != "Instruction";
            let bytes = caches.iter().find(is_it).and_then(|(.., bytes)| usize::try_from(*bytes).ok());
            bytes.filter(|&bytes| bytes > 0)
        };
        let private = size(2).unwrap_or(Self::USUAL.private);
        Self { private, shared: size(3).unwrap_or(Self::USUAL.shared).max(private) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_and_the_third_level_count() {
        let cache = |level, kind: &str, bytes| (level, String::from(kind), bytes);
        let first = [cache(1, "Data", 32 << 10), cache(1, "Instruction", 32 << 10)];
        assert_eq!(Caches::of(&first), Caches::USUAL);
        let second =
            [&first[..], &[cache(2, "Instruction", 1 << 20), cache(2, "Unified", 16 << 20)]].concat();
        // Without a third level the second one is the last.
        assert_eq!(Caches::of(&second), Caches { private: 16 << 20, shared: 16 << 20 });
        let third = [&second[..], &[cache(3, "Unified", 32 << 20)]].concat();
        assert_eq!(Caches::of(&third), Caches { private: 16 << 20, shared: 32 << 20 });
        assert_eq!(Caches::of(&[cache(2, "Unified", 0)]), Caches::USUAL);
        assert!(Caches::get().private >= 64 << 10, "{:?}", Caches::get());
    }
}
