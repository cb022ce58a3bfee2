//! How large this machine's caches are.

use std::sync::OnceLock;

use upbeat::topology::{Cache, CacheKind};

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
        *CACHES.get_or_init(|| {
            let machine = upbeat::topology::machine();
            machine.cpus.first().map_or(Self::USUAL, |cpu| Self::of(machine.caches_of(cpu.id)))
        })
    }

    /// From the caches of one CPU.
    fn of<'a>(caches: impl Iterator<Item = &'a Cache> + Clone) -> Self {
        let size = |wanted: u32| {
            let is_it = |cache: &&Cache| cache.level == wanted && cache.kind != CacheKind::Instruction;
            let bytes = caches.clone().find(is_it).and_then(|cache| usize::try_from(cache.bytes).ok());
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
        let cache = |level, kind, bytes| Cache { level, kind, bytes, cpus: vec![0] };
        let first = [cache(1, CacheKind::Data, 32 << 10), cache(1, CacheKind::Instruction, 32 << 10)];
        assert_eq!(Caches::of(first.iter()), Caches::USUAL);
        let second = [
            &first[..],
            &[cache(2, CacheKind::Instruction, 1 << 20), cache(2, CacheKind::Unified, 16 << 20)],
        ]
        .concat();
        // Without a third level the second one is the last.
        assert_eq!(Caches::of(second.iter()), Caches { private: 16 << 20, shared: 16 << 20 });
        let third = [&second[..], &[cache(3, CacheKind::Unified, 32 << 20)]].concat();
        assert_eq!(Caches::of(third.iter()), Caches { private: 16 << 20, shared: 32 << 20 });
        assert_eq!(Caches::of([cache(2, CacheKind::Unified, 0)].iter()), Caches::USUAL);
        assert!(Caches::get().private >= 64 << 10, "{:?}", Caches::get());
    }
}
