//! Tiles of products of `f16` that go through cooperative matrices; the shader is `gemm_cooperative.comp`, which device has them says
//! `cooperative.rs` of the crate.

use super::needs::{Needs, TooLarge};
use super::tiles::{tile, Size, TileOf};
use crate::cooperative::CooperativeMatrices;
use crate::limits::Limits;

/// It multiplies whole matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subgroup {}

pub(crate) type Tile = TileOf<Subgroup>;

/// Sums that an invocation keeps at most: half of the registers that GPUs have for one.
const SUMS: u32 = 128;

/// The most products from each load.
pub(crate) const WIDE: [Tile; 7] = [
    tile(128, 128, 32, [64, 64]),
    tile(128, 128, 32, [64, 32]),
    tile(128, 128, 32, [32, 64]),
    tile(128, 128, 32, [32, 32]),
    tile(128, 64, 32, [64, 32]),
    tile(64, 128, 32, [32, 64]),
    tile(64, 64, 64, [32, 32]),
];
/// The first fits every device that there is.
pub(crate) const MIDDLE: [Tile; 6] = [
    tile(64, 64, 32, [32, 32]),
    tile(64, 64, 64, [32, 32]),
    tile(64, 64, 32, [64, 32]),
    tile(64, 128, 32, [32, 64]),
    tile(128, 64, 32, [64, 32]),
    tile(32, 64, 64, [32, 32]),
];
/// For few rows, and for small products: more workgroups share them.
pub(crate) const LOW: [Tile; 5] = [
    tile(32, 64, 32, [32, 32]),
    tile(32, 64, 64, [32, 32]),
    tile(32, 128, 32, [32, 32]),
    tile(32, 32, 64, [32, 32]),
    tile(64, 64, 32, [32, 32]),
];

/// Of `[m, n]`, by how many tiles are `enough` to keep the device busy. `None` where the device has no cooperative matrices, or room for no
/// tile.
pub(crate) fn size_of(m: usize, n: usize, enough: usize, device: &Limits) -> Option<Size> {
    let fits = |tile: &Tile| device.cooperative.is_some() && tile.fit(device).is_ok();
    Size::among([&WIDE[0], &MIDDLE[0], &LOW[0]], [m, n], enough, fits)
}

impl Tile {
    /// Whether the device can run it. One without cooperative matrices never does.
    ///
    /// # Errors
    /// What the device has too little of.
    pub(crate) fn fit(&self, device: &Limits) -> Result<(), TooLarge> {
        let Some(matrices) = device.cooperative else { return Ok(()) };
        let sums = self.reach[0] * self.reach[1] / device.subgroup;
        if sums > SUMS {
            return Err(TooLarge { what: "sums of an invocation", needed: sums, most: SUMS });
        }
        let needs =
            Needs { invocations: self.invocations(device), shared_bytes: self.shared_bytes(matrices) };
        needs.fit(device)
    }

    fn invocations(&self, device: &Limits) -> u32 {
        self.sharers() * device.subgroup
    }

    /// Two pairs of tiles of f16, or a strip of sums of each subgroup, each row with 16 bytes more; turned tiles have fewer rows.
    fn shared_bytes(&self, matrices: CooperativeMatrices) -> u32 {
        let tiles = 2 * 2 * (self.m + self.n) * (self.k + 8);
        let strips = 4 * self.sharers() * matrices.m * (self.reach[1] + 4);
        tiles.max(strips)
    }

    /// The shader's constants.
    pub(super) fn constants(&self, flags: u32, matrices: CooperativeMatrices, device: &Limits) -> Vec<u32> {
        let Self { m, n, k, reach: [reach_m, reach_n], .. } = *self;
        let of_tile = [self.invocations(device), flags, m, n, k, reach_m, reach_n];
        [&of_tile[..], &[matrices.m, matrices.n, matrices.k]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cooperative::SUBGROUP_SIDE;

    fn device(subgroup: u32, shared_bytes: u32, [m, n, k]: [u32; 3]) -> Limits {
        let cooperative = Some(CooperativeMatrices { m, n, k });
        Limits { workgroup: 1024, shared_bytes, subgroup, cooperative, ..Limits::least() }
    }

    #[test]
    fn tiles_are_of_whole_subgroups_and_whole_matrices() {
        for tile in WIDE.iter().chain(&MIDDLE).chain(&LOW) {
            for side in [tile.m, tile.n, tile.k, tile.reach[0], tile.reach[1]] {
                assert_eq!(side % SUBGROUP_SIDE, 0, "every shape that is taken divides that");
            }
            assert_eq!([tile.m % tile.reach[0], tile.n % tile.reach[1]], [0, 0]);
        }
    }

    #[test]
    fn a_device_gets_the_largest_tiles_that_it_has_room_and_work_for() {
        let nvidia = device(32, 49_152, [16, 16, 16]);
        assert_eq!(size_of(4096, 4096, 128, &nvidia), Some(Size::Wide));
        assert_eq!(size_of(1024, 1024, 128, &nvidia), Some(Size::Middle), "64 wide tiles are too few");
        assert_eq!(size_of(32, 40_000, 128, &nvidia), Some(Size::Low));
        assert_eq!(size_of(9, 1, 1, &nvidia), Some(Size::Low));
        let little_memory = device(32, 32_768, [16, 16, 16]);
        assert_eq!(size_of(4096, 4096, 128, &little_memory), Some(Size::Middle));
        let narrow = device(8, 65_536, [8, 8, 8]);
        assert_eq!(size_of(4096, 4096, 1, &narrow), Some(Size::Middle), "512 sums each are too many");
        assert_eq!(size_of(4096, 4096, 128, &device(32, 10_000, [16, 16, 16])), None);
        assert_eq!(size_of(4096, 4096, 128, &Limits { cooperative: None, ..nvidia.clone() }), None);
        // Two workgroups of the widest fit beside each other in what most GPUs have, and one in what every one has.
        assert_eq!(WIDE[0].shared_bytes(nvidia.cooperative.unwrap()), 40_960);
    }
}
