//! How products of few rows share out the columns of B; the shader is `gemm_rows.glsl`.

use std::fmt;

use super::needs::Needs;

/// Invocations of a workgroup, and how many of them share a column, or four: powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lanes {
    invocations: u32,
    lanes: u32,
}

const fn lanes(invocations: u32, lanes: u32) -> Lanes {
    Lanes { invocations, lanes }
}

/// Where four columns are shared, as B is stored `[k, n]`.
pub(crate) const FOURS: [Lanes; 7] = [
    lanes(128, 16),
    lanes(128, 8),
    lanes(128, 32),
    lanes(64, 16),
    lanes(64, 8),
    lanes(256, 16),
    lanes(256, 32),
];
/// Where one is, as B is stored `[n, k]`.
pub(crate) const TRANSPOSED: [Lanes; 7] = [
    lanes(128, 32),
    lanes(128, 16),
    lanes(128, 64),
    lanes(128, 128),
    lanes(64, 32),
    lanes(256, 32),
    lanes(256, 64),
];
/// Rows up to which B is streamed past them, each number of it read once and used for all.
pub(crate) const ROWS: [usize; 3] = [8, 4, 2];

impl Lanes {
    /// With as many rows as there may be.
    pub(crate) fn needs(&self) -> Needs {
        let Self { invocations, .. } = *self;
        Needs { invocations, shared_bytes: 16 * invocations * ROWS[0] as u32 }
    }

    /// Columns of a workgroup.
    pub(super) fn columns(&self, transposed: bool) -> usize {
        (self.invocations / self.lanes * if transposed { 1 } else { 4 }) as usize
    }

    /// The shader's constants, for `rows` rows.
    pub(super) fn constants(&self, flags: u32, rows: usize) -> Vec<u32> {
        vec![self.invocations, flags, rows.next_power_of_two() as u32, self.lanes]
    }
}

impl fmt::Display for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.invocations, self.lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn lanes_are_what_the_shader_takes_them_for() {
        for shape in [FOURS, TRANSPOSED].as_flattened() {
            let Lanes { invocations, lanes } = *shape;
            assert!(
                invocations.is_power_of_two() && lanes.is_power_of_two() && lanes <= invocations,
                "{shape}"
            );
        }
        assert!([FOURS[0], TRANSPOSED[0]].iter().all(|shape| shape.needs().fit(&Limits::least()).is_ok()));
        assert_eq!(ROWS.iter().max(), Some(&ROWS[0]), "there is room for no more");
    }
}
