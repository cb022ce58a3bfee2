//! Shapes of workgroups: what the kernels take by themselves, or what a search on the device found and saved.
//!
//! A shape is how many invocations a workgroup has, which part of the work it takes at once, and how its invocations share it. Which one
//! is fastest depends on the device and its driver, so there are a few to choose from for each [`Tunable`]. [`search()`] measures them on a
//! device, [`Tuning::save`] keeps what it found in a text file that people can read, and every later process takes it from there
//! ([`Options::from_env`](crate::Options::from_env)); `upbeat tune --device vulkan` does both.
//!
//! # Results
//! Every shape computes within the bounds that the kernels' methods state, and with one tuning results have the same bits from run to run.
//! From one tuning to another the last bits may differ, where sums go in another order:
//!
//! | shapes of | results |
//! |---|---|
//! | `gemm_*`: products of many rows | sums go over k in order whatever the tiles are: the same bits, where the driver fuses products and sums alike |
//! | `cooperative_*` | devices sum in orders of their own within a matrix; the matrices' order is the same |
//! | `gemv*`, `few_rows`: products of few rows | may differ |
//! | `attention_tile` | a query meets the keys in the same blocks: the same bits |
//! | `attention_row` | may differ |
//! | `rows`: softmax, norms, sums and means of more than 128 columns | may differ |
//! | `elements`: what goes number by number | nothing is summed |
//!
//! [Adaptive attention](crate::Commands::attention_adaptive) and flows take the same shapes whatever is tuned.
//!
//! ```no_run
//! use upbeat_vulkan::tuning::{Tunable, Tuning};
//! use upbeat_vulkan::{Device, Options};
//!
//! let device = Device::open(&Options::from_env())?;
//! // A handle of the same device whose kernels have workgroups of 256 for what goes number by number.
//! let tuning = device.tuning().with(Tunable::Elements, "256")?;
//! let tuned = device.with_tuning(tuning)?;
//! let x = device.upload(&[1.0_f32, 2.0])?;
//! let mut commands = tuned.commands();
//! commands.scale(&x, 2.0, &x)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cases;
mod error;
mod file;
mod search;
#[cfg(test)]
mod tests;
mod tunable;

use std::fmt;
use std::path::PathBuf;

pub use error::TuningError;
pub use search::{search, Decision, Effort, Found, Outcome, Step, Trial};
pub use tunable::Tunable;

use crate::device::Device;
use crate::instance::DeviceInfo;
use crate::kernels::tiles::{self, Size, Tile};
use crate::kernels::{cooperative, flash_shapes, gemv, rows, ELEMENTS};
use crate::limits::Limits;
use tunable::COUNT;

/// A shape for each [`Tunable`]; without a search those that kernels take by themselves.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Places among the shapes.
    places: [u8; COUNT],
}

/// Where a device's shapes come from.
#[derive(Debug)]
pub enum Source {
    /// Those that kernels take by themselves: nothing else was asked for, or nothing was saved.
    Default,
    /// Those that a program gave.
    Given,
    /// From this file.
    Saved(PathBuf),
    /// Those that kernels take by themselves, as the usual file cannot be used.
    Ignored(PathBuf, TuningError),
}

/// What options ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Given(Tuning),
    Usual,
    File(PathBuf),
}

impl Default for Wanted {
    fn default() -> Self {
        Self::Given(Tuning::default())
    }
}

impl Wanted {
    /// The shapes for a device.
    ///
    /// # Errors
    /// A file that was named cannot be used; shapes that the device cannot run.
    pub(crate) fn read(&self, info: &DeviceInfo, limits: &Limits) -> Result<(Tuning, Source), TuningError> {
        let default = Tuning::default();
        match self {
            Self::Given(tuning) => {
                tuning.check(limits)?;
                let source = if *tuning == default { Source::Default } else { Source::Given };
                Ok((*tuning, source))
            }
            Self::File(path) => Ok((file::load(path, info, limits)?, Source::Saved(path.clone()))),
            Self::Usual => Ok(match file::usual_path(info) {
                Some(path) if path.exists() => match file::load(&path, info, limits) {
                    Ok(tuning) => (tuning, Source::Saved(path)),
                    Err(error) => (default, Source::Ignored(path, error)),
                },
                _ => (default, Source::Default),
            }),
        }
    }
}

impl Tuning {
    /// With another shape, one of [`Tunable::shapes`].
    ///
    /// # Errors
    /// [`TuningError::Unknown`].
    pub fn with(mut self, tunable: Tunable, shape: &str) -> Result<Self, TuningError> {
        let place = tunable.shapes().iter().position(|known| known == shape);
        let unknown = || TuningError::Unknown { name: tunable.name(), shape: shape.to_owned() };
        self.places[tunable as usize] = place.ok_or_else(unknown)? as u8;
        Ok(self)
    }

    /// The shape for `tunable`, in the words of files.
    pub fn shape(&self, tunable: Tunable) -> String {
        tunable.shapes().swap_remove(self.place(tunable))
    }

    /// How many shapes are not those that kernels take by themselves.
    pub fn changed(&self) -> usize {
        self.places.iter().filter(|&&place| place != 0).count()
    }

    /// Whether a device can run all shapes.
    ///
    /// # Errors
    /// [`TuningError::TooLarge`] for the first that it cannot.
    pub fn check(&self, device: &Limits) -> Result<(), TuningError> {
        Tunable::ALL.iter().try_for_each(|&tunable| {
            tunable.fit(self.place(tunable), device).map_err(|too_large| TuningError::TooLarge {
                name: tunable.name(),
                shape: self.shape(tunable),
                what: too_large.what,
                needed: too_large.needed,
                most: too_large.most,
            })
        })
    }

    fn place(&self, tunable: Tunable) -> usize {
        self.places[tunable as usize].into()
    }

    fn of<T: Copy>(&self, tunable: Tunable, shapes: &[T]) -> T {
        shapes[self.place(tunable)]
    }

    /// The tile of a product of that size; `half`: a factor is stored as f16.
    pub(crate) fn tile(&self, size: Size, half: bool) -> Tile {
        match (size, half) {
            (Size::Wide, false) => self.of(Tunable::GemmWide, &tiles::WIDE),
            (Size::Middle, false) => self.of(Tunable::GemmMiddle, &tiles::MIDDLE),
            (Size::Low, false) => self.of(Tunable::GemmLow, &tiles::LOW),
            (Size::Wide, true) => self.of(Tunable::GemmF16Wide, &tiles::WIDE),
            (Size::Middle, true) => self.of(Tunable::GemmF16Middle, &tiles::MIDDLE),
            (Size::Low, true) => self.of(Tunable::GemmF16Low, &tiles::LOW),
        }
    }

    pub(crate) fn cooperative_tile(&self, size: Size) -> cooperative::Tile {
        match size {
            Size::Wide => self.of(Tunable::CooperativeWide, &cooperative::WIDE),
            Size::Middle => self.of(Tunable::CooperativeMiddle, &cooperative::MIDDLE),
            Size::Low => self.of(Tunable::CooperativeLow, &cooperative::LOW),
        }
    }

    pub(crate) fn lanes(&self, transposed: bool, half: bool) -> gemv::Lanes {
        match (transposed, half) {
            (false, false) => self.of(Tunable::Gemv, &gemv::FOURS),
            (true, false) => self.of(Tunable::GemvTransposed, &gemv::TRANSPOSED),
            (false, true) => self.of(Tunable::GemvF16, &gemv::FOURS),
            (true, true) => self.of(Tunable::GemvF16Transposed, &gemv::TRANSPOSED),
        }
    }

    pub(crate) fn few_rows(&self) -> usize {
        self.of(Tunable::FewRows, &gemv::ROWS)
    }

    pub(crate) fn attention_rows(&self) -> u32 {
        self.of(Tunable::AttentionTile, &flash_shapes::ROWS)
    }

    pub(crate) fn attention_groups(&self) -> flash_shapes::Groups {
        self.of(Tunable::AttentionRow, &flash_shapes::GROUPS)
    }

    pub(crate) fn rows(&self) -> u32 {
        self.of(Tunable::Rows, &rows::WORKGROUPS)
    }

    pub(crate) fn elements(&self) -> u32 {
        self.of(Tunable::Elements, &ELEMENTS)
    }
}

/// What was changed.
impl fmt::Debug for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed = Tunable::ALL.iter().filter(|&&tunable| self.place(tunable) != 0);
        f.debug_map().entries(changed.map(|&tunable| (tunable.name(), self.shape(tunable)))).finish()
    }
}

impl Device {
    /// The shapes that its kernels take.
    pub fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// Where the shapes came from when the device was opened.
    pub fn tuning_source(&self) -> &Source {
        &self.inner.tuned
    }

    /// A handle of the same device whose commands take other shapes; buffers of either serve both.
    ///
    /// # Errors
    /// [`TuningError::TooLarge`] where the device cannot run one of them.
    pub fn with_tuning(&self, tuning: Tuning) -> Result<Self, TuningError> {
        tuning.check(self.limits())?;
        Ok(Self { inner: self.inner.clone(), tuning })
    }
}
