//! Conversion between f32, in which everything is computed, and the 16-bit types numbers are stored in: bf16 and f16.
//!
//! Rounding is to nearest, ties to even; overflow gives infinity; subnormal numbers are kept; a NaN stays a quiet NaN
//! with its sign and the upper bits of its payload. The conversions are integer arithmetic without branches, which the
//! compiler turns into vectors of whatever level the code around them is compiled for; every level gives the same bits.
//! [`narrow`] and [`widen`] run as tasks. Arithmetic on stored numbers is other modules' matter.

use crate::blocks::ELEMENTS;
use crate::error::{check, ShapeError};
use crate::isa::dispatch;
use crate::pool::{Buffer, Plain};
use crate::simd::{Kernel, Simd};
use crate::{bf16, f16};

/// A 16-bit floating-point type that numbers are stored in.
pub trait Storage: Plain + Default + PartialOrd + std::fmt::Debug {
    /// The type's name, as in `"bf16"`.
    const NAME: &'static str;
    /// Distance from 1 to the next number: 2⁻⁷ for bf16, 2⁻¹⁰ for f16. A rounding is off by half of it at most.
    const EPSILON: f32;
    /// The nearest value of this type; mark the implementation `#[inline(always)]`.
    fn from_f32(x: f32) -> Self;
    /// The value, exactly (a signalling NaN becomes quiet); mark the implementation `#[inline(always)]`.
    fn to_f32(self) -> f32;
}

impl Storage for bf16 {
    const NAME: &'static str = "bf16";
    const EPSILON: f32 = 1.0 / 128.0;

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        // Half a unit of the last kept bit, less one where that bit is even, carries exactly when the number rounds up.
        let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
        let nan = (bits >> 16) | 0x40;
        Self::from_bits(if bits & 0x7FFF_FFFF > 0x7F80_0000 { nan } else { rounded } as u16)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        let bits = u32::from(self.to_bits()) << 16;
        let quiet = if bits & 0x7FFF_FFFF > 0x7F80_0000 { 0x0040_0000 } else { 0 };
        f32::from_bits(bits | quiet)
    }
}

impl Storage for f16 {
    const NAME: &'static str = "f16";
    const EPSILON: f32 = 1.0 / 1024.0;

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        /// 0.5: added to a number below 2⁻¹⁴ it leaves as many bits of it as a subnormal f16 has, rounded.
        const MAGIC: u32 = 0x3F00_0000;
        let bits = x.to_bits();
        let size = bits & 0x7FFF_FFFF;
        // The exponent's bias changes from 127 to 15; rounding may carry into it, up to infinity.
        let normal = size.wrapping_sub(112 << 23).wrapping_add(0xFFF + ((size >> 13) & 1)) >> 13;
        let subnormal = (f32::from_bits(size) + f32::from_bits(MAGIC)).to_bits().wrapping_sub(MAGIC);
        let nan = 0x7E00 | ((size >> 13) & 0x3FF);
        let finite = if size < 0x3880_0000 { subnormal } else { normal };
        let bounded = if size >= 0x4780_0000 { 0x7C00 } else { finite };
        let found = if size > 0x7F80_0000 { nan } else { bounded };
        Self::from_bits((found | ((bits >> 16) & 0x8000)) as u16)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        /// 2¹¹², the difference of the exponents' biases; the product is exact, for subnormal numbers too.
        const REBIAS: f32 = f32::from_bits(0x7780_0000);
        let bits = u32::from(self.to_bits());
        let size = (bits & 0x7FFF) << 13;
        let finite = (f32::from_bits(size) * REBIAS).to_bits();
        let quiet = if size > 0x0F80_0000 { 0x0040_0000 } else { 0 };
        let found = if size >= 0x0F80_0000 { 0x7F80_0000 | (size & 0x007F_FFFF) | quiet } else { finite };
        f32::from_bits(found | ((bits & 0x8000) << 16))
    }
}

/// `out[i] = x[i]` rounded, inside a kernel, in one piece. The slices have one length.
#[inline(always)]
pub(crate) fn narrow_lanes<T: Storage>(x: &[f32], out: &mut [T]) {
    let x = &x[..out.len()];
    for i in 0..out.len() {
        out[i] = T::from_f32(x[i]);
    }
}

/// `out[i] = x[i]`, inside a kernel, in one piece. The slices have one length.
#[inline(always)]
pub(crate) fn widen_lanes<T: Storage>(x: &[T], out: &mut [f32]) {
    let x = &x[..out.len()];
    for i in 0..out.len() {
        out[i] = x[i].to_f32();
    }
}

struct Narrow<'a, T>(&'a [f32], &'a mut [T]);

impl<T: Storage> Kernel for Narrow<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        narrow_lanes(self.0, self.1);
    }
}

struct Widen<'a, T>(&'a [T], &'a mut [f32]);

impl<T: Storage> Kernel for Widen<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        widen_lanes(self.0, self.1);
    }
}

/// `out[i] = x[i]`, rounded to the type of `out`.
///
/// # Errors
/// [`ShapeError`] when the lengths differ; nothing is written then.
///
/// ```
/// use upbeat_kernels::{bf16, convert};
/// let mut stored = [bf16::ZERO; 3];
/// convert::narrow(&[1.0, -0.1, f32::MAX], &mut stored)?;
/// assert_eq!(stored, [bf16::ONE, bf16::from_f32(-0.1), bf16::INFINITY]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn narrow<T: Storage>(x: &[f32], out: &mut [T]) -> Result<(), ShapeError> {
    check("the length of stored numbers", x.len(), out.len())?;
    if out.len() <= ELEMENTS {
        dispatch(Narrow(x, out));
        return Ok(());
    }
    upbeat::par::chunks_mut(out, ELEMENTS, |block, out| {
        dispatch(Narrow(&x[block * ELEMENTS..][..out.len()], out));
    });
    Ok(())
}

/// `out[i] = x[i]`, exactly.
///
/// # Errors
/// [`ShapeError`] when the lengths differ; nothing is written then.
///
/// ```
/// use upbeat_kernels::{convert, f16};
/// let mut wide = [0.0; 2];
/// convert::widen(&[f16::from_f32(0.1), f16::MAX], &mut wide)?;
/// assert_eq!(wide, [0.099975586, 65504.0]);
/// # Ok::<(), upbeat_kernels::ShapeError>(())
/// ```
pub fn widen<T: Storage>(x: &[T], out: &mut [f32]) -> Result<(), ShapeError> {
    check("the length of stored numbers", out.len(), x.len())?;
    if out.len() <= ELEMENTS {
        dispatch(Widen(x, out));
        return Ok(());
    }
    upbeat::par::chunks_mut(out, ELEMENTS, |block, out| {
        dispatch(Widen(&x[block * ELEMENTS..][..out.len()], out));
    });
    Ok(())
}

/// The numbers in f32, a copy.
pub(crate) fn wide(x: &[bf16]) -> Buffer<f32> {
    let mut wide = Buffer::scratch(x.len());
    widen(x, &mut wide).expect("the copy is as long");
    wide
}
