//! To and from `ndarray`, without copies.

use ndarray::{ArrayView, ArrayViewD, Dimension, IxDyn, ShapeBuilder};

use super::{Layout, LayoutError, View};

impl<'a, T, D: Dimension> TryFrom<ArrayView<'a, T, D>> for View<'a, T> {
    type Error = LayoutError;

    /// Any array without gaps, in whatever order its axes lie and run. One with gaps (a slice of columns, say) is
    /// [`LayoutError::NeedsCopy`]: its elements are not one slice. Take the view of the whole array and slice that.
    fn try_from(array: ArrayView<'a, T, D>) -> Result<Self, LayoutError> {
        let (dims, strides) = (array.shape().to_vec(), array.strides().to_vec());
        let data = array.to_slice_memory_order().ok_or(LayoutError::NeedsCopy)?;
        // An axis that runs backwards begins at its far end.
        let back = |(&dim, &stride): (&usize, &isize)| {
            if stride < 0 && dim > 1 {
                (dim - 1) * stride.unsigned_abs()
            } else {
                0
            }
        };
        let offset = if data.is_empty() { 0 } else { dims.iter().zip(&strides).map(back).sum() };
        View::with_layout(data, Layout::strided(&dims, &strides, offset)?)
    }
}

impl<'a, T> View<'a, T> {
    /// The view as `ndarray`'s.
    ///
    /// # Errors
    /// [`LayoutError::NeedsCopy`] when an axis runs backwards or repeats elements, which `ndarray` cannot say safely.
    pub fn to_ndarray(&self) -> Result<ArrayViewD<'a, T>, LayoutError> {
        let strides = self.layout().strides().iter().map(|&stride| usize::try_from(stride));
        let strides: Vec<usize> = strides.collect::<Result<_, _>>().map_err(|_| LayoutError::NeedsCopy)?;
        let shape = IxDyn(self.dims()).strides(IxDyn(&strides));
        ArrayView::from_shape(shape, &self.data()[self.layout().reach()]).map_err(|_| LayoutError::NeedsCopy)
    }
}
