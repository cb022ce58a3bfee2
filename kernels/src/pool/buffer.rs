//! Buffers: slices of pooled memory, and what may be in them.
//!
//! Where the memory comes from and goes to is [`super::cache`]'s matter.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::cache;
use super::error::PoolError;
use super::tracking::Tag;

/// Types whose every bit pattern is a value, so that old content may be reread as another one of them.
pub trait Plain: sealed::Sealed + Copy + Send + Sync + 'static {}
mod sealed {
    pub trait Sealed {}
}
macro_rules! plain {
    ($($t:ty),*) => { $(impl sealed::Sealed for $t {} impl Plain for $t {})* };
}
plain!(half::bf16, half::f16, f32, f64, u8, u32, u64, i32, i64, usize);

/// The same bits as `f32`, where an element has 4 bytes.
pub(crate) fn as_f32<T: Plain>(x: &[T]) -> Option<&[f32]> {
    (size_of::<T>() == size_of::<f32>() && align_of::<T>() == align_of::<f32>()).then(|| {
        // SAFETY: size and alignment are those of `f32`, and every bit pattern is a value of both plain types.
        unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
    })
}

/// The same, to write.
pub(crate) fn as_f32_mut<T: Plain>(x: &mut [T]) -> Option<&mut [f32]> {
    (size_of::<T>() == size_of::<f32>() && align_of::<T>() == align_of::<f32>()).then(|| {
        // SAFETY: as above, and whatever is written is a value of `T`; the borrow is as exclusive as the one of `x`.
        unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), x.len()) }
    })
}

/// A slice of pooled memory, 64-byte aligned; dropping it gives the memory back to the pool.
///
/// ```
/// use upbeat_kernels::Buffer;
/// let mut x = Buffer::<f32>::zeroed(3);
/// x[1] = 2.0;
/// assert_eq!(x[..], [0.0, 2.0, 0.0]);
/// ```
pub struct Buffer<T: Plain> {
    block: NonNull<T>,
    len: usize,
    tag: Tag,
    owns: PhantomData<T>,
}

// SAFETY: a buffer owns its memory as a `Vec<T>` would, and T is Send.
unsafe impl<T: Plain> Send for Buffer<T> {}
// SAFETY: a shared buffer gives out shared slices only, and T is Sync.
unsafe impl<T: Plain> Sync for Buffer<T> {}

impl<T: Plain> Buffer<T> {
    /// `len` numbers of unspecified value (zero, or what an earlier buffer left), counted under [`Tag::Tensor`].
    ///
    /// # Panics
    /// When the size in bytes overflows `isize` (kernels check shapes with [`crate::error::checked_len`] first), when
    /// the limit of [`set_limit`](super::set_limit) does not leave it, or when the system has no memory;
    /// [`Buffer::try_unspecified`] says so instead.
    #[inline]
    pub fn unspecified(len: usize) -> Self {
        Self::unspecified_as(Tag::Tensor, len)
    }

    /// As [`Buffer::unspecified`], for what a kernel needs while it runs: counted under [`Tag::Workspace`].
    ///
    /// # Panics
    /// As [`Buffer::unspecified`].
    #[inline]
    pub fn scratch(len: usize) -> Self {
        Self::unspecified_as(Tag::Workspace, len)
    }

    /// As [`Buffer::unspecified`], counted under `tag`.
    ///
    /// # Panics
    /// As [`Buffer::unspecified`].
    #[inline]
    pub fn unspecified_as(tag: Tag, len: usize) -> Self {
        #[cold]
        #[inline(never)]
        fn refuse(error: PoolError) -> ! {
            panic!("{error}")
        }
        Self::try_unspecified_as(tag, len).unwrap_or_else(|error| refuse(error))
    }

    /// As [`Buffer::unspecified`], but says why there is no memory.
    ///
    /// # Errors
    /// [`PoolError`]; nothing has changed then, but for idle memory, which may have been given back.
    ///
    /// ```
    /// use upbeat_kernels::{pool::PoolError, Buffer};
    /// let error = Buffer::<f64>::try_unspecified(usize::MAX / 4).unwrap_err();
    /// assert_eq!(error, PoolError::TooLarge { len: usize::MAX / 4, size: 8 });
    /// ```
    #[inline]
    pub fn try_unspecified(len: usize) -> Result<Self, PoolError> {
        Self::try_unspecified_as(Tag::Tensor, len)
    }

    /// As [`Buffer::try_unspecified`], counted under `tag`.
    ///
    /// # Errors
    /// As [`Buffer::try_unspecified`].
    #[inline]
    pub fn try_unspecified_as(tag: Tag, len: usize) -> Result<Self, PoolError> {
        if len == 0 {
            return Ok(Self { block: Self::EMPTY, len: 0, tag, owns: PhantomData });
        }
        let size = size_of::<T>();
        let bytes = len.checked_mul(size).filter(|&bytes| bytes <= isize::MAX as usize / 2);
        let bytes = bytes.ok_or(PoolError::TooLarge { len, size })?;
        let block = cache::obtain(bytes, tag)?.cast();
        Ok(Self { block, len, tag, owns: PhantomData })
    }

    /// `len` zeros, counted under [`Tag::Tensor`].
    ///
    /// # Panics
    /// As [`Buffer::unspecified`].
    pub fn zeroed(len: usize) -> Self {
        Self::zeroed_as(Tag::Tensor, len)
    }

    /// `len` zeros, counted under `tag`.
    ///
    /// # Panics
    /// As [`Buffer::unspecified`].
    pub fn zeroed_as(tag: Tag, len: usize) -> Self {
        let buffer = Self::unspecified_as(tag, len);
        // SAFETY: the buffer owns `len` numbers, and all-zero bytes are a value of every plain type.
        unsafe { buffer.block.as_ptr().write_bytes(0, buffer.len) };
        buffer
    }

    /// A copy of `from`, counted under [`Tag::Tensor`].
    ///
    /// # Panics
    /// As [`Buffer::unspecified`].
    pub fn copied(from: &[T]) -> Self {
        Self::copied_as(Tag::Tensor, from)
    }

    /// A copy of `from`, counted under `tag`.
    ///
    /// # Panics
    /// As [`Buffer::unspecified`].
    pub fn copied_as(tag: Tag, from: &[T]) -> Self {
        let mut buffer = Self::unspecified_as(tag, from.len());
        buffer.copy_from_slice(from);
        buffer
    }

    /// What the memory counts as.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// Counts the memory under another tag from now on.
    pub fn retag(&mut self, tag: Tag) {
        if self.len > 0 && self.tag != tag {
            cache::retag(self.tag, tag, size_of_val(&**self));
        }
        self.tag = tag;
    }

    /// The memory's start, without a reference to what is in it.
    pub(super) fn start(&self) -> NonNull<T> {
        self.block
    }

    /// Where an empty buffer points: nowhere, but aligned as any other.
    const EMPTY: NonNull<T> = NonNull::without_provenance(std::num::NonZero::new(super::ALIGN).unwrap());
}

impl<T: Plain> Drop for Buffer<T> {
    #[inline]
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the block came from `obtain` with this size, `retag` keeps the tag, and the buffer is gone.
            unsafe { cache::give_back(self.block.cast(), self.len * size_of::<T>(), self.tag) };
        }
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
        Self::copied_as(self.tag, self)
    }
}

impl<T: Plain + std::fmt::Debug> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
