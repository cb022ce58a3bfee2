//! (being written)
#![allow(missing_docs)]
pub mod par {
    use std::ops::Range;
    pub fn for_each(range: Range<usize>, f: impl Fn(usize) + Sync) {
        for i in range {
            f(i)
        }
    }
    pub fn map<T: Send>(range: Range<usize>, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
        range.map(f).collect()
    }
    pub fn map_reduce<T: Send>(
        range: Range<usize>,
        map: impl Fn(usize) -> T + Sync,
        combine: impl Fn(T, T) -> T + Sync,
        identity: impl Fn() -> T + Sync,
    ) -> T {
        let n = range.len();
        if n == 0 {
            return identity();
        }
        if n == 1 {
            return map(range.start);
        }
        let mid = range.start + n.next_power_of_two() / 2;
        let (a, b) = (
            map_reduce(
                range.start..mid,
                &map as &(dyn Fn(usize) -> T + Sync),
                &combine as &(dyn Fn(T, T) -> T + Sync),
                &identity as &(dyn Fn() -> T + Sync),
            ),
            map_reduce(
                mid..range.end,
                &map as &(dyn Fn(usize) -> T + Sync),
                &combine as &(dyn Fn(T, T) -> T + Sync),
                &identity as &(dyn Fn() -> T + Sync),
            ),
        );
        combine(a, b)
    }
    pub fn chunks_mut<T: Send>(data: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        for (i, c) in data.chunks_mut(size).enumerate() {
            f(i, c)
        }
    }
}
