//! What the kernels' test files share: every test at every instruction-set level, slices that end at a page that
//! must not be touched, the same bits on any number of workers, and reproducible numbers.
//!
//! The level is chosen once a process, so [`at_every_level`] runs the test binary again with `UPBEAT_ISA` set.

#![allow(unsafe_code, dead_code)] // Guard pages need the system's calls; no test file uses everything.

use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::ptr::NonNull;

use upbeat::Runtime;
use upbeat_kernels::Isa;

/// Set in the processes that [`at_every_level`] starts.
const CHILD: &str = "UPBEAT_TEST_CHILD";

/// Whether [`at_every_level`] started this process.
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs all tests of this binary again at each supported level but the active one. Call it from a test of its own;
/// in the processes it starts it returns at once.
///
/// # Panics
/// When a test fails at a level, or when a process ran no other test.
pub(crate) fn at_every_level() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported() && *isa != Isa::active()) {
        passes_with("UPBEAT_ISA", isa.name());
    }
}

/// Runs this test program again, in a process of its own, with a variable of the environment.
pub(crate) fn passes_with(variable: &str, value: &str) {
    let output = Command::new(std::env::current_exe().expect("the test binary has a path"))
        .env(CHILD, "1")
        // What another level may lack.
        .env_remove("UPBEAT_BF16")
        .env(variable, value)
        .output()
        .expect("the test binary runs again");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests fail with {variable}={value}:\n{text}\n{errors}");
    let passed = text.split("test result: ok. ").nth(1).and_then(|rest| rest.split(' ').next());
    let passed: usize = passed.and_then(|n| n.parse().ok()).expect("a summary of the tests");
    assert!(passed > 1, "{variable}={value} ran no test:\n{text}");
}

/// A slice whose end is the end of a page, with an inaccessible page behind and before: reading or writing one
/// element too far kills the process.
pub(crate) struct PageEnd<T> {
    map: NonNull<u8>,
    map_bytes: usize,
    first: NonNull<T>,
    len: usize,
}

impl<T: Copy> PageEnd<T> {
    /// A guarded copy of `from`.
    pub(crate) fn copied(from: &[T]) -> Self {
        // SAFETY: asking for the page size touches nothing.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = size_of_val(from).div_ceil(page).max(1) * page;
        let map_bytes = bytes + 2 * page;
        // SAFETY: a private anonymous mapping at an address of the system's choice.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                map_bytes,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert!(map != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        let map = NonNull::new(map.cast::<u8>()).expect("a mapping is not at address 0");
        // SAFETY: the middle pages lie in the mapping.
        let middle = unsafe { map.add(page) };
        // SAFETY: these pages are this mapping's own.
        let opened =
            unsafe { libc::mprotect(middle.as_ptr().cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) };
        assert!(opened == 0, "mprotect: {}", std::io::Error::last_os_error());
        // SAFETY: the slice's bytes fit into the middle pages.
        let first = unsafe { middle.add(bytes - size_of_val(from)) }.cast::<T>();
        // SAFETY: both are valid for `from.len()` elements, do not overlap, and the pages' end is aligned for T.
        unsafe { first.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
        Self { map, map_bytes, first, len: from.len() }
    }
}

impl<T> Drop for PageEnd<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it any more.
        let closed = unsafe { libc::munmap(self.map.as_ptr().cast(), self.map_bytes) };
        assert!(closed == 0, "munmap: {}", std::io::Error::last_os_error());
    }
}

impl<T> Deref for PageEnd<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `copied` wrote `len` elements there.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for PageEnd<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

/// Reproducible numbers (SplitMix64; Steele, Lea and Flood, 2014).
pub(crate) struct Numbers(u64);

impl Numbers {
    /// A sequence of its own for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 uniform bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[-1, 1)`, a multiple of 2⁻²³, so exact in `f32`.
    pub(crate) fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// `len` numbers in `[-1, 1)`.
    pub(crate) fn vector(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.uniform()).collect()
    }
}

/// The same numbers in the precision of the twins.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// The numbers' bits: NaN and the signs of zeros count.
pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Panics, naming the first element that differs, unless both have the same bits.
#[track_caller]
pub(crate) fn assert_same_bits(got: &[f32], want: &[f32], what: impl Debug) {
    let differs = got.iter().zip(want).position(|(x, y)| x.to_bits() != y.to_bits());
    assert!(got.len() == want.len() && differs.is_none(), "{what:?}: element {differs:?} differs");
}

/// What `compute` gives on 1, 2, 3 and 8 workers. Panics unless it is the same on all.
#[track_caller]
pub(crate) fn same_on_any_workers<T: PartialEq + Send>(
    what: impl Debug,
    compute: impl Fn() -> T + Sync,
) -> T {
    let run = |workers| Runtime::builder().workers(workers).build().unwrap().install(|_| compute());
    let alone = run(1);
    for workers in [2, 3, 8] {
        assert!(run(workers) == alone, "{what:?}: {workers} workers give other bits than one");
    }
    alone
}
