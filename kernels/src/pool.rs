//! A size-class pool of 64-byte aligned buffers, so that a warm training step asks the system for no memory.
//!
//! Fresh memory costs more than arithmetic (page faults run at 3 GB/s, reuse at memory speed), so freed buffers are
//! kept by size class and handed out again. Memory is zeroed once, when it is first made, so a reused buffer holds
//! old numbers but never uninitialised bytes.

use std::alloc::{alloc, alloc_zeroed, dealloc, handle_alloc_error, Layout};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;

/// Alignment of every buffer: a cache line and an AVX-512 vector.
const ALIGN: usize = 64;
/// Four classes a doubling bound the waste to a quarter.
const CLASSES_PER_DOUBLING: u32 = 4;
const CLASSES: usize = 256;
/// Blocks at least this large (the size of a huge page on x86-64 and commonly on AArch64) are aligned to it: a walk down
/// the rows of a matrix otherwise meets a page of its own, and a miss in the page tables, on every row.
const HUGE_PAGE: usize = 2 << 20;

/// Types whose every bit pattern is a value, so that old content may be reread as another one of them.
pub trait Plain: sealed::Sealed + Copy + Send + Sync + 'static {}
mod sealed {
    pub trait Sealed {}
}
macro_rules! plain {
    ($($t:ty),*) => { $(impl sealed::Sealed for $t {} impl Plain for $t {})* };
}
plain!(f32, f64, u8, u32, u64, i32, i64, usize);

/// A block of memory of one size class.
struct Block(NonNull<u8>);
// SAFETY: a block is owned memory with no thread affinity.
unsafe impl Send for Block {}

static FREE: [Mutex<Vec<Block>>; CLASSES] = [const { Mutex::new(Vec::new()) }; CLASSES];
static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);
static RESERVED: AtomicU64 = AtomicU64::new(0);
static FRESH: AtomicU64 = AtomicU64::new(0);
static REUSED: AtomicU64 = AtomicU64::new(0);

/// What the pool has handed out, in bytes and calls since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes in buffers that are alive.
    pub live_bytes: u64,
    /// Most bytes ever alive at once.
    pub peak_bytes: u64,
    /// Bytes taken from the system and not given back.
    pub reserved_bytes: u64,
    /// Requests served by the system.
    pub fresh: u64,
    /// Requests served by a kept buffer.
    pub reused: u64,
}

/// The pool's counters.
pub fn stats() -> PoolStats {
    PoolStats {
        live_bytes: LIVE.load(Relaxed),
        peak_bytes: PEAK.load(Relaxed),
        reserved_bytes: RESERVED.load(Relaxed),
        fresh: FRESH.load(Relaxed),
        reused: REUSED.load(Relaxed),
    }
}

/// Gives every kept buffer back to the system.
pub fn trim() {
    for (class, list) in FREE.iter().enumerate() {
        let blocks = std::mem::take(&mut *list.lock().unwrap_or_else(|e| e.into_inner()));
        for block in blocks {
            RESERVED.fetch_sub(class_bytes(class) as u64, Relaxed);
            // SAFETY: the block came from `alloc_zeroed` with this class's layout and nobody holds it.
            unsafe { dealloc(block.0.as_ptr(), class_layout(class)) };
        }
    }
}

/// Bytes of a class: `ALIGN · 2^(class/4) · (1 + (class % 4)/4)`.
fn class_bytes(class: usize) -> usize {
    let quarter = (ALIGN / 4) << (class as u32 / CLASSES_PER_DOUBLING);
    quarter * (4 + class % CLASSES_PER_DOUBLING as usize)
}

/// The smallest class of at least `bytes`.
fn class_of(bytes: usize) -> usize {
    if bytes <= ALIGN {
        return 0;
    }
    let doubling = (bytes - 1).ilog2() - ALIGN.ilog2();
    let quarter = (ALIGN / 4) << doubling;
    doubling as usize * CLASSES_PER_DOUBLING as usize + bytes.div_ceil(quarter) - 4
}

fn class_layout(class: usize) -> Layout {
    let bytes = class_bytes(class);
    let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { ALIGN };
    Layout::from_size_align(bytes, align).expect("class sizes are below isize::MAX")
}

/// Zeroed memory from the system, in huge pages where it is large and the system grants them.
fn fresh(layout: Layout) -> NonNull<u8> {
    if layout.align() < HUGE_PAGE {
        // SAFETY: no class is of size zero.
        let fresh = unsafe { alloc_zeroed(layout) };
        return NonNull::new(fresh).unwrap_or_else(|| handle_alloc_error(layout));
    }
    // SAFETY: no class is of size zero.
    let fresh = unsafe { alloc(layout) };
    let fresh = NonNull::new(fresh).unwrap_or_else(|| handle_alloc_error(layout));
    #[cfg(target_os = "linux")]
    // SAFETY: the range is this allocation's and starts at a page; the advice changes no content. Refusal (a kernel
    // without huge pages) costs speed only, so the result does not matter.
    unsafe {
        libc::madvise(fresh.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE)
    };
    // SAFETY: the allocation is `layout.size()` bytes long.
    unsafe { fresh.as_ptr().write_bytes(0, layout.size()) };
    fresh
}

/// A slice of pooled memory; dropping it gives the memory back to the pool.
pub struct Buffer<T: Plain> {
    block: NonNull<T>,
    len: usize,
    class: usize,
    owns: PhantomData<T>,
}

// SAFETY: a buffer owns its memory as a `Vec<T>` would, and T is Send.
unsafe impl<T: Plain> Send for Buffer<T> {}
// SAFETY: a shared buffer gives out shared slices only, and T is Sync.
unsafe impl<T: Plain> Sync for Buffer<T> {}

impl<T: Plain> Buffer<T> {
    /// `len` numbers of unspecified value (zero, or what an earlier buffer left).
    ///
    /// # Panics
    /// When the size in bytes overflows `isize`; kernels check shapes with [`crate::error::checked_len`] first.
    pub fn unspecified(len: usize) -> Self {
        if len == 0 {
            return Self { block: NonNull::dangling(), len: 0, class: 0, owns: PhantomData };
        }
        let bytes = len.checked_mul(size_of::<T>()).filter(|&b| b <= isize::MAX as usize / 2);
        let class = class_of(bytes.expect("a buffer's size in bytes overflows"));
        let kept = FREE[class].lock().unwrap_or_else(|e| e.into_inner()).pop();
        let block = match kept {
            Some(block) => {
                REUSED.fetch_add(1, Relaxed);
                block.0
            }
            None => {
                let layout = class_layout(class);
                let fresh = fresh(layout);
                FRESH.fetch_add(1, Relaxed);
                RESERVED.fetch_add(layout.size() as u64, Relaxed);
                fresh
            }
        };
        let live = LIVE.fetch_add(class_bytes(class) as u64, Relaxed) + class_bytes(class) as u64;
        PEAK.fetch_max(live, Relaxed);
        Self { block: block.cast(), len, class, owns: PhantomData }
    }

    /// `len` zeros. Panics as [`Buffer::unspecified`].
    pub fn zeroed(len: usize) -> Self {
        let mut buffer = Self::unspecified(len);
        // SAFETY: the buffer owns `len` numbers, and all-zero bytes are a value of every plain type.
        unsafe { buffer.block.as_ptr().write_bytes(0, buffer.len) };
        buffer.len = len;
        buffer
    }

    /// A copy of `from`.
    pub fn copied(from: &[T]) -> Self {
        let mut buffer = Self::unspecified(from.len());
        buffer.copy_from_slice(from);
        buffer
    }
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        LIVE.fetch_sub(class_bytes(self.class) as u64, Relaxed);
        FREE[self.class].lock().unwrap_or_else(|e| e.into_inner()).push(Block(self.block.cast()));
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the buffer owns `len` initialised numbers (zeroed when made, every pattern a value).
        unsafe { std::slice::from_raw_parts(self.block.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the exclusive borrow makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.block.as_ptr(), self.len) }
    }
}

impl<T: Plain> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Self::copied(self)
    }
}

impl<T: Plain + std::fmt::Debug> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_fit_their_requests() {
        for bytes in (1..5000).chain([1 << 20, (1 << 20) + 1, 3 << 30]) {
            let class = class_of(bytes);
            assert!(class_bytes(class) >= bytes, "{bytes} in class {class}");
            assert!(class == 0 || class_bytes(class - 1) < bytes, "{bytes} in class {class} is too big");
        }
    }

    #[test]
    fn a_dropped_buffer_is_handed_out_again() {
        let len = 123_457; // a size no other test uses
        let mut first = Buffer::<f32>::zeroed(len);
        first[len - 1] = 7.0;
        let address = first.as_ptr();
        drop(first);
        let second = Buffer::<f32>::unspecified(len);
        assert_eq!((second.as_ptr(), second[len - 1]), (address, 7.0));
        assert_eq!(second.as_ptr() as usize % ALIGN, 0);
        let third = Buffer::<u64>::zeroed(len / 2);
        assert!(third.iter().all(|&x| x == 0) && third.as_ptr().cast() != address);
    }
}
