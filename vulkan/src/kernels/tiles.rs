//! Tiles of products whose sums invocations keep one by one; the shader is `gemm_tiles.glsl`. Which tiles a product takes, and which there
//! are to choose from for each size of products.

use std::fmt;
use std::marker::PhantomData;

use super::needs::Needs;
use crate::choice::Kind;
use crate::device::Device;

/// How much there is of a product, by the tiles that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Many of the widest tiles.
    Wide,
    /// Many smaller ones.
    Middle,
    /// Few rows, or a small product.
    Low,
}

/// What a workgroup computes at once, and what one `Sharer` of it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileOf<Sharer> {
    pub(super) m: u32,
    pub(super) n: u32,
    pub(super) k: u32,
    /// Rows and columns of one sharer.
    pub(super) reach: [u32; 2],
    sharer: PhantomData<Sharer>,
}

pub(super) const fn tile<Sharer>(m: u32, n: u32, k: u32, reach: [u32; 2]) -> TileOf<Sharer> {
    TileOf { m, n, k, reach, sharer: PhantomData }
}

impl<Sharer> TileOf<Sharer> {
    pub(super) fn sharers(&self) -> u32 {
        (self.m / self.reach[0]) * (self.n / self.reach[1])
    }

    /// How many cover `[m, n]`.
    pub(super) fn count(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.m as usize).saturating_mul(n.div_ceil(self.n as usize))
    }
}

/// Rows, columns and depth, and what a sharer has of them.
impl<Sharer> fmt::Display for TileOf<Sharer> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { m, n, k, reach: [down, across], .. } = self;
        write!(f, "{m}x{n}x{k} by {down}x{across}")
    }
}

/// It takes rows and columns by fours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invocation {}

pub(crate) type Tile = TileOf<Invocation>;

/// The most numbers from each load.
pub(crate) const WIDE: [Tile; 6] = [
    tile(128, 128, 16, [8, 8]),
    tile(128, 128, 32, [8, 8]),
    tile(128, 128, 16, [16, 8]),
    tile(128, 64, 16, [8, 8]),
    tile(64, 128, 16, [8, 8]),
    tile(64, 64, 16, [8, 4]),
];
/// The first fits every device.
pub(crate) const MIDDLE: [Tile; 6] = [
    tile(64, 64, 16, [8, 4]),
    tile(64, 64, 32, [8, 4]),
    tile(64, 64, 16, [4, 4]),
    tile(64, 64, 16, [8, 8]),
    tile(64, 128, 16, [8, 8]),
    tile(32, 64, 32, [4, 4]),
];
/// More workgroups share what little there is; the first fits every device.
pub(crate) const LOW: [Tile; 6] = [
    tile(32, 64, 32, [4, 4]),
    tile(32, 64, 16, [4, 4]),
    tile(32, 32, 32, [4, 4]),
    tile(16, 64, 32, [4, 4]),
    tile(32, 128, 32, [4, 8]),
    tile(64, 64, 16, [8, 4]),
];

impl Size {
    /// Of `[m, n]`. Large tiles are worth it where they still keep the device busy: a GPU wants many, a CPU that stands in for one has a
    /// few cores (on Mesa's driver wide tiles were 1.5 times as fast as the others).
    pub(crate) fn of(m: usize, n: usize, device: &Device) -> Self {
        let fits = |tile: &Tile| tile.needs().fit(device.limits()).is_ok();
        let size = Self::among([&WIDE[0], &MIDDLE[0], &LOW[0]], [m, n], enough(device), fits);
        size.unwrap_or(Self::Low)
    }

    /// Of `[m, n]`, by the tiles of each size of which `enough` keep a device busy. `None` where none `fits` that would be taken.
    pub(super) fn among<Sharer>(
        [wide, middle, low]: [&TileOf<Sharer>; 3],
        [m, n]: [usize; 2],
        enough: usize,
        fits: impl Fn(&TileOf<Sharer>) -> bool,
    ) -> Option<Self> {
        if fits(wide) && m > middle.m as usize && wide.count(m, n) >= enough {
            Some(Self::Wide)
        } else if fits(middle) && m > low.m as usize && middle.count(m, n) >= enough / 2 {
            Some(Self::Middle)
        } else {
            fits(low).then_some(Self::Low)
        }
    }
}

/// How many workgroups keep a device busy.
pub(crate) fn enough(device: &Device) -> usize {
    if device.info().kind == Kind::Cpu {
        1
    } else {
        128
    }
}

impl Tile {
    pub(crate) fn needs(&self) -> Needs {
        let shared_bytes = 4 * self.k * (self.m + 4 + self.n + 4);
        Needs { invocations: self.sharers(), shared_bytes }
    }

    /// The shader's constants.
    pub(super) fn constants(&self, flags: u32) -> Vec<u32> {
        let Self { m, n, k, reach: [reach_m, reach_n], .. } = *self;
        vec![self.sharers(), flags, m, n, k, reach_m, reach_n]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn tiles_are_what_the_shader_takes_them_for() {
        for tile in [WIDE, MIDDLE, LOW].as_flattened() {
            let [down, across] = [tile.m / tile.reach[0], tile.n / tile.reach[1]];
            assert!(
                tile.reach.iter().all(|reach| reach % 4 == 0),
                "invocations take rows and columns by fours"
            );
            assert_eq!([tile.m % tile.reach[0], tile.n % tile.reach[1]], [0; 2], "{tile}");
            assert_eq!([tile.m, tile.n, tile.k].map(|side| side % 4), [0; 3], "loads are of fours");
            assert_eq!(tile.needs().invocations, down * across);
            assert!(
                down * tile.n <= tile.k * (tile.m + 4),
                "a row of sums of each goes through the tile of A: {tile}"
            );
        }
        for tile in [MIDDLE[0], LOW[0]] {
            assert!(tile.needs().fit(&Limits::least()).is_ok(), "every device has that");
        }
    }
}
