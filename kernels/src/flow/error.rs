//! What can be wrong with a flow: its grid, its parameters or its step.

use std::fmt;

use crate::error::ShapeError;

/// A flow that cannot be advanced.
#[derive(Clone, PartialEq)]
pub enum FlowError {
    /// A field does not hold the grid.
    Shape(ShapeError),
    /// A parameter is negative or not finite (the square of the spacing must also not be 0).
    Parameter {
        /// Which one, e.g. `"dt"`.
        what: &'static str,
        /// What it is.
        value: f64,
    },
    /// The step is beyond the bound of stability.
    Unstable {
        /// The bound, e.g. `"dt ≤ h²/4κ"`.
        bound: &'static str,
        /// The step.
        dt: f64,
        /// The largest step within the bound.
        largest: f64,
    },
}

impl fmt::Display for FlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(error) => error.fmt(f),
            Self::Parameter { what, value } => {
                write!(f, "{what} must be finite and positive, but is {value}")
            }
            Self::Unstable { bound, dt, largest } => {
                write!(f, "the step dt = {dt} is unstable: {bound} allows at most {largest}")
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for FlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlowError({self})")
    }
}

impl std::error::Error for FlowError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Shape(error) => Some(error),
            Self::Parameter { .. } | Self::Unstable { .. } => None,
        }
    }
}

impl From<ShapeError> for FlowError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

/// Checks that a parameter is finite and not negative.
pub(crate) fn parameter(what: &'static str, value: f64) -> Result<(), FlowError> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(FlowError::Parameter { what, value })
    }
}

/// Checks the spacing, the step, and the step against its bound.
pub(crate) fn step(bound: &'static str, h: f64, dt: f64, largest: f64) -> Result<(), FlowError> {
    parameter("h", h)?;
    parameter("dt", dt)?;
    // Spacings below 1e-162 have a square of 0, by which rates would be divided.
    if h * h == 0.0 {
        return Err(FlowError::Parameter { what: "h", value: h });
    }
    // A largest step that is NaN (0/0) is no bound that a step keeps.
    if dt <= largest {
        Ok(())
    } else {
        Err(FlowError::Unstable { bound, dt, largest })
    }
}
