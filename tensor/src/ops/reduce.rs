//! Sums, means and extremes, of all numbers and of each row. Results stay on the device.

use upbeat_kernels::reduce;

use super::{run, shapes, ONE_NUMBER};
use crate::{Tensor, TensorError};

/// A method for all numbers and one for each row.
macro_rules! reductions {
    ($($(#[$doc:meta])* $all:ident, $(#[$rows_doc:meta])* $rows:ident;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// No memory, or a lost device.
                pub fn $all(&self) -> Result<Self, TensorError> {
                    let cpu = |out: &mut [f32]| {
                        out[0] = reduce::$all(self.host()) as f32;
                        Ok(())
                    };
                    let operand = self.operand();
                    run(stringify!($all), &operand.place(), [operand], Vec::new(), cpu, |commands, out| {
                        commands.$all(self.block(), out).map(drop)
                    })
                }

                $(#[$rows_doc])*
                ///
                /// # Errors
                /// A tensor `[]`.
                pub fn $rows(&self) -> Result<Self, TensorError> {
                    let operation = stringify!($rows);
                    let (&cols, lead) =
                        self.shape().split_last().ok_or_else(|| shapes(operation, "[.., cols]", &[self.shape()], ONE_NUMBER))?;
                    let cpu = |out: &mut [f32]| reduce::rows::$all(self.host(), cols, out);
                    let operand = self.operand();
                    run(operation, &operand.place(), [operand], lead.to_vec(), cpu, |commands, out| {
                        commands.$rows(self.block(), cols, out).map(drop)
                    })
                }
            )*
        }
    };
}

reductions! {
    /// The sum of all numbers, `[]`; 0 of none.
    sum,
    /// The sum of each row: `[.., cols]` to `[..]`.
    sum_rows;
    /// The mean of all numbers, `[]`; NaN of none.
    mean,
    /// The mean of each row: `[.., cols]` to `[..]`.
    mean_rows;
    /// The largest number, `[]`; NaN where one is, `-∞` of none.
    max,
    /// The largest of each row: `[.., cols]` to `[..]`.
    max_rows;
    /// The smallest number, `[]`; NaN where one is, `∞` of none.
    min,
    /// The smallest of each row: `[.., cols]` to `[..]`.
    min_rows;
}
