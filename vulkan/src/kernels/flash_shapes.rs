//! Shapes of attention to choose from; the shaders are `flash_tile.glsl` and `flash_row.glsl`.

use std::fmt;

use super::flash::WIDEST;
use super::needs::Needs;

/// Queries of an invocation at most, where they come in tiles of 8 times as many.
pub(crate) const ROWS: [u32; 3] = [4, 2, 1];

/// Where queries come one by one: invocations of a workgroup, and how many of them read a key together, at most; powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    invocations: u32,
    lanes: u32,
}

const fn groups(invocations: u32, lanes: u32) -> Groups {
    Groups { invocations, lanes }
}

pub(crate) const GROUPS: [Groups; 7] = [
    groups(128, 16),
    groups(128, 8),
    groups(128, 32),
    groups(64, 16),
    groups(64, 8),
    groups(256, 16),
    groups(256, 32),
];

impl Groups {
    pub(super) fn invocations(&self) -> u32 {
        self.invocations
    }

    /// Invocations that share a key of `dim` numbers: each has a four of them at least.
    pub(super) fn lanes(&self, dim: usize) -> u32 {
        (dim.div_ceil(4) as u32).next_power_of_two().min(self.lanes)
    }

    /// With heads of any width: narrow ones have the most groups, wide ones the most sums.
    pub(crate) fn needs(&self) -> Needs {
        // As declared in the shader.
        let bytes = |dim: usize| {
            let (lanes, fours) = (self.lanes(dim), dim.div_ceil(4) as u32);
            let groups = self.invocations / lanes;
            4 * groups * 8 * (lanes + 1) + 4 * groups * 8 + 4 * 2 * groups + 16 * groups * fours
        };
        Needs { invocations: self.invocations, shared_bytes: (1..=WIDEST).map(bytes).max().unwrap_or(0) }
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.invocations, self.lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn groups_are_what_the_shader_takes_them_for() {
        for shape in GROUPS {
            let Groups { invocations, lanes } = shape;
            assert!(
                invocations.is_power_of_two() && lanes.is_power_of_two() && lanes <= invocations,
                "{shape}"
            );
        }
        assert!(GROUPS[0].needs().fit(&Limits::least()).is_ok(), "every device has that");
        assert_eq!(ROWS.iter().max(), Some(&ROWS[0]), "no more than fit by themselves");
    }
}
