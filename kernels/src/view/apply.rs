//! Element-wise kernels over views: dense operands go to the kernel as they are; of others blocks are copied to the first cache, computed
//! there, and copied back.
//!
//! A large output is halved along its outermost axis, for tasks; a task's part is halved along its longest axis, so that blocks are
//! about square and a transposed operand's cache lines are used whole. What is computed of an element does not depend on the cuts.

use super::{Layout, LayoutError, View, ViewMut};
use crate::pool::{Buffer, Plain};
use crate::Element;

/// Elements of a task.
const TASK: usize = 1 << 15;
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
    let job = Job { data: inputs.each_ref().map(|input| input.data), kernel: &kernel };
    job.tasks(layouts.map(sorted), ViewMut { data: out.data, layout: sorted(out.layout) });
    Ok(())
}

/// Inputs and what is done with them.
struct Job<'a, T, K, const N: usize> {
    data: [&'a [T]; N],
    kernel: &'a K,
}

impl<T: Plain, K: Fn([&[T]; N], &mut [T]) + Sync, const N: usize> Job<'_, T, K, N> {
    /// Computes `out` in tasks.
    fn tasks(&self, inputs: [Layout; N], out: ViewMut<'_, T>) {
        match out.layout.outermost() {
            Some(axis) if out.layout.len() > TASK => {
                let mid = out.dims()[axis] / 2;
                let (low, high) =
                    (inputs.map(|i| i.halves(axis, mid).0), inputs.map(|i| i.halves(axis, mid).1));
                let (first, second) = out.split(axis, mid);
                upbeat::join(|| self.tasks(low, first), || self.tasks(high, second));
            }
            _ => {
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

/// Calls `run(place, stride, first, length)` for every run along the last axis, in row-major order; `first` counts elements.
fn each_run(layout: &Layout, mut run: impl FnMut(usize, isize, usize, usize)) {
    let merged = layout.merged();
    let Some(last) = merged.rank().checked_sub(1) else { return run(layout.offset(), 1, 0, 1) };
    let (length, stride) = (merged.dims()[last], merged.strides()[last]);
    let mut index = [0; super::MAX_RANK];
    for number in 0..merged.len() / length {
        let place = merged.place(&index[..=last]).expect("the index lies inside");
        run(place, stride, number * length, length);
        for axis in (0..last).rev() {
            index[axis] += 1;
            if index[axis] < merged.dims()[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// `to[i] ← ` the i-th element of the layout.
fn gather<T: Plain>(from: &[T], layout: &Layout, to: &mut [T]) {
    each_run(layout, |place, stride, first, length| {
        let to = &mut to[first..first + length];
        match stride {
            1 => to.copy_from_slice(&from[place..place + length]),
            0 => to.fill(from[place]),
            stride if stride > 0 => {
                to.iter_mut().zip(from[place..].iter().step_by(stride as usize)).for_each(|(to, x)| *to = *x);
            }
            stride => {
                let from = from[..=place].iter().rev().step_by(stride.unsigned_abs());
                to.iter_mut().zip(from).for_each(|(to, x)| *to = *x);
            }
        }
    });
}

/// The i-th element of the layout ← `from[i]`.
fn scatter<T: Plain>(from: &[T], layout: &Layout, to: &mut [T]) {
    each_run(layout, |place, stride, first, length| {
        let from = &from[first..first + length];
        if stride > 0 {
            to[place..].iter_mut().step_by(stride as usize).zip(from).for_each(|(to, x)| *to = *x);
        } else {
            to[..=place]
                .iter_mut()
                .rev()
                .step_by(stride.unsigned_abs())
                .zip(from)
                .for_each(|(to, x)| *to = *x);
        }
    });
}

/// `out = from`, broadcast to the output's shape.
///
/// # Errors
/// As [`zip`].
pub fn copy<T: Plain>(from: &View<'_, T>, out: &mut ViewMut<'_, T>) -> Result<(), LayoutError> {
    zip(&[*from], out, |[from], out| out.copy_from_slice(from))
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
