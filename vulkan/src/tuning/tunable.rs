//! What has a choice of shapes, and which there are. The shapes themselves are beside their kernels.

use std::fmt::Display;

use crate::kernels::needs::{Needs, TooLarge};
use crate::kernels::{cooperative, flash_shapes, gemv, rows, tiles, ELEMENTS};
use crate::limits::Limits;

/// Names what has a choice.
macro_rules! tunables {
    ($($(#[$doc:meta])* $tunable:ident = $name:literal;)*) => {
        /// What kernels have a choice of shapes for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Tunable {
            $($(#[$doc])* $tunable,)*
        }

        impl Tunable {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$tunable,)*];

            /// Its name in files.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$tunable => $name,)*
                }
            }
        }
    };
}

tunables! {
    /// Tiles of products of f32, where there are many.
    GemmWide = "gemm_wide";
    /// Those of smaller products.
    GemmMiddle = "gemm_middle";
    /// Those of few rows, and of the smallest.
    GemmLow = "gemm_low";
    /// [`GemmWide`](Self::GemmWide) with a factor stored as f16, without cooperative matrices.
    GemmF16Wide = "gemm_f16_wide";
    /// [`GemmMiddle`](Self::GemmMiddle) likewise.
    GemmF16Middle = "gemm_f16_middle";
    /// [`GemmLow`](Self::GemmLow) likewise.
    GemmF16Low = "gemm_f16_low";
    /// Tiles of products through cooperative matrices, where there are many.
    CooperativeWide = "cooperative_wide";
    /// Those of smaller products.
    CooperativeMiddle = "cooperative_middle";
    /// Those of few rows, and of the smallest.
    CooperativeLow = "cooperative_low";
    /// Invocations of products of few rows, and how many share columns of B, `[k, n]`.
    Gemv = "gemv";
    /// The same where B is stored transposed.
    GemvTransposed = "gemv_transposed";
    /// [`Gemv`](Self::Gemv) with a factor stored as f16.
    GemvF16 = "gemv_f16";
    /// [`GemvTransposed`](Self::GemvTransposed) with a factor stored as f16.
    GemvF16Transposed = "gemv_f16_transposed";
    /// Up to how many rows are few.
    FewRows = "few_rows";
    /// Queries of an invocation in attention of many, at most.
    AttentionTile = "attention_tile";
    /// Invocations of attention of few queries, and how many read a key together, at most.
    AttentionRow = "attention_row";
    /// Invocations of a workgroup of softmax, norms and reductions.
    Rows = "rows";
    /// Those of a workgroup of what goes number by number.
    Elements = "elements";
}

/// How many there are.
pub(super) const COUNT: usize = Tunable::ALL.len();

fn texts<T: Display>(shapes: &[T]) -> Vec<String> {
    shapes.iter().map(T::to_string).collect()
}

/// Kernels of rows have three words of shared memory for an invocation.
fn of_rows(workgroup: u32) -> Needs {
    Needs { invocations: workgroup, shared_bytes: 12 * workgroup }
}

impl Tunable {
    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|tunable| tunable.name() == name)
    }

    /// The shapes there are to choose from, in the words of files; the first is what kernels take without a search.
    pub fn shapes(self) -> Vec<String> {
        match self {
            Self::GemmWide | Self::GemmF16Wide => texts(&tiles::WIDE),
            Self::GemmMiddle | Self::GemmF16Middle => texts(&tiles::MIDDLE),
            Self::GemmLow | Self::GemmF16Low => texts(&tiles::LOW),
            Self::CooperativeWide => texts(&cooperative::WIDE),
            Self::CooperativeMiddle => texts(&cooperative::MIDDLE),
            Self::CooperativeLow => texts(&cooperative::LOW),
            Self::Gemv | Self::GemvF16 => texts(&gemv::FOURS),
            Self::GemvTransposed | Self::GemvF16Transposed => texts(&gemv::TRANSPOSED),
            Self::FewRows => texts(&gemv::ROWS),
            Self::AttentionTile => texts(&flash_shapes::ROWS),
            Self::AttentionRow => texts(&flash_shapes::GROUPS),
            Self::Rows => texts(&rows::WORKGROUPS),
            Self::Elements => texts(&ELEMENTS),
        }
    }

    /// Whether a device can run the shape at `place`. The first is as large as the kernels know to be right for the device.
    pub(super) fn fit(self, place: usize, device: &Limits) -> Result<(), TooLarge> {
        if place == 0 {
            return Ok(());
        }
        match self {
            Self::GemmWide | Self::GemmF16Wide => tiles::WIDE[place].needs().fit(device),
            Self::GemmMiddle | Self::GemmF16Middle => tiles::MIDDLE[place].needs().fit(device),
            Self::GemmLow | Self::GemmF16Low => tiles::LOW[place].needs().fit(device),
            Self::CooperativeWide => cooperative::WIDE[place].fit(device),
            Self::CooperativeMiddle => cooperative::MIDDLE[place].fit(device),
            Self::CooperativeLow => cooperative::LOW[place].fit(device),
            Self::Gemv | Self::GemvF16 => gemv::FOURS[place].needs().fit(device),
            Self::GemvTransposed | Self::GemvF16Transposed => gemv::TRANSPOSED[place].needs().fit(device),
            // They need less than the first.
            Self::FewRows | Self::AttentionTile => Ok(()),
            Self::AttentionRow => flash_shapes::GROUPS[place].needs().fit(device),
            Self::Rows => of_rows(rows::WORKGROUPS[place]).fit(device),
            Self::Elements => Needs { invocations: ELEMENTS[place], shared_bytes: 0 }.fit(device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_shapes_are_told_apart() {
        for &tunable in Tunable::ALL {
            assert_eq!(Tunable::named(tunable.name()), Some(tunable));
            let mut shapes = tunable.shapes();
            let count = shapes.len();
            assert!((2..=usize::from(u8::MAX)).contains(&count), "{tunable:?}");
            shapes.sort();
            shapes.dedup();
            assert_eq!(shapes.len(), count, "{tunable:?}");
        }
        assert_eq!(Tunable::named("gemm"), None);
    }
}
