//! Memory from the system: zeroed mappings in huge pages, and giving pages back.
//!
//! Owns the calls and the sizes of pages. What lies in a mapping is [`super::block`]'s matter. Where the system is not Linux,
//! and under Miri, a mapping is an allocation of the standard library's.

use std::ptr::NonNull;

/// The size of a huge page on x86-64, and commonly on AArch64. Mappings begin and end at multiples of it, and ask for
/// such pages (`madvise`): first touch is seven times as fast, and a walk down the rows of a matrix otherwise meets a
/// page of its own, and a miss in the page tables, on every row.
pub(super) const HUGE_PAGE: usize = 2 << 20;

/// A multiple of the size of a page: what can be given back.
pub(super) const PAGE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };

/// Whether memory of a mapping is taken from the system only when it is first touched (by the thread that will use it,
/// so on its node), and can be given back by pages.
pub(super) const LAZY: bool = cfg!(all(target_os = "linux", not(miri)));

/// `bytes` zeros at a multiple of [`HUGE_PAGE`], which `bytes` must be too; `None` when the system has none.
#[cfg(all(target_os = "linux", not(miri)))]
pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
    let room = bytes.checked_add(HUGE_PAGE)?;
    // SAFETY: a private anonymous mapping at an address of the system's choice.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            room,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = start.cast::<u8>();
    let before = start.align_offset(HUGE_PAGE);
    if before > 0 {
        // SAFETY: these pages are in front of what is used of the mapping.
        unsafe { libc::munmap(start.cast(), before) };
    }
    // SAFETY: the mapping is longer than what is asked for by a huge page, and `before` is less than that.
    let used = unsafe { start.add(before) };
    // SAFETY: as above, and `bytes` fit behind.
    let behind = unsafe { used.add(bytes) };
    // SAFETY: these pages are behind what is used of the mapping; there is one at least.
    unsafe { libc::munmap(behind.cast(), HUGE_PAGE - before) };
    // SAFETY: the range is the mapping's; the advice changes no content. Refusal (a kernel without huge pages) costs
    // speed only, so the result does not matter.
    unsafe { libc::madvise(used.cast(), bytes, libc::MADV_HUGEPAGE) };
    NonNull::new(used)
}

/// Unmaps what [`map`] returned.
///
/// # Safety
/// `start` came from `map(bytes)`, and nobody uses the memory any more.
#[cfg(all(target_os = "linux", not(miri)))]
pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller gives up the whole mapping.
    let failed = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    assert!(failed == 0, "munmap: {}", std::io::Error::last_os_error());
}

/// Gives the pages of a range back; they read as zero afterwards. `false` when the system keeps them (locked memory).
///
/// # Safety
/// The range is made of whole pages of a mapping of [`map`], and nobody uses what is in it.
#[cfg(all(target_os = "linux", not(miri)))]
pub(super) unsafe fn discard(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: the caller gives up the content of these pages.
    unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) == 0 }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn layout(bytes: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(bytes, HUGE_PAGE).expect("mappings are smaller than isize::MAX")
}

/// `bytes` zeros at a multiple of [`HUGE_PAGE`], which `bytes` must be too; `None` when the system has none.
#[cfg(not(all(target_os = "linux", not(miri))))]
pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: no mapping is empty.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout(bytes)) })
}

/// Frees what [`map`] returned.
///
/// # Safety
/// `start` came from `map(bytes)`, and nobody uses the memory any more.
#[cfg(not(all(target_os = "linux", not(miri))))]
pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller passes what `map` returned and its size.
    unsafe { std::alloc::dealloc(start.as_ptr(), layout(bytes)) };
}

/// Keeps the pages: `false`.
///
/// # Safety
/// None needed here.
#[cfg(not(all(target_os = "linux", not(miri))))]
pub(super) unsafe fn discard(_: NonNull<u8>, _: usize) -> bool {
    false
}

/// An allocation of exactly `bytes` zeros, for `--cfg upbeat_exact`.
pub(super) fn exact(bytes: usize) -> Option<NonNull<u8>> {
    let layout = std::alloc::Layout::from_size_align(bytes, super::ALIGN).ok()?;
    // SAFETY: the pool asks for no empty block.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
}

/// Frees what [`exact`] returned.
///
/// # Safety
/// `start` came from `exact(bytes)`, and nobody uses the memory any more.
pub(super) unsafe fn free_exact(start: NonNull<u8>, bytes: usize) {
    let layout = std::alloc::Layout::from_size_align(bytes, super::ALIGN).expect("it was allocated so");
    // SAFETY: the caller passes what `exact` returned and its size.
    unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
}
