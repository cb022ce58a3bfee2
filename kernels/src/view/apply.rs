//! Element-wise kernels over views: dense operands go to the kernel as they are; of others blocks are copied to the first cache, computed
//! there, and copied back.
//!
//! A large output is halved along its outermost axis, for tasks; a task's part is halved along its longest axis, so that blocks are
//! about square. Where an operand's elements lie side by side along another axis than the output's, blocks are [`turned`](super::turned).
//! What is computed of an element does not depend on the cuts.

use super::turned::{Plane, Turned};
use super::{Layout, LayoutError, View, ViewMut};
use crate::element::Write;
use crate::elementwise::functions::is_streamed;
use crate::pool::{Buffer, Plain};
use crate::Element;

/// Elements of a task; up to [`LARGE`] where it would have fewer than [`ROWS`] indices along its outermost axis, for square blocks need them.
const TASK: usize = 1 << 15;
const LARGE: usize = 16 * TASK;
const ROWS: usize = 64;
/// The same two for an operand that is turned, whose rows are read in pieces as long as a task has rows; and where these are in memory.
const TURNED: (usize, usize) = (LARGE, 128);
const TURNED_PAST: (usize, usize) = (64 * TASK, 512);
/// Elements of a block that is copied: three operands of 16 KiB lie in a second cache, and mostly in the first.
const BLOCK: usize = 1 << 12;
/// A dense run at least this long is not worth a copy.
const RUN: usize = 256;

/// `out = kernel(inputs)` element by element, with inputs broadcast to the output's shape. The kernel gets slices of equal length, of any
/// length, in any order, and from several threads.
///
/// # Errors
/// When an input does not broadcast to the output's dimensions. Nothing is written then.
///
/// ```
/// use upbeat_kernels::view::{zip, View, ViewMut};
///
/// let (rows, cols) = ([1.0f32, 2.0], [0.5f32, 0.25, 0.125]);
/// let mut table = [0.0; 6];
/// let inputs = [View::row_major(&rows, &[2, 1])?, View::row_major(&cols, &[3])?];
/// zip(&inputs, &mut ViewMut::row_major(&mut table, &[2, 3])?, |[x, y], out| {
///     for (i, out) in out.iter_mut().enumerate() {
///         *out = x[i] * y[i];
///     }
/// })?;
/// assert_eq!(table, [0.5, 0.25, 0.125, 1.0, 0.5, 0.25]);
/// # Ok::<(), upbeat_kernels::view::LayoutError>(())
/// ```
pub fn zip<T: Plain, const N: usize>(
    inputs: &[View<'_, T>; N],
    out: &mut ViewMut<'_, T>,
    kernel: impl Fn([&[T]; N], &mut [T]) + Sync,
) -> Result<(), LayoutError> {
    each(inputs, out, &kernel, false)
}

/// [`zip`]; whether the kernel copies its only input is said beside it, for then its result need not be made before it is written.
fn each<T: Plain, const N: usize>(
    inputs: &[View<'_, T>; N],
    out: &mut ViewMut<'_, T>,
    kernel: &(impl Fn([&[T]; N], &mut [T]) + Sync),
    copies: bool,
) -> Result<(), LayoutError> {
    let mut layouts = [out.layout; N];
    for (layout, input) in layouts.iter_mut().zip(inputs) {
        *layout = input.layout.broadcast(out.dims())?;
    }
    if out.layout.is_empty() {
        return Ok(());
    }
    // The axis with the output's smallest stride is the innermost.
    let mut order: Vec<usize> = (0..out.layout.rank()).collect();
    order.sort_by_key(|&axis| std::cmp::Reverse(out.layout.strides()[axis].unsigned_abs()));
    let sorted = |layout: Layout| layout.permute(&order).expect("every axis is named once");
    let (layouts, layout) = (layouts.map(sorted), sorted(out.layout));
    let data = inputs.each_ref().map(|input| input.data);
    let past = is_streamed(layout.len(), Write::Overwrite);
    let job = Job { data, kernel, copies, past, plane: Plane::of(&layouts, &layout) };
    job.tasks(layouts, ViewMut { data: out.data, layout });
    Ok(())
}

/// Inputs and what is done with them.
struct Job<'a, T, K, const N: usize> {
    data: [&'a [T]; N],
    kernel: &'a K,
    copies: bool,
    /// Whether no cache holds the output.
    past: bool,
    plane: Option<Plane>,
}

impl<T: Plain, K: Fn([&[T]; N], &mut [T]) + Sync, const N: usize> Job<'_, T, K, N> {
    /// Whether a part of `len` elements with `rows` indices along its outermost axis becomes two tasks.
    fn is_worth_halving(&self, len: usize, rows: usize) -> bool {
        let (large, fewest) = match self.plane {
            None => (LARGE, ROWS),
            Some(_) if self.past => TURNED_PAST,
            Some(_) => TURNED,
        };
        len > if rows < 2 * fewest { large } else { TASK }
    }

    /// Computes `out` in tasks.
    fn tasks(&self, inputs: [Layout; N], out: ViewMut<'_, T>) {
        match (out.layout.outermost(), self.plane) {
            (Some(axis), _) if self.is_worth_halving(out.layout.len(), out.dims()[axis]) => {
                let mid = out.dims()[axis] / 2;
                let (low, high) =
                    (inputs.map(|i| i.halves(axis, mid).0), inputs.map(|i| i.halves(axis, mid).1));
                let (first, second) = out.split(axis, mid);
                upbeat::join(|| self.tasks(low, first), || self.tasks(high, second));
            }
            (_, Some(plane)) => {
                let Self { data, past, .. } = *self;
                let kernel = (!self.copies).then_some(self.kernel);
                Turned { plane, data, kernel, past }.task(inputs, out.layout, out.data);
            }
            (_, None) => {
                let mut room = [(); N].map(|()| Buffer::unspecified(BLOCK));
                let mut result = Buffer::unspecified(BLOCK);
                self.blocks(inputs, out.layout, out.data, &mut room, &mut result);
            }
        }
    }

    /// Computes a task's part in blocks, each dense or small.
    fn blocks(
        &self,
        inputs: [Layout; N],
        out: Layout,
        data: &mut [T],
        room: &mut [Buffer<T>; N],
        result: &mut Buffer<T>,
    ) {
        let len = out.len();
        let dense = out.is_dense() && inputs.iter().all(Layout::is_dense);
        // A block of rows that are long and dense is cut into the rows.
        let outer = out.outermost().filter(|&axis| {
            let is_row_dense = |layout: &Layout| layout.halves(axis, 1).0.is_dense();
            len / out.dims()[axis] >= RUN && is_row_dense(&out) && inputs.iter().all(is_row_dense)
        });
        let cut = match outer {
            _ if dense => None,
            Some(axis) => Some((axis, out.dims()[axis] / 2)),
            None if len > BLOCK => out.longest().map(|axis| (axis, out.dims()[axis] / 2)),
            None => None,
        };
        if let Some((axis, mid)) = cut {
            let (low, high) = out.halves(axis, mid);
            self.blocks(inputs.map(|i| i.halves(axis, mid).0), low, data, room, result);
            self.blocks(inputs.map(|i| i.halves(axis, mid).1), high, data, room, result);
            return;
        }
        let mut operands: [&[T]; N] = [&[]; N];
        for (((operand, layout), from), room) in operands.iter_mut().zip(&inputs).zip(self.data).zip(room) {
            *operand = match layout.is_dense() {
                true => &from[layout.reach()],
                false => {
                    gather(from, layout, &mut room[..len]);
                    &room[..len]
                }
            };
        }
        if out.is_dense() {
            (self.kernel)(operands, &mut data[out.reach()]);
        } else {
            (self.kernel)(operands, &mut result[..len]);
            scatter(&result[..len], &out, data);
        }
    }
}

/// A run of elements in a view and in its block.
struct Run {
    /// Where the first one lies in the view's slice, and elements to the next one.
    place: usize,
    stride: isize,
    /// The same in the block.
    first: usize,
    step: usize,
    length: usize,
}

/// Calls `run` for every run along the axis with the view's shortest stride: a cache line of the view's is then used whole at once, while
/// the block lies in the first cache in any order.
fn each_run(layout: &Layout, mut run: impl FnMut(Run)) {
    let merged = layout.merged();
    let (rank, dims, strides) = (merged.rank(), merged.dims(), merged.strides());
    let Some(along) = (0..rank).rev().min_by_key(|&axis| strides[axis].unsigned_abs()) else {
        return run(Run { place: layout.offset(), stride: 1, first: 0, step: 1, length: 1 });
    };
    let mut steps = [1; super::MAX_RANK];
    for axis in (1..rank).rev() {
        steps[axis - 1] = steps[axis] * dims[axis];
    }
    let mut index = [0; super::MAX_RANK];
    for _ in 0..merged.len() / dims[along] {
        let index = &mut index[..rank];
        let place = merged.place(index).expect("the index lies inside");
        let first = index.iter().zip(steps).map(|(i, step)| i * step).sum();
        run(Run { place, stride: strides[along], first, step: steps[along], length: dims[along] });
        for axis in (0..rank).rev().filter(|&axis| axis != along) {
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// `to[i] ← ` the i-th element of the layout, in row-major order.
pub(super) fn gather<T: Plain>(from: &[T], layout: &Layout, to: &mut [T]) {
    each_run(layout, |Run { mut place, stride, mut first, step, length }| {
        if (stride, step) == (1, 1) {
            return to[first..first + length].copy_from_slice(&from[place..place + length]);
        }
        for _ in 0..length {
            to[first] = from[place];
            first += step;
            place = place.wrapping_add_signed(stride);
        }
    });
}

/// The i-th element of the layout, in row-major order, ← `from[i]`.
fn scatter<T: Plain>(from: &[T], layout: &Layout, to: &mut [T]) {
    each_run(layout, |Run { mut place, stride, mut first, step, length }| {
        for _ in 0..length {
            to[place] = from[first];
            first += step;
            place = place.wrapping_add_signed(stride);
        }
    });
}

/// `out = from`, broadcast to the output's shape.
///
/// # Errors
/// As [`zip`].
pub fn copy<T: Plain>(from: &View<'_, T>, out: &mut ViewMut<'_, T>) -> Result<(), LayoutError> {
    each(&[*from], out, &|[from]: [&[T]; 1], out: &mut [T]| out.copy_from_slice(from), true)
}

/// `out[i] = f(x[i])`, broadcast to the output's shape.
///
/// # Errors
/// As [`zip`].
pub fn map<T: Plain>(
    x: &View<'_, T>,
    out: &mut ViewMut<'_, T>,
    f: impl Fn(T) -> T + Sync,
) -> Result<(), LayoutError> {
    zip(&[*x], out, |[x], out| out.iter_mut().zip(x).for_each(|(out, x)| *out = f(*x)))
}

/// `out = a + b`, broadcast to the output's shape; [`broadcast_dims`](super::broadcast_dims) finds the smallest that takes both.
///
/// # Errors
/// As [`zip`].
pub fn add<T: Element>(
    a: &View<'_, T>,
    b: &View<'_, T>,
    out: &mut ViewMut<'_, T>,
) -> Result<(), LayoutError> {
    zip(&[*a, *b], out, |[a, b], out| T::add(a, b, out).expect("slices of one length"))
}

/// `out = a · b`, broadcast to the output's shape.
///
/// # Errors
/// As [`zip`].
pub fn mul<T: Element>(
    a: &View<'_, T>,
    b: &View<'_, T>,
    out: &mut ViewMut<'_, T>,
) -> Result<(), LayoutError> {
    zip(&[*a, *b], out, |[a, b], out| T::mul(a, b, out).expect("slices of one length"))
}
