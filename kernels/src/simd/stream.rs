//! Stores that go past the caches, for outputs too large to be found there again: memory is then not read before it is
//! written, which saves a third of the traffic of a sum and half of that of a copy.
//!
//! They are a vector wide, 16 bytes in [`copy`], and meet in the processor's write buffers; where there are none these are
//! plain stores. A thread's streamed stores are ordered before what it publishes later by [`finish`] alone.

use super::{Simd, MOST_LANES};

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Elements of `to` before its first whole cache line.
pub(crate) fn to_line(to: &[f32]) -> usize {
    #[cfg(target_arch = "x86_64")]
    return to.as_ptr().align_offset(LINE).min(to.len());
    #[cfg(not(target_arch = "x86_64"))]
    return to[..0].len();
}

/// Copies `from` to `to`, past the caches where `to` is aligned to 16 bytes and whole vectors are left.
///
/// # Panics
/// When the lengths differ.
#[inline(always)]
pub(crate) fn copy(from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "streamed slices have one length");
    #[cfg(target_arch = "x86_64")]
    if (to.as_ptr() as usize).is_multiple_of(16) {
        use std::arch::x86_64::{_mm_loadu_ps, _mm_stream_ps};
        let (vectors, rest) = from.as_chunks::<4>();
        let (places, rest_places) = to.as_chunks_mut::<4>();
        for (vector, place) in vectors.iter().zip(places) {
            // SAFETY: the array holds four numbers, and SSE is part of x86-64.
            let vector = unsafe { _mm_loadu_ps(vector.as_ptr()) };
            // SAFETY: the place holds four numbers, exclusively borrowed, and lies a multiple of 16 bytes behind the
            // slice's start, which is aligned to 16.
            unsafe { _mm_stream_ps(place.as_mut_ptr(), vector) };
        }
        rest_places.copy_from_slice(rest);
        return;
    }
    to.copy_from_slice(from);
}

/// Copies `from` to `to`, whole cache lines of `to` past the caches, a vector at a time.
///
/// # Panics
/// When the lengths differ.
#[inline(always)]
pub(crate) fn copy_lines<S: Simd>(simd: S, from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "streamed slices have one length");
    let (from_head, from) = from.split_at(to_line(to));
    let (to_head, to) = to.split_at_mut(from_head.len());
    if !from_head.is_empty() {
        to_head.copy_from_slice(from_head);
    }
    let (from, from_rest) = from.split_at(from.len() / MOST_LANES * MOST_LANES);
    let (to, to_rest) = to.split_at_mut(from.len());
    for (from, to) in from.chunks_exact(S::LANES).zip(to.chunks_exact_mut(S::LANES)) {
        let vector = simd.load(from);
        // SAFETY: the place holds a vector, and is a multiple of its size behind a cache line's start, or no level streams.
        unsafe { simd.stream_ptr(vector, to.as_mut_ptr()) };
    }
    if !from_rest.is_empty() {
        to_rest.copy_from_slice(from_rest);
    }
}

/// Whether vectors can be streamed to `to`: its start is a multiple of their size.
#[inline(always)]
pub(crate) fn is_aligned<S: Simd>(to: &[f32]) -> bool {
    (to.as_ptr() as usize).is_multiple_of(S::LANES * size_of::<f32>())
}

/// Orders this thread's streamed stores before its later ones: call it before the task ends.
#[inline(always)]
pub(crate) fn finish() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a fence touches no memory, and SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(test)]
mod tests {
    use super::{copy_lines, finish};
    use crate::isa;
    use crate::simd::{Kernel, Simd};

    struct Copy<'a>(&'a [f32], &'a mut [f32]);

    impl Kernel for Copy<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            copy_lines(simd, self.0, self.1);
            finish();
        }
    }

    #[test]
    fn slices_of_any_length_and_start_are_copied() {
        let from: Vec<f32> = (0..200).map(|i| i as f32).collect();
        for start in 0..20 {
            for len in [0, 1, 7, 15, 16, 17, 33, 64, 100] {
                let mut to = vec![-1.0; 200];
                isa::dispatch(Copy(&from[3..][..len], &mut to[start..][..len]));
                assert_eq!(to[start..][..len], from[3..][..len]);
                let others = to[..start].iter().chain(&to[start + len..]);
                assert!(others.copied().all(|x| x == -1.0), "{len} elements from {start} on");
            }
        }
    }
}
