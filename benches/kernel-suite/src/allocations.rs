//! Counts what a program takes from the system's allocator. A program that wants the column "allocations" declares [`Counting`] as its
//! global allocator; in others every count is 0, and [`is_counted`] says so.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, with a count.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises about the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises about the layout.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises about the block, its layout and the size.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises about the block and its layout.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Allocations of all threads so far.
pub fn count() -> u64 {
    COUNT.load(Relaxed)
}

/// Whether this program counts.
pub fn is_counted() -> bool {
    let before = count();
    drop(std::hint::black_box(Box::new(0u8)));
    count() > before
}
