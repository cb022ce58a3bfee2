//! How much of its stack a thread has left.
//!
//! A part of each stack is a reserve: below it, a waiting worker starts nothing that it took from elsewhere, so that what it runs
//! already has room to go on. Only waits ask. The bounds of a stack are known on Linux; elsewhere, and on a stack that is not the
//! thread's own (a coroutine's), there always seems to be room, and the number of levels alone bounds the nesting (`nest.rs`).

use std::cell::Cell;
use std::ops::Range;

use crate::sync::thread_local;

/// The reserve is a quarter of the stack, but at least this many bytes, and never more than half.
const LEAST: usize = 64 << 10;

/// What a thread knows of its stack.
#[derive(Clone, Copy)]
enum Reserve {
    NotMeasured,
    Unknown,
    /// Addresses from the stack's end to where the reserve begins.
    Within(usize, usize),
}

#[cfg(not(upbeat_loom))]
thread_local! {
    static RESERVE: Cell<Reserve> = const { Cell::new(Reserve::NotMeasured) };
}
#[cfg(upbeat_loom)]
thread_local! {
    static RESERVE: Cell<Reserve> = Cell::new(Reserve::NotMeasured);
}

/// Whether this thread has more stack left than the reserve.
pub(super) fn has_reserve() -> bool {
    let known = RESERVE.try_with(|reserve| {
        if let Reserve::NotMeasured = reserve.get() {
            reserve.set(bounds().map_or(Reserve::Unknown, |stack| reserve_of(&stack)));
        }
        reserve.get()
    });
    match known {
        Ok(Reserve::Within(low, high)) => !(low..high).contains(&position()),
        _ => true,
    }
}

fn reserve_of(stack: &Range<usize>) -> Reserve {
    let size = stack.end.saturating_sub(stack.start);
    let reserve = (size / 4).max(LEAST).min(size / 2);
    Reserve::Within(stack.start, stack.start + reserve)
}

/// About where the stack ends now: it grows downwards on every system that Rust has threads on.
#[inline(never)]
fn position() -> usize {
    let here = 0u8;
    std::hint::black_box(&raw const here) as usize
}

/// The addresses of this thread's stack, lowest first, without the guard.
#[cfg(all(target_os = "linux", not(upbeat_loom)))]
fn bounds() -> Option<Range<usize>> {
    // SAFETY: zeros are a value of this plain block of memory, and the call below fills it in before it is used.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // SAFETY: the thread asks about itself, and `attributes` is there to be filled in.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) } != 0 {
        return None;
    }
    let (mut low, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes were filled in, and the two results are locals.
    let failed = unsafe { libc::pthread_attr_getstack(&attributes, &mut low, &mut size) } != 0;
    // SAFETY: they were filled in, and are not used again.
    unsafe { libc::pthread_attr_destroy(&mut attributes) };
    (!failed).then(|| low as usize..low as usize + size)
}

/// Not known on this system, nor of a model's threads, which are coroutines.
#[cfg(not(all(target_os = "linux", not(upbeat_loom))))]
fn bounds() -> Option<Range<usize>> {
    None
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_quarter_within_bounds() {
        let cases = [(64 << 10, 32 << 10), (256 << 10, 64 << 10), (8 << 20, 2 << 20), (0, 0)];
        for (size, expected) in cases {
            let Reserve::Within(low, high) = reserve_of(&(4096..4096 + size)) else { unreachable!() };
            assert_eq!((low, high - low), (4096, expected), "{size}");
        }
    }

    /// Uses the stack up until nothing but the reserve is left, and says how much that took.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_reserve_is_noticed_before_it_is_used() {
        fn down(start: usize, most: usize) -> usize {
            let page = std::hint::black_box([0u8; 4096]);
            if !has_reserve() || start - position() > most {
                return start - position();
            }
            let used = down(start, most);
            used.max(page.len())
        }
        // The system may give a thread a larger stack than it asked for: one that an ended thread left.
        let thread = std::thread::Builder::new().stack_size(512 << 10);
        let body = || (down(position(), 64 << 20), bounds().unwrap().len());
        let (used, size) = thread.spawn(body).unwrap().join().unwrap();
        let left = size - used;
        assert!((size / 4 - (32 << 10)..size / 4 + (64 << 10)).contains(&left), "{left} of {size} are left");
    }
}
