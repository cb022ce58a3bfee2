//! One tensor for both devices: the CPU's kernels and a GPU's behind the same methods.
//!
//! For an application that wants a GPU where there is one, of any vendor, without linking anything, and that goes on on the CPU where there is
//! none. It asks for a device, moves its weights there, and writes its model once:
//!
//! ```
//! use upbeat_tensor::{Activation, Device, Tensor};
//!
//! # fn main() -> Result<(), upbeat_tensor::TensorError> {
//! let best = Device::best(); // stays open while `best` lives
//! let device = best.device();
//! println!("running on {best}");
//!
//! let x = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3], &device)?;
//! let weight = Tensor::from_slice(&[0.5; 12], &[4, 3], &device)?;
//! let bias = Tensor::from_slice(&[1.0, 0.0, -1.0, -9.0], &[4], &device)?;
//! let hidden = x.linear(&weight, Some(&bias), Activation::Relu, None)?;
//! let answer = hidden.softmax()?.max_rows()?;
//! assert_eq!(hidden.to_vec()?, [4.0, 3.0, 2.0, 0.0, 8.5, 7.5, 6.5, 0.0]);
//! assert_eq!(answer.shape(), [2]);
//! # Ok(())
//! # }
//! ```
//!
//! # Devices
//! A [`Device`] is a value: [`Device::Cpu`], or [`Device::Vulkan`] with a place in the list that `upbeat info` shows. Each Vulkan device is
//! opened once and shared by all tensors on it. Nothing moves by itself: [`Tensor::from_slice`], [`Tensor::to`], [`Tensor::read`] and
//! [`Tensor::to_vec`] are the only transfers of numbers, and operands on two devices are an error that names both.
//!
//! ```
//! use upbeat_tensor::{Device, Tensor};
//!
//! let word = "vulkan:0"; // a user's
//! let device: Device = word.parse()?;
//! let x = match Tensor::from_slice(&[1.0, 2.0], &[2], &device) {
//!     Ok(x) => x,
//!     Err(error) => {
//!         eprintln!("{error}"); // says what to do
//!         Tensor::from_slice(&[1.0, 2.0], &[2], &Device::Cpu)?
//!     }
//! };
//! assert_eq!(x.scale(2.0)?.to_vec()?, [2.0, 4.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When things happen
//! On the CPU an operation runs at once, as tasks of the current runtime. On a Vulkan device it is recorded, and a chain of operations is
//! handed over together: when a result is read, when 64 pieces of work or 64 MiB of results have gathered, or by [`Opened::flush`]. All of it
//! runs in the order of recording, whichever thread recorded it (when 16 submissions are under way, who records waits for the oldest); threads that share a tensor need no order of their own, as nothing changes
//! a tensor. Barriers follow from what is read and written.
//!
//! Dropping a tensor is always safe. Its memory goes to the next one of its size on that device (64 MiB are kept for that at most), and what
//! was only recorded is not even run when the last tensor of a device is gone.
//!
//! [`Tensor::read`] is a future, for any executor; [`Tensor::to_vec`] waits, while a worker of the runtime runs other tasks.
//!
//! # Numbers
//! Tensors are f32. A [`Tensor<f16>`](Tensor::to_f16) stores weights in half the memory: it can be the right factor of a product, the weight of
//! a linear layer, and a table. Arithmetic is f32 in any case. The CPU's results and a GPU's agree within the rounding of sums, not bit for
//! bit (`tests/` states the bounds); each alone is reproducible.
//!
//! # Errors
//! All are [`TensorError`]: a sentence that names the operation, what it was given and what to do, for `unwrap` and for a `main` that returns it
//! too. Shapes and devices are checked before anything is computed or recorded. Work that fails on a device is told to
//! whoever reads what it was to compute, or uses it; a lost device is opened anew by the next tensor that is made there.

mod device;
mod error;
mod indices;
mod number;
mod numbers;
mod opened;
mod ops;
mod spare;
mod stream;
mod tensor;

pub use device::{Available, Best, Device, ParseDeviceError};
pub use error::TensorError;
pub use indices::Indices;
pub use number::Number;
pub use opened::Opened;
pub use ops::{Adaptive, Mask, Rope};
pub use tensor::Tensor;
pub use upbeat_kernels::attention::Resolution;
pub use upbeat_kernels::elementwise::Op;
pub use upbeat_kernels::{f16, Activation};
