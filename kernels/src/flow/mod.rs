//! Flows on periodic grids `[rows, cols]`: heat, the Gray–Scott reaction and conformal Ricci flow, by explicit Euler steps.
//!
//! The Laplacian is that of five points, `Δu = (u↑ + u↓ + u← + u→ − 4u)/h²`, and the grid closes in both directions.
//! Grids are advanced in place, as many steps as asked for in one call: several steps are done on a tile while it is in
//! the cache (temporal blocking), which gives bit for bit what single steps give, whatever the shape, the number of steps in
//! a call and the number of workers. Levels with fused multiply-add round differently from the portable one.
//!
//! NaN and infinities spread to neighbours as the formulas say. Nothing is written when an error is returned.
//! The slow twins are in [`crate::twin::flow`].

mod error;
mod gray_scott;
mod heat;
mod reduce;
mod ricci;
mod stencil;
mod temporal;

pub use error::FlowError;
pub(crate) use error::{parameter, step};
pub use gray_scott::{gray_scott, pearson_start, GrayScott};
pub use heat::{heat, Heat};
pub use reduce::{mass, range};
pub use ricci::{ricci, Ricci};

use crate::error::{check, checked_len};

/// Checks that fields hold `shape` and gives their length.
pub(crate) fn grid(shape: [usize; 2], fields: &[(&'static str, usize)]) -> Result<usize, FlowError> {
    let len = checked_len("the grid", &shape)?;
    fields.iter().try_for_each(|&(what, found)| check(what, len, found))?;
    Ok(len)
}
