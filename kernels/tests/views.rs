//! Promises of views: every chain of slices, transpositions, broadcasts and reshapes names the elements that a plain list of them does;
//! kernels over views compute what loops over indices do, whatever the strides, up to the last element before a guarded page, with the
//! same bits for any number of workers; bad shapes are errors, and then nothing is written.

mod common;

use common::{at_every_level, same_on_any_workers, Numbers, PageEnd};
use upbeat_kernels::view::{
    add, broadcast_dims, copy, mul, zip, Layout, LayoutError, View, ViewMut, MAX_RANK,
};

#[test]
fn every_level() {
    at_every_level();
}

/// What a layout means: dimensions, and the place of every element in row-major order.
#[derive(Clone, Debug, PartialEq)]
struct Places {
    dims: Vec<usize>,
    places: Vec<usize>,
}

/// Every index of a shape, in row-major order.
fn indices(dims: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &dim in dims {
        all = all
            .into_iter()
            .flat_map(|head: Vec<usize>| (0..dim).map(move |i| [&head[..], &[i]].concat()))
            .collect();
    }
    all
}

impl Places {
    fn of(layout: &Layout) -> Self {
        let dims = layout.dims().to_vec();
        let places =
            indices(&dims).iter().map(|index| layout.place(index).expect("the index is inside")).collect();
        Self { dims, places }
    }

    fn at(&self, index: &[usize]) -> usize {
        let flat = index.iter().zip(&self.dims).fold(0, |flat, (i, dim)| flat * dim + i);
        self.places[flat]
    }

    /// With other dimensions, each element where `from` says.
    fn rebuilt(&self, dims: Vec<usize>, from: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        let places = indices(&dims).iter().map(|index| self.at(&from(index))).collect();
        Self { dims, places }
    }
}

/// One random operation on both; errors must be none, for all are valid.
fn step(layout: &Layout, places: &Places, numbers: &mut Numbers) -> (Layout, Places) {
    let mut below = |n: usize| (numbers.bits() % n.max(1) as u64) as usize;
    let rank = layout.rank();
    match below(6) {
        0 if rank > 0 => {
            let axis = below(rank);
            let len = places.dims[axis];
            let start = below(len + 1);
            let end = start + below(len - start + 1);
            let step = [1isize, 2, 3, -1, -2][below(5)];
            let mut dims = places.dims.clone();
            dims[axis] = (end - start).div_ceil(step.unsigned_abs());
            let from = |index: &[usize]| {
                let mut from = index.to_vec();
                let way = index[axis] * step.unsigned_abs();
                from[axis] = if step > 0 { start + way } else { end - 1 - way };
                from
            };
            (layout.slice(axis, start..end, step).unwrap(), places.rebuilt(dims, from))
        }
        1 if rank > 0 && places.dims.iter().all(|&dim| dim > 0) => {
            let axis = below(rank);
            let at = below(places.dims[axis]);
            let mut dims = places.dims.clone();
            dims.remove(axis);
            let from = |index: &[usize]| [&index[..axis], &[at], &index[axis..]].concat();
            (layout.index(axis, at).unwrap(), places.rebuilt(dims, from))
        }
        2 if rank > 0 => {
            let mut order: Vec<usize> = (0..rank).collect();
            for i in (1..rank).rev() {
                order.swap(i, below(i + 1));
            }
            let dims = order.iter().map(|&axis| places.dims[axis]).collect();
            let from = |index: &[usize]| {
                let mut from = vec![0; rank];
                order.iter().zip(index).for_each(|(&axis, &i)| from[axis] = i);
                from
            };
            (layout.permute(&order).unwrap(), places.rebuilt(dims, from))
        }
        3 if rank < 4 => {
            let mut dims = places.dims.clone();
            dims.iter_mut().filter(|dim| **dim == 1).for_each(|dim| *dim = below(4));
            dims.insert(0, 1 + below(2));
            let from = |index: &[usize]| {
                index[1..].iter().zip(&places.dims).map(|(&i, &dim)| if dim == 1 { 0 } else { i }).collect()
            };
            (layout.broadcast(&dims).unwrap(), places.rebuilt(dims.clone(), from))
        }
        4 => {
            // Into one axis, or into two where the number can be divided; strides cannot always say it.
            let (len, by) = (places.places.len(), 2 + below(4));
            let dims = match below(3) {
                0 if len.is_multiple_of(by) => vec![by, len / by],
                1 if len.is_multiple_of(by) => vec![len / by, by],
                _ => vec![len],
            };
            match layout.reshape(&dims) {
                Ok(shaped) => (shaped, Places { dims, places: places.places.clone() }),
                Err(error) => {
                    assert_eq!(error, LayoutError::NeedsCopy);
                    assert!(!layout.is_dense(), "{layout:?} is dense and cannot be {dims:?}");
                    (*layout, places.clone())
                }
            }
        }
        _ => {
            let (a, b) = (below(rank), below(rank));
            if rank == 0 {
                return (*layout, places.clone());
            }
            let mut dims = places.dims.clone();
            dims.swap(a, b);
            let from = |index: &[usize]| {
                let mut from = index.to_vec();
                from.swap(a, b);
                from
            };
            (layout.transpose(a, b).unwrap(), places.rebuilt(dims, from))
        }
    }
}

#[test]
fn chains_of_operations_name_the_elements_that_a_list_of_them_does() {
    let mut numbers = Numbers::new(1);
    let (mut dense, mut repeated) = (0, 0);
    for _ in 0..3000 {
        let rank = (numbers.bits() % 4) as usize;
        let dims: Vec<usize> = (0..rank).map(|_| (numbers.bits() % 6) as usize).collect();
        let mut layout = Layout::row_major(&dims).unwrap();
        let mut places = Places::of(&layout);
        for _ in 0..6 {
            (layout, places) = step(&layout, &places, &mut numbers);
            assert_eq!(Places::of(&layout), places, "{layout:?}");
            assert_eq!(Places::of(&layout.merged()).places, places.places, "merged {layout:?}");
            let reach = layout.reach();
            let (low, high) = (places.places.iter().min(), places.places.iter().max());
            assert_eq!(low.map_or(reach.end, |&low| low), reach.start, "{layout:?}");
            assert_eq!(high.map_or(reach.start, |&high| high + 1), reach.end, "{layout:?}");
            let in_order = places.places.windows(2).all(|pair| pair[1] == pair[0] + 1);
            assert_eq!(layout.is_dense(), in_order, "{layout:?}");
            let mut sorted = places.places.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert!(sorted.len() == places.places.len() || !layout.is_injective(), "{layout:?}");
            dense += u32::from(in_order);
            repeated += u32::from(sorted.len() < places.places.len());
        }
    }
    assert!(dense > 1000 && repeated > 1000, "{dense} dense, {repeated} with repeated elements");
}

/// A layout of these dimensions with gaps, permuted axes and some backwards, and the length of the slice that it needs.
fn scattered(dims: &[usize], numbers: &mut Numbers) -> (Layout, usize) {
    let mut order: Vec<usize> = (0..dims.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, (numbers.bits() % (i as u64 + 1)) as usize);
    }
    let (mut strides, mut offset, mut reach) = (vec![0; dims.len()], 0, 0);
    for &axis in order.iter().rev() {
        let stride = reach + 1 + (numbers.bits() % 2) as usize;
        let back = numbers.bits().is_multiple_of(3);
        strides[axis] = if back { -(stride as isize) } else { stride as isize };
        let way = dims[axis].saturating_sub(1) * stride;
        offset += if back { way } else { 0 };
        reach += way;
    }
    (Layout::strided(dims, &strides, offset).unwrap(), reach + 1)
}

#[test]
fn kernels_over_views_compute_what_loops_over_indices_do() {
    let mut numbers = Numbers::new(2);
    let shapes: [&[usize]; 14] = [
        &[],
        &[0],
        &[1],
        &[7],
        &[1000],
        &[3, 0, 2],
        &[5, 3],
        &[64, 65],
        &[300, 400],
        &[2, 40_000],
        &[40_000, 2],
        &[9, 31, 17],
        &[3, 1, 70, 5],
        &[2, 3, 2, 3, 2, 3],
    ];
    for dims in shapes {
        for _ in 0..4 {
            // One operand is as it comes, the other repeats some axes, the output has gaps; all end at a page's end.
            let (of_a, len_a) = scattered(dims, &mut numbers);
            let few: Vec<usize> = dims
                .iter()
                .map(|&dim| if numbers.bits().is_multiple_of(3) { dim.min(1) } else { dim })
                .collect();
            let (of_b, len_b) = scattered(&few, &mut numbers);
            let (of_out, len_out) = scattered(dims, &mut numbers);
            let (a, b) = (PageEnd::copied(&numbers.vector(len_a)), PageEnd::copied(&numbers.vector(len_b)));
            let mut out = PageEnd::copied(&vec![f32::NAN; len_out]);
            let (a, b) = (View::with_layout(&a, of_a).unwrap(), View::with_layout(&b, of_b).unwrap());
            let wide = b.broadcast(dims).unwrap();
            add(&a, &b, &mut ViewMut::with_layout(&mut out, of_out).unwrap()).unwrap();
            let mut written = vec![false; len_out];
            for index in indices(dims) {
                let place = of_out.place(&index).unwrap();
                let expected = a.get(&index).unwrap() + wide.get(&index).unwrap();
                assert_eq!(out[place].to_bits(), expected.to_bits(), "{index:?} of {of_a:?} + {of_b:?}");
                written[place] = true;
            }
            let untouched = |(place, x): (usize, &f32)| written[place] || x.is_nan();
            assert!(out.iter().enumerate().all(untouched), "the gaps of {of_out:?} were written");
            assert_eq!(a.to_buffer().len(), a.layout().len());
        }
    }
}

#[test]
fn a_transposed_operand_is_copied_and_added_to_the_page_s_end() {
    let mut numbers = Numbers::new(4);
    for (rows, cols) in [(8, 8), (33, 70), (300, 257), (1030, 96), (64, 2100)] {
        let (a, b) = (numbers.vector(rows * cols), numbers.vector(rows * cols));
        let (a, b) = (PageEnd::copied(&a), PageEnd::copied(&b));
        let turned = View::row_major(&a, &[cols, rows]).unwrap().transpose(0, 1).unwrap();
        let plain = View::row_major(&b, &[rows, cols]).unwrap();
        let repeated = View::row_major(&b[..cols], &[1, cols]).unwrap();
        let mut results = [(); 3].map(|()| PageEnd::copied(&vec![f32::NAN; rows * cols]));
        let mut outs =
            results.each_mut().map(|out| ViewMut::row_major(out, &[rows, cols]).expect("a matrix"));
        copy(&turned, &mut outs[0]).unwrap();
        add(&turned, &plain, &mut outs[1]).unwrap();
        mul(&repeated, &turned, &mut outs[2]).unwrap();
        for at in 0..rows * cols {
            let (row, col) = (at / cols, at % cols);
            let x = a[col * rows + row];
            let found = results.each_ref().map(|out| out[at]);
            assert_eq!(found, [x, x + b[at], b[col] * x], "[{row}, {col}] of {rows} by {cols}");
        }
    }
}

#[test]
fn results_have_the_same_bits_for_any_number_of_workers() {
    let mut numbers = Numbers::new(3);
    let (x, scale) = (numbers.vector(300 * 500), numbers.vector(300));
    let result = same_on_any_workers("a transposed view scaled", || {
        let mut out = vec![0.0; 500 * 300];
        let x = View::row_major(&x, &[300, 500]).unwrap().transpose(0, 1).unwrap();
        let scale = View::row_major(&scale, &[300]).unwrap();
        mul(&x, &scale, &mut ViewMut::row_major(&mut out, &[500, 300]).unwrap()).unwrap();
        out
    });
    assert_eq!(result[300 * 7 + 5], x[5 * 500 + 7] * scale[5]);
}

#[test]
fn a_view_of_two_axes_is_a_factor_of_a_product() {
    let numbers: Vec<f32> = (0..30).map(|i| i as f32).collect();
    let matrix = View::row_major(&numbers, &[5, 6]).unwrap();
    let (mat, transposed) = matrix.as_mat().unwrap();
    assert_eq!((mat.rows(), mat.cols(), mat.stride(), transposed), (5, 6, 6, false));
    let (mat, transposed) = matrix.transpose(0, 1).unwrap().as_mat().unwrap();
    assert_eq!((mat.rows(), mat.cols(), transposed), (5, 6, true));
    let block = matrix.slice(0, 1..4, 1).unwrap().slice(1, 2..5, 1).unwrap();
    let (mat, transposed) = block.as_mat().unwrap();
    assert_eq!((mat.row(0), mat.row(2), transposed), (&[8.0, 9.0, 10.0][..], &[20.0, 21.0, 22.0][..], false));
    let every_second = matrix.slice(1, 0..6, 2).unwrap();
    assert!(every_second.as_mat().is_none());
    assert_eq!(every_second.to_buffer()[..4], [0.0, 2.0, 4.0, 6.0]);
    assert!(matrix.slice(0, 0..5, -1).unwrap().as_mat().is_none());
    assert_eq!(matrix.slice(0, 2..4, 1).unwrap().as_slice().unwrap()[0], 12.0);
}

#[test]
fn what_cannot_be_is_an_error_that_says_why() {
    type E = LayoutError;
    let data = [0.0f32; 12];
    let view = View::row_major(&data, &[3, 4]).unwrap();
    assert_eq!(View::row_major(&data, &[3, 5]).unwrap_err(), E::Elements { expected: 15, found: 12 });
    assert_eq!(Layout::row_major(&[1; MAX_RANK + 1]).unwrap_err(), E::Rank(9));
    assert_eq!(Layout::row_major(&[usize::MAX, 2]).unwrap_err(), E::Overflow);
    assert_eq!(Layout::row_major(&[usize::MAX, 0]).unwrap_err(), E::Overflow);
    assert_eq!(Layout::strided(&[2, 2], &[1], 0).unwrap_err(), E::Axes { expected: 2, found: 1 });
    assert_eq!(Layout::strided(&[3], &[-1], 1).unwrap_err(), E::Outside { needed: 2, len: 1 });
    assert_eq!(Layout::strided(&[3], &[isize::MIN], 0).unwrap_err(), E::Overflow);
    assert_eq!(Layout::strided(&[2], &[isize::MAX], 5).unwrap_err(), E::Overflow);
    let far = Layout::strided(&[3, 4], &[4, 1], 1).unwrap();
    assert_eq!(View::with_layout(&data, far).unwrap_err(), E::Outside { needed: 13, len: 12 });
    assert_eq!(view.slice(2, 0..1, 1).unwrap_err(), E::Axis { axis: 2, rank: 2 });
    assert_eq!(view.slice(1, 2..5, 1).unwrap_err(), E::Range { axis: 1, start: 2, end: 5, len: 4 });
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = view.slice(1, 3..2, 1);
    assert_eq!(reversed.unwrap_err(), E::Range { axis: 1, start: 3, end: 2, len: 4 });
    assert_eq!(view.slice(1, 0..4, 0).unwrap_err(), E::Step);
    assert_eq!(view.index(0, usize::MAX).unwrap_err(), E::Overflow);
    assert_eq!(view.permute(&[0, 0]).unwrap_err(), E::Order);
    assert_eq!(view.broadcast(&[2, 4]).unwrap_err(), E::Broadcast { axis: 0, from: 3, to: 2 });
    assert_eq!(view.broadcast(&[4]).unwrap_err(), E::Axes { expected: 2, found: 1 });
    assert_eq!(view.broadcast(&[usize::MAX, 3, 4]).unwrap_err(), E::Overflow);
    assert_eq!(view.reshape(&[5]).unwrap_err(), E::Elements { expected: 5, found: 12 });
    assert_eq!(view.transpose(0, 1).unwrap().reshape(&[12]).unwrap_err(), E::NeedsCopy);
    assert_eq!(broadcast_dims(&[&[3, 1], &[2]]).unwrap(), [3, 2]);
    assert_eq!(broadcast_dims(&[&[3, 4], &[2]]).unwrap_err(), E::Broadcast { axis: 1, from: 2, to: 4 });

    let mut out = [7.0f32; 12];
    let twice = Layout::strided(&[2, 6], &[3, 1], 0).unwrap();
    assert_eq!(ViewMut::with_layout(&mut out, twice).unwrap_err(), E::Overlap);
    let all = ViewMut::row_major(&mut out, &[3, 4]).unwrap();
    assert_eq!(all.derive(|layout| layout.broadcast(&[2, 3, 4])).unwrap_err(), E::Overlap);
    let mut all = ViewMut::row_major(&mut out, &[4, 3]).unwrap();
    assert_eq!(add(&view, &view, &mut all).unwrap_err(), E::Broadcast { axis: 0, from: 3, to: 4 });
    assert_eq!(out, [7.0; 12], "nothing was written");
    // Strides that no element uses may be anything.
    let unused = Layout::strided(&[0, 4], &[isize::MAX, isize::MIN], 3).unwrap();
    assert!(unused.slice(1, 0..4, -2).unwrap().transpose(0, 1).unwrap().merged().is_empty());
    let single = Layout::strided(&[1, 2], &[isize::MIN, 1], 0).unwrap();
    assert_eq!(Places::of(&single.slice(0, 0..1, -5).unwrap()).places, [0, 1]);
}

#[test]
fn equal_layouts_are_equal_however_they_were_made() {
    let mut dims = vec![3; 8];
    while let Some(rank) = dims.len().checked_sub(1) {
        let layout = Layout::row_major(&dims).unwrap();
        for axis in 0..dims.len() {
            let strides = [&layout.strides()[..axis], &layout.strides()[axis + 1..]].concat();
            let made = Layout::strided(&dims[..rank], &strides, 0).unwrap();
            assert_eq!(layout.index(axis, 0).unwrap(), made, "without axis {axis} of {rank} more");
        }
        dims.pop();
    }
}

#[test]
fn many_inputs_and_other_types_are_zipped() {
    let (a, b, c) = ([1u32, 2, 3], [10u32], [100u32, 200, 300]);
    let of = |data| View::row_major(data, &[3]).unwrap();
    let inputs = [of(&a), View::row_major(&b, &[1]).unwrap(), of(&c).slice(0, 0..3, -1).unwrap()];
    let mut out = [0; 3];
    zip(&inputs, &mut ViewMut::row_major(&mut out, &[3]).unwrap(), |[a, b, c], out| {
        out.iter_mut().enumerate().for_each(|(i, out)| *out = a[i] + b[i] + c[i]);
    })
    .unwrap();
    assert_eq!(out, [311, 212, 113]);
    let mut column = [0; 6];
    let second = ViewMut::row_major(&mut column, &[3, 2]).unwrap();
    let mut second = second.derive(|layout| layout.index(1, 1)).unwrap();
    copy(&of(&a), &mut second).unwrap();
    assert_eq!(column, [0, 1, 0, 2, 0, 3]);
}

#[cfg(feature = "ndarray")]
#[test]
fn arrays_of_ndarray_are_views_and_views_are_arrays() {
    use ndarray::{Array, Array3, Axis};
    let array: Array3<f32> = Array::from_shape_fn((2, 3, 4), |(i, j, k)| (100 * i + 10 * j + k) as f32);
    let mut turned = array.view().permuted_axes([2, 0, 1]);
    turned.invert_axis(Axis(0));
    let view = View::try_from(turned.view()).unwrap();
    assert_eq!(view.dims(), [4, 2, 3]);
    for ((i, j, k), x) in turned.indexed_iter() {
        assert_eq!(view.get(&[i, j, k]), Some(x));
    }
    assert_eq!(view.to_ndarray().unwrap_err(), LayoutError::NeedsCopy);
    let whole = View::try_from(array.view()).unwrap().transpose(0, 2).unwrap();
    let back = whole.to_ndarray().unwrap();
    assert_eq!(back, array.view().permuted_axes([2, 1, 0]).into_dyn());
    let gaps = array.slice_axis(Axis(2), (0..2).into());
    assert_eq!(View::try_from(gaps).unwrap_err(), LayoutError::NeedsCopy);
    let none = Array3::<f32>::zeros((2, 0, 4));
    assert!(View::try_from(none.view()).unwrap().layout().is_empty());
}
