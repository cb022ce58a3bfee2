//! Views of tensors: a slice with a shape and strides. Slicing, transposing and broadcasting copy nothing; element-wise kernels take views
//! of any strides and run in parallel; [`packing`] says when a copy would pay.
//!
//! [`layout`] owns the algebra and all its checks; views pair it with a slice that holds every element it reaches, so no unsafe code
//! is needed. A writable view's elements are certain to lie in places of their own.
//!
//! ```
//! use upbeat_kernels::view::{self, View, ViewMut};
//!
//! let matrix: Vec<f32> = (0..6).map(|i| i as f32).collect();
//! let bias = [10.0, 20.0];
//! let mut out = [0.0; 6];
//! // [2, 3], transposed to [3, 2], plus a bias for each of the two columns.
//! let transposed = View::row_major(&matrix, &[2, 3])?.transpose(0, 1)?;
//! view::add(&transposed, &View::row_major(&bias, &[2])?, &mut ViewMut::row_major(&mut out, &[3, 2])?)?;
//! assert_eq!(out, [10.0, 23.0, 11.0, 24.0, 12.0, 25.0]);
//! # Ok::<(), upbeat_kernels::view::LayoutError>(())
//! ```

mod apply;
mod error;
pub mod layout;
#[cfg(feature = "ndarray")]
mod ndarray;
pub mod packing;
mod turned;

pub use apply::{add, copy, map, mul, zip};
pub use error::LayoutError;
pub use layout::{broadcast_dims, Layout, MAX_RANK};

use std::ops::Range;

use crate::matrix::Mat;
use crate::pool::{Buffer, Plain};

/// Checks that a slice of `len` holds what the layout reaches.
fn check_inside(layout: &Layout, len: usize) -> Result<(), LayoutError> {
    let needed = layout.reach().end;
    if needed <= len {
        Ok(())
    } else {
        Err(LayoutError::Outside { needed, len })
    }
}

/// A read-only tensor.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    data: &'a [T],
    layout: Layout,
}

impl<'a, T> View<'a, T> {
    /// All of `data` in row-major order.
    ///
    /// # Errors
    /// Another number of elements than `dims` have, or dimensions that no [`Layout`] has.
    pub fn row_major(data: &'a [T], dims: &[usize]) -> Result<Self, LayoutError> {
        let layout = Layout::row_major(dims)?;
        if layout.len() != data.len() {
            return Err(LayoutError::Elements { expected: layout.len(), found: data.len() });
        }
        Ok(Self { data, layout })
    }

    /// The elements of `data` that `layout` names.
    ///
    /// # Errors
    /// When it reaches outside.
    pub fn with_layout(data: &'a [T], layout: Layout) -> Result<Self, LayoutError> {
        check_inside(&layout, data.len())?;
        Ok(Self { data, layout })
    }

    /// Shape and strides.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Lengths of the axes.
    pub fn dims(&self) -> &[usize] {
        self.layout.dims()
    }

    /// The slice that the layout counts in.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// The element at `index`; `None` outside.
    pub fn get(&self, index: &[usize]) -> Option<&'a T> {
        self.layout.place(index).map(|place| &self.data[place])
    }

    fn on(&self, layout: Layout) -> Self {
        Self { data: self.data, layout }
    }

    /// See [`Layout::slice`].
    ///
    /// # Errors
    /// As there.
    pub fn slice(&self, axis: usize, range: Range<usize>, step: isize) -> Result<Self, LayoutError> {
        Ok(self.on(self.layout.slice(axis, range, step)?))
    }

    /// See [`Layout::index`].
    ///
    /// # Errors
    /// As there.
    pub fn index(&self, axis: usize, index: usize) -> Result<Self, LayoutError> {
        Ok(self.on(self.layout.index(axis, index)?))
    }

    /// See [`Layout::permute`].
    ///
    /// # Errors
    /// As there.
    pub fn permute(&self, order: &[usize]) -> Result<Self, LayoutError> {
        Ok(self.on(self.layout.permute(order)?))
    }

    /// See [`Layout::transpose`].
    ///
    /// # Errors
    /// As there.
    pub fn transpose(&self, a: usize, b: usize) -> Result<Self, LayoutError> {
        Ok(self.on(self.layout.transpose(a, b)?))
    }

    /// See [`Layout::broadcast`].
    ///
    /// # Errors
    /// As there.
    pub fn broadcast(&self, dims: &[usize]) -> Result<Self, LayoutError> {
        Ok(self.on(self.layout.broadcast(dims)?))
    }

    /// See [`Layout::reshape`].
    ///
    /// # Errors
    /// As there.
    pub fn reshape(&self, dims: &[usize]) -> Result<Self, LayoutError> {
        Ok(self.on(self.layout.reshape(dims)?))
    }

    /// The elements as a slice, where they lie side by side in row-major order.
    pub fn as_slice(&self) -> Option<&'a [T]> {
        self.layout.is_dense().then(|| &self.data[self.layout.reach()])
    }

    /// A view of two axes as a factor of [`Gemm`](crate::Gemm): the matrix as stored, and whether it is stored transposed. `None` where
    /// neither axis has stride 1; [`to_buffer`](Self::to_buffer) packs it then.
    pub fn as_mat(&self) -> Option<(Mat<'a, T>, bool)> {
        let ([rows, cols], [down, right]) = (self.dims(), self.layout.strides()) else { return None };
        let data = &self.data[self.layout.reach()];
        let stored = |rows: usize, cols: usize, stride: isize| {
            let stride = if rows <= 1 { cols } else { usize::try_from(stride).ok()? };
            Mat::strided(data, rows, cols, stride).ok()
        };
        if *right == 1 || *cols <= 1 {
            if let Some(mat) = stored(*rows, *cols, *down) {
                return Some((mat, false));
            }
        }
        (*down == 1 || *rows <= 1).then(|| stored(*cols, *rows, *right)).flatten().map(|mat| (mat, true))
    }
}

impl<T: Plain> View<'_, T> {
    /// A row-major copy, made in parallel.
    pub fn to_buffer(&self) -> Buffer<T> {
        let mut buffer = Buffer::unspecified(self.layout.len());
        let mut out = ViewMut::row_major(&mut buffer, self.dims()).expect("the copy has the view's shape");
        copy(self, &mut out).expect("the copy has the view's shape");
        buffer
    }
}

/// A writable tensor, whose elements lie in places of their own.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    data: &'a mut [T],
    layout: Layout,
}

impl<'a, T> ViewMut<'a, T> {
    /// All of `data` in row-major order.
    ///
    /// # Errors
    /// Another number of elements than `dims` have, or dimensions that no [`Layout`] has.
    pub fn row_major(data: &'a mut [T], dims: &[usize]) -> Result<Self, LayoutError> {
        let layout = Layout::row_major(dims)?;
        if layout.len() != data.len() {
            return Err(LayoutError::Elements { expected: layout.len(), found: data.len() });
        }
        Ok(Self { data, layout })
    }

    /// The elements of `data` that `layout` names.
    ///
    /// # Errors
    /// When it reaches outside, or is not [injective](Layout::is_injective).
    pub fn with_layout(data: &'a mut [T], layout: Layout) -> Result<Self, LayoutError> {
        check_inside(&layout, data.len())?;
        if !layout.is_injective() {
            return Err(LayoutError::Overlap);
        }
        Ok(Self { data, layout })
    }

    /// Shape and strides.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Lengths of the axes.
    pub fn dims(&self) -> &[usize] {
        self.layout.dims()
    }

    /// The same elements, read only.
    pub fn as_view(&self) -> View<'_, T> {
        View { data: self.data, layout: self.layout }
    }

    /// The element at `index`; `None` outside.
    pub fn get_mut(&mut self, index: &[usize]) -> Option<&mut T> {
        self.layout.place(index).map(|place| &mut self.data[place])
    }

    /// The same elements for a shorter time.
    pub fn reborrow(&mut self) -> ViewMut<'_, T> {
        ViewMut { data: self.data, layout: self.layout }
    }

    /// The elements that a layout made from this view's names: `view.derive(|layout| layout.transpose(0, 1))`.
    ///
    /// # Errors
    /// What `of` returns, or a layout that is not [injective](Layout::is_injective) or reaches elsewhere.
    pub fn derive(
        self,
        of: impl FnOnce(&Layout) -> Result<Layout, LayoutError>,
    ) -> Result<Self, LayoutError> {
        let layout = of(&self.layout)?;
        Self::with_layout(self.data, layout)
    }

    /// Both parts of the outermost axis cut at `mid`. The layout is injective, so all that one half of it reaches lies before the other.
    fn split(self, axis: usize, mid: usize) -> (Self, Self) {
        let (first, second) = self.layout.halves(axis, mid);
        let low_first = self.layout.strides()[axis] > 0;
        let cut = if low_first { second.reach().start } else { first.reach().start };
        let (low, high) = self.data.split_at_mut(cut);
        let on = |data, layout| ViewMut { data, layout };
        if low_first {
            (on(low, first), on(high, second.moved_down(cut)))
        } else {
            (on(high, first.moved_down(cut)), on(low, second))
        }
    }
}
