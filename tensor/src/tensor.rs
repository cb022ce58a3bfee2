//! The tensor: numbers with a shape on a device; how it is made, moved, read and cut. What is computed of it is in `ops/`.

use std::fmt;
use std::future::Future;
use std::ops::Range;

use upbeat_kernels::error::checked_len;

use crate::numbers::{Numbers, Where};
use crate::ops::{run, shapes, ONE_NUMBER};
use crate::{Device, Number, TensorError};

/// Numbers with a shape, row by row, on a [`Device`]. Nothing ever changes them: operations give new tensors. So clones are cheap and share
/// memory, and threads may use one tensor as they like.
///
/// On the CPU an operation has run when its method returns. On a Vulkan device it is recorded by then and runs in the order of recording;
/// what was recorded is handed over when somebody [reads](Self::read) a result of it, or when there is enough of it. What fails on the device is
/// told to whoever reads what it was to compute.
///
/// Shapes are written as in `[.., rows, cols]`: `..` is any number of dimensions, the last one is what lies side by side.
#[derive(Clone)]
pub struct Tensor<T: Number = f32> {
    pub(crate) numbers: Numbers<T>,
    shape: Vec<usize>,
}

/// How many numbers a shape has.
pub(crate) fn len_of(operation: &'static str, shape: &[usize]) -> Result<usize, TensorError> {
    let size = |error| TensorError::Size { operation, device: Device::Cpu, error };
    checked_len("a tensor", shape).map_err(size)
}

impl<T: Number> Tensor<T> {
    /// A tensor of the caller's numbers, copied to `device`; a Vulkan device is opened if it is not yet.
    ///
    /// # Errors
    /// Another length than the shape's; a device that cannot be opened, or that has no memory.
    pub fn from_slice(numbers: &[T], shape: &[usize], device: &Device) -> Result<Self, TensorError> {
        if len_of("from_slice", shape)? != numbers.len() {
            let (operation, shape, found) = ("from_slice", shape.to_vec(), numbers.len());
            return Err(TensorError::Length { operation, shape, found });
        }
        Ok(Self::new(Numbers::from_slice(&Where::of(*device)?, numbers)?, shape.to_vec()))
    }

    /// A tensor of zeros on `device`.
    ///
    /// # Errors
    /// As [`from_slice`](Self::from_slice).
    pub fn zeros(shape: &[usize], device: &Device) -> Result<Self, TensorError> {
        let place = Where::of(*device)?;
        let cpu = |out: &mut [T]| {
            out.fill(T::default());
            Ok(())
        };
        run("zeros", &place, [], shape.to_vec(), cpu, |commands, out| {
            commands.fill(out, T::default()).map(drop)
        })
    }

    /// `numbers` are as many as the shape says.
    pub(crate) fn new(numbers: Numbers<T>, shape: Vec<usize>) -> Self {
        Self { numbers, shape }
    }

    /// The shape. That of one number is `[]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where they are.
    pub fn device(&self) -> Device {
        self.numbers.device()
    }

    /// The same numbers on `device`: this tensor if it is there, else a copy, through the host. Operations never move anything by themselves.
    ///
    /// Waits for the numbers where they come from a Vulkan device; a worker runs other tasks meanwhile. Futures await
    /// [`read`](Self::read) instead.
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`from_slice`](Self::from_slice).
    pub fn to(&self, device: &Device) -> Result<Self, TensorError> {
        if self.device() == *device {
            return Ok(self.clone());
        }
        let place = Where::of(*device)?;
        let numbers = match &self.numbers {
            Numbers::Host { .. } => Numbers::from_slice(&place, self.numbers.host())?,
            Numbers::Device(_) => Numbers::from_slice(&place, &self.to_vec()?)?,
        };
        Ok(Self::new(numbers, self.shape.clone()))
    }

    /// The numbers, later. What computes them is handed over before this returns, so that the device works while the caller does something
    /// else; no thread is blocked while the future waits, on any executor.
    ///
    /// # Errors
    /// What recording, handing over or running the work failed with.
    pub fn read(&self) -> impl Future<Output = Result<Vec<T>, TensorError>> + Send + 'static {
        self.numbers.read()
    }

    /// The numbers. Waits for them: a worker of the runtime runs other tasks meanwhile.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn to_vec(&self) -> Result<Vec<T>, TensorError> {
        match &self.numbers {
            Numbers::Host { .. } => Ok(self.numbers.host().to_vec()),
            Numbers::Device(_) => upbeat::block_on(self.read()),
        }
    }

    /// The number of a tensor that has one, whatever its shape. Waits as [`to_vec`](Self::to_vec) does.
    ///
    /// # Errors
    /// More numbers or none; as [`read`](Self::read).
    pub fn item(&self) -> Result<T, TensorError> {
        match self.to_vec_of_one()?[..] {
            [number] => Ok(number),
            _ => unreachable!("the length was checked"),
        }
    }

    fn to_vec_of_one(&self) -> Result<Vec<T>, TensorError> {
        if self.len() != 1 {
            return Err(shapes(
                "item",
                "one number",
                &[&self.shape],
                "reduce it first, or cut one out by rows",
            ));
        }
        self.to_vec()
    }

    /// The same numbers in another shape, without a copy.
    ///
    /// # Errors
    /// A shape of another length.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self, TensorError> {
        if len_of("reshape", shape)? != self.len() {
            let (operation, shape, found) = ("reshape", shape.to_vec(), self.len());
            return Err(TensorError::Length { operation, shape, found });
        }
        Ok(Self::new(self.numbers.clone(), shape.to_vec()))
    }

    /// The entries `range` of the first dimension, without a copy: `[rows, ..]` becomes `[range.len(), ..]`.
    ///
    /// # Errors
    /// A range that is not within the first dimension.
    pub fn rows(&self, range: Range<usize>) -> Result<Self, TensorError> {
        let single = || shapes("rows", "[rows, ..]", &[&self.shape], ONE_NUMBER);
        let (&rows, rest) = self.shape.split_first().ok_or_else(single)?;
        if range.start > range.end || range.end > rows {
            return Err(TensorError::Range { operation: "rows", range, shape: self.shape.clone() });
        }
        let row: usize = rest.iter().product();
        let shape = std::iter::once(range.len()).chain(rest.iter().copied()).collect();
        Ok(Self::new(self.numbers.part(range.start * row..range.end * row), shape))
    }

    /// The tensors one behind the other along the first dimension: `[a, ..]` and `[b, ..]` become `[a + b, ..]`.
    ///
    /// # Errors
    /// No tensors, other dimensions that differ, or tensors on two devices.
    pub fn concat(tensors: &[&Self]) -> Result<Self, TensorError> {
        let all: Vec<&[usize]> = tensors.iter().map(|tensor| tensor.shape()).collect();
        let advice = match all.is_empty() {
            true => "give it one at least, of no rows where there are none",
            false => "all but the first dimension must be the same; reshape a row [..] to [1, ..]",
        };
        let wrong = || shapes("concat", "tensors [rows, ..] that differ in rows alone", &all, advice);
        let (_, rest) = all.first().and_then(|shape| shape.split_first()).ok_or_else(wrong)?;
        if all.iter().any(|shape| shape.split_first().is_none_or(|(_, other)| other != rest)) {
            return Err(wrong());
        }
        let rows = all.iter().try_fold(0_usize, |sum, shape| sum.checked_add(shape[0])).ok_or_else(wrong)?;
        let shape = std::iter::once(rows).chain(rest.iter().copied()).collect();
        let cpu = |out: &mut [T]| {
            let mut left = out;
            for tensor in tensors {
                let (to, rest) = left.split_at_mut(tensor.len());
                to.copy_from_slice(tensor.numbers.host());
                left = rest;
            }
            Ok(())
        };
        let operands: Vec<_> = tensors.iter().map(|tensor| tensor.operand()).collect();
        let place = operands[0].place();
        run("concat", &place, operands, shape, cpu, |commands, out| {
            let mut from = 0;
            for tensor in tensors {
                let to = from + tensor.len();
                commands.copy(tensor.numbers.block(), &out.slice(from..to))?;
                from = to;
            }
            Ok(())
        })
    }
}

/// The shape and the device: numbers may not be there yet.
impl<T: Number> fmt::Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor {:?} on {}", self.shape, self.device())
    }
}
