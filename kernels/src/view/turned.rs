//! Operands that are stored the other way round than the output: blocks of the plane of the two axes that lie along their memory are
//! transposed in registers into the first cache, computed there, and written in rows.
//!
//! A plane is walked along the operand's rows, so that what is read is near what was read before; a block takes whole cache lines of
//! both sides, and the next block's are asked for while it is turned. Outputs that no cache holds are written past the caches.

use std::ops::Range;

use super::apply::gather;
use super::Layout;
use crate::element::Write;
use crate::isa::dispatch;
use crate::lanes::{lanewise, Identity};
use crate::pool::{as_f32, as_f32_mut, Buffer, Plain};
use crate::simd::{prefetch_lines, stream, transpose::transpose, Kernel, Simd, LINE};

/// Elements of a block, and of one with several operands: they lie in the first cache, or little of them in the second.
const BLOCK: usize = 1 << 13;
const SHARED: usize = 1 << 12;
/// Elements of a block's row, eight cache lines.
const ROW: usize = 128;
/// The shortest axis that is worth it.
const LEAST: usize = 8;
/// Rows of an operand that are turned at once, or as many as a vector has lanes: the next ones' lines are asked for in between.
const STRIP: usize = 8;

/// Two axes: the output's elements lie side by side along `inner`, those of an input along `across`.
#[derive(Clone, Copy)]
pub(super) struct Plane {
    inner: usize,
    across: usize,
}

impl Plane {
    /// The plane of a job whose output's axes are sorted, the one of the smallest stride last.
    pub(super) fn of(inputs: &[Layout], out: &Layout) -> Option<Self> {
        let along = |layout: &Layout| {
            (0..out.rank()).find(|&axis| layout.dims()[axis] >= LEAST && layout.strides()[axis] == 1)
        };
        let inner = along(out)?;
        let across = inputs
            .iter()
            .filter(|input| input.strides()[inner] > 1)
            .find_map(along)
            .filter(|&a| a < inner)?;
        Some(Self { inner, across })
    }

    /// Whether the input's rows are the output's columns.
    fn turns(self, input: &Layout) -> bool {
        input.strides()[self.across] == 1 && input.strides()[self.inner] > 1
    }

    /// The block at ranges of `across` and `inner`.
    fn part(self, layout: &Layout, [across, inner]: [Range<usize>; 2]) -> Layout {
        let cut = |layout: &Layout, axis, range| layout.slice(axis, range, 1).expect("the block lies inside");
        cut(&cut(layout, self.across, across), self.inner, inner)
    }
}

/// An axis in blocks that begin at cache lines, but for the first one, whose start is `behind` elements behind one.
struct Blocks {
    len: usize,
    block: usize,
    behind: usize,
}

impl Blocks {
    fn count(&self) -> usize {
        (self.len + self.behind).div_ceil(self.block)
    }

    fn range(&self, i: usize) -> Range<usize> {
        let edge = |i: usize| (i * self.block).saturating_sub(self.behind).min(self.len);
        edge(i)..edge(i + 1)
    }
}

/// Elements from a cache line's start to the layout's first one, where they are as many in each row: those of 4 bytes.
fn behind_line<T>(data: &[T], layout: &Layout, rows: usize) -> usize {
    let stride = layout.strides()[rows].unsigned_abs();
    let place = data.as_ptr().wrapping_add(layout.offset()) as usize / size_of::<T>();
    if stride.is_multiple_of(LINE) {
        place % LINE
    } else {
        0
    }
}

/// Operands of a task, and how its blocks are computed: `None` copies the only input.
pub(super) struct Turned<'a, T, K, const N: usize> {
    pub(super) plane: Plane,
    pub(super) data: [&'a [T]; N],
    pub(super) kernel: Option<&'a K>,
    /// Whether the output is written past the caches.
    pub(super) past: bool,
}

impl<T: Plain, K: Fn([&[T]; N], &mut [T]), const N: usize> Turned<'_, T, K, N> {
    /// Computes a task's part.
    pub(super) fn task(&self, inputs: [Layout; N], out: Layout, data: &mut [T]) {
        let block = if N == 1 { BLOCK } else { SHARED };
        let mut room = [(); N].map(|()| Buffer::unspecified(block));
        let mut result = Buffer::unspecified(if self.kernel.is_some() { block } else { 0 });
        self.planes(inputs, out, data, &mut room, &mut result);
        if self.past {
            stream::finish();
        }
    }

    /// One plane after the other.
    fn planes(
        &self,
        inputs: [Layout; N],
        out: Layout,
        data: &mut [T],
        room: &mut [Buffer<T>; N],
        result: &mut Buffer<T>,
    ) {
        let Plane { inner, across } = self.plane;
        let other = (0..out.rank()).find(|&axis| axis != inner && axis != across && out.dims()[axis] > 1);
        if let Some(axis) = other {
            for i in 0..out.dims()[axis] {
                let at = |layout: Layout| layout.slice(axis, i..i + 1, 1).expect("the index lies inside");
                self.planes(inputs.map(at), at(out), data, room, result);
            }
            return;
        }
        let cols = if N == 1 { ROW } else { ROW / 2 };
        let rows = room[0].len() / cols;
        let turned = inputs.iter().zip(self.data).find(|(input, _)| self.plane.turns(input));
        let behind_row = turned.map_or(0, |(input, from)| behind_line(from, input, inner));
        let cols = Blocks { len: out.dims()[inner], block: cols, behind: behind_line(data, &out, across) };
        let rows = Blocks { len: out.dims()[across], block: rows, behind: behind_row };
        for col in 0..cols.count() {
            for row in 0..rows.count() {
                let next = if row + 1 < rows.count() { (row + 1, col) } else { (0, col + 1) };
                let next = (next.1 < cols.count()).then(|| [rows.range(next.0), cols.range(next.1)]);
                self.block(&inputs, &out, [rows.range(row), cols.range(col)], next, data, room, result);
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn block(
        &self,
        inputs: &[Layout; N],
        out: &Layout,
        ranges: [Range<usize>; 2],
        next: Option<[Range<usize>; 2]>,
        data: &mut [T],
        room: &mut [Buffer<T>; N],
        result: &mut Buffer<T>,
    ) {
        let plane = self.plane;
        let out = plane.part(out, ranges.clone());
        let (rows, cols) = (out.dims()[plane.across], out.dims()[plane.inner]);
        let mut operands: [&[T]; N] = [&[]; N];
        for (((operand, layout), from), room) in operands.iter_mut().zip(inputs).zip(self.data).zip(room) {
            let room = &mut room[..rows * cols];
            let part = plane.part(layout, ranges.clone());
            let next = next.clone().map_or(0..0, |next| plane.part(layout, next).reach());
            let along = part.strides()[plane.inner];
            match (as_f32(from), as_f32_mut(room)) {
                (Some(from), Some(room)) if plane.turns(layout) => {
                    let stride = along.unsigned_abs();
                    dispatch(Turn { from: &from[part.reach()], stride, rows, cols, room, next: &from[next] });
                }
                (Some(from), Some(room)) if along == 1 && part.strides()[plane.across] >= 0 => {
                    let stride = part.strides()[plane.across].unsigned_abs();
                    dispatch(Gather { from: &from[part.reach()], stride, cols, room, next: &from[next] });
                }
                _ => gather(from, &part, room),
            }
            *operand = room;
        }
        let computed = match self.kernel {
            Some(kernel) => {
                let result = &mut result[..rows * cols];
                kernel(operands, result);
                result
            }
            None => operands[0],
        };
        let (first, stride) = (out.offset(), out.strides()[plane.across]);
        match (as_f32(computed), as_f32_mut(data)) {
            (Some(from), Some(to)) if self.past => dispatch(Past { from, cols, to, first, stride }),
            _ => {
                for (row, computed) in computed.chunks_exact(cols).enumerate() {
                    data[first.wrapping_add_signed(row as isize * stride)..][..cols]
                        .copy_from_slice(computed);
                }
            }
        }
    }
}

/// `room[rows, cols] ← fromᵀ`, whose rows lie `stride` apart; what is at `next` is turned next.
struct Turn<'a> {
    from: &'a [f32],
    stride: usize,
    rows: usize,
    cols: usize,
    room: &'a mut [f32],
    next: &'a [f32],
}

impl Kernel for Turn<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { from, stride, rows, cols, room, next } = self;
        let most = STRIP.max(S::LANES);
        for strip in (0..cols).step_by(most) {
            let count = most.min(cols - strip);
            if !next.is_empty() {
                for row in strip..strip + count {
                    prefetch_lines(next.as_ptr().wrapping_add(row * stride), rows);
                }
            }
            transpose(simd, (count, rows), &from[strip * stride..], stride, &mut room[strip..], cols);
        }
    }
}

/// Rows of `cols` elements that lie `stride` apart, side by side; those at `next` are read next.
struct Gather<'a> {
    from: &'a [f32],
    stride: usize,
    cols: usize,
    room: &'a mut [f32],
    next: &'a [f32],
}

impl Kernel for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { from, stride, cols, room, next } = self;
        for (row, room) in room.chunks_exact_mut(cols).enumerate() {
            if !next.is_empty() {
                prefetch_lines(next.as_ptr().wrapping_add(row * stride), cols);
            }
            lanewise(simd, [&from[row * stride..][..cols]], room, Write::Overwrite, Identity);
        }
    }
}

/// Rows of `cols` elements that are written past the caches, from `first` on and `stride` apart.
struct Past<'a> {
    from: &'a [f32],
    cols: usize,
    to: &'a mut [f32],
    first: usize,
    stride: isize,
}

impl Kernel for Past<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { from, cols, to, first, stride } = self;
        for (row, from) in from.chunks_exact(cols).enumerate() {
            let place = first.wrapping_add_signed(row as isize * stride);
            stream::copy_lines(simd, from, &mut to[place..][..cols]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Plane, Turned};
    use crate::pool::Plain;
    use crate::view::Layout;

    /// Turns `[planes, cols, rows]` with gaps into rows with gaps that run up or down, past the caches or not.
    fn check<T: Plain + PartialEq + std::fmt::Debug>(of: fn(usize) -> T) {
        for (planes, rows, cols) in [(1, 8, 8), (2, 64, 128), (1, 67, 131), (3, 9, 300), (1, 200, 17)] {
            for (past, down) in [(false, false), (true, false), (true, true)] {
                let (stride, wide) = (rows + 3, cols + 5);
                let from: Vec<T> = (0..planes * cols * stride + 1).map(of).collect();
                let input = [(cols * stride) as isize, 1, stride as isize];
                let input = Layout::strided(&[planes, rows, cols], &input, 1).unwrap();
                let place = |plane: usize, row: usize| {
                    (plane * rows + if down { rows - 1 - row } else { row }) * wide
                };
                let mut to = vec![of(usize::MAX); planes * rows * wide];
                let step = if down { -(wide as isize) } else { wide as isize };
                let out = [(rows * wide) as isize, step, 1];
                let out = Layout::strided(&[planes, rows, cols], &out, place(0, 0)).unwrap();
                let plane = Plane::of(&[input], &out).expect("the input is stored the other way round");
                let kernel = |[x]: [&[T]; 1], out: &mut [T]| out.copy_from_slice(x);
                for kernel in [None, Some(&kernel)] {
                    to.fill(of(usize::MAX));
                    Turned { plane, data: [&from], kernel, past }.task([input], out, &mut to);
                    let mut gaps = to.len();
                    for index in 0..planes * rows * cols {
                        let (plane, row, col) = (index / cols / rows, index / cols % rows, index % cols);
                        let expected = from[input.place(&[plane, row, col]).unwrap()];
                        assert_eq!(to[place(plane, row) + col], expected, "{rows} by {cols}, past {past}");
                        gaps -= 1;
                    }
                    assert_eq!(
                        to.iter().filter(|&&x| x == of(usize::MAX)).count(),
                        gaps,
                        "gaps are left alone"
                    );
                }
            }
        }
    }

    #[test]
    fn planes_are_turned_whatever_the_edges_and_the_type() {
        check::<f32>(|i| if i == usize::MAX { -1.0 } else { i as f32 });
        check::<u32>(|i| i as u32);
        check::<f64>(|i| if i == usize::MAX { -1.0 } else { i as f64 });
    }
}
