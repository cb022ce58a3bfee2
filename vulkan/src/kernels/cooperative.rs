//! Tiles of products of `f16` that go through cooperative matrices; the shader is `gemm_cooperative.comp`, which device has them says
//! `cooperative.rs` of the crate.

use crate::cooperative::{CooperativeMatrices, SUBGROUP_SIDE};
use crate::device::Limits;

/// What a workgroup computes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    m: u32,
    n: u32,
    k: u32,
    /// Rows and columns of one subgroup.
    reach: [u32; 2],
}

/// Sums that an invocation keeps at most: half of the registers that GPUs have for one.
const SUMS: u32 = 128;

impl Tile {
    /// The most products from each load.
    const WIDE: Self = Self { m: 128, n: 128, k: SUBGROUP_SIDE, reach: [64, 64] };
    /// Fits every device that there is.
    const MIDDLE: Self = Self { m: 64, n: 64, k: SUBGROUP_SIDE, reach: [SUBGROUP_SIDE; 2] };
    /// For few rows, and for small products: more workgroups share them.
    const LOW: Self = Self { m: 32, n: 64, k: SUBGROUP_SIDE, reach: [SUBGROUP_SIDE; 2] };

    /// For `[m, n]`, by how many tiles are `enough` to keep the device busy. `None` where the device has room for none.
    pub(super) fn of(m: usize, n: usize, enough: usize, device: &Limits) -> Option<Self> {
        let wide_enough = |tile: &Self| match *tile {
            Self::WIDE => m > Self::MIDDLE.m as usize && tile.count(m, n) >= enough,
            Self::MIDDLE => m > Self::LOW.m as usize && tile.count(m, n) >= enough / 2,
            _ => true,
        };
        let matrices = device.cooperative?;
        let mut tiles = [Self::WIDE, Self::MIDDLE, Self::LOW].into_iter();
        tiles.find(|tile| tile.fits(matrices, device) && wide_enough(tile))
    }

    fn fits(&self, matrices: CooperativeMatrices, device: &Limits) -> bool {
        let sums = self.reach[0] * self.reach[1] / device.subgroup;
        sums <= SUMS
            && self.invocations(device) <= device.workgroup
            && self.shared_bytes(matrices) <= device.shared_bytes
    }

    fn subgroups(&self) -> u32 {
        (self.m / self.reach[0]) * (self.n / self.reach[1])
    }

    fn invocations(&self, device: &Limits) -> u32 {
        self.subgroups() * device.subgroup
    }

    /// Two pairs of tiles of f16, or a strip of sums of each subgroup, each row with 16 bytes more; turned tiles have fewer rows.
    fn shared_bytes(&self, matrices: CooperativeMatrices) -> u32 {
        let tiles = 2 * 2 * (self.m + self.n) * (self.k + 8);
        let strips = 4 * self.subgroups() * matrices.m * (self.reach[1] + 4);
        tiles.max(strips)
    }

    /// How many cover `[m, n]`.
    pub(super) fn count(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.m as usize).saturating_mul(n.div_ceil(self.n as usize))
    }

    /// The shader's constants.
    pub(super) fn constants(&self, flags: u32, matrices: CooperativeMatrices, device: &Limits) -> Vec<u32> {
        let Self { m, n, k, reach: [reach_m, reach_n] } = *self;
        let of_tile = [self.invocations(device), flags, m, n, k, reach_m, reach_n];
        [&of_tile[..], &[matrices.m, matrices.n, matrices.k]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(subgroup: u32, shared_bytes: u32, sides: [u32; 3]) -> Limits {
        let [m, n, k] = sides;
        Limits {
            buffer_bytes: 1 << 31,
            allocation_bytes: 1 << 31,
            workgroup: 1024,
            shared_bytes,
            groups: [65_535; 3],
            subgroup,
            f16_arithmetic: true,
            f16_storage: true,
            cooperative: Some(CooperativeMatrices { m, n, k }),
            import_alignment: None,
            signed_zeros: true,
            tick_ns: 1.0,
            tick_bits: 64,
            copy_queue: false,
        }
    }

    #[test]
    fn tiles_are_of_whole_subgroups_and_whole_matrices() {
        for tile in [Tile::WIDE, Tile::MIDDLE, Tile::LOW] {
            for side in [tile.m, tile.n, tile.k, tile.reach[0], tile.reach[1]] {
                assert_eq!(side % SUBGROUP_SIDE, 0, "every shape that is taken divides that");
            }
            assert_eq!([tile.m % tile.reach[0], tile.n % tile.reach[1]], [0, 0]);
        }
    }

    #[test]
    fn a_device_gets_the_largest_tiles_that_it_has_room_and_work_for() {
        let nvidia = device(32, 49_152, [16, 16, 16]);
        assert_eq!(Tile::of(4096, 4096, 128, &nvidia), Some(Tile::WIDE));
        assert_eq!(Tile::of(1024, 1024, 128, &nvidia), Some(Tile::MIDDLE), "64 wide tiles are too few");
        assert_eq!(Tile::of(32, 40_000, 128, &nvidia), Some(Tile::LOW));
        assert_eq!(Tile::of(9, 1, 1, &nvidia), Some(Tile::LOW));
        let little_memory = device(32, 32_768, [16, 16, 16]);
        assert_eq!(Tile::of(4096, 4096, 128, &little_memory), Some(Tile::MIDDLE));
        let narrow = device(8, 65_536, [8, 8, 8]);
        assert_eq!(Tile::of(4096, 4096, 1, &narrow), Some(Tile::MIDDLE), "512 sums each are too many");
        assert_eq!(Tile::of(4096, 4096, 128, &device(32, 10_000, [16, 16, 16])), None);
        assert_eq!(Tile::of(4096, 4096, 128, &Limits { cooperative: None, ..nvidia }), None);
        // Two workgroups of the widest fit beside each other in what most GPUs have, and one in what every one has.
        assert_eq!(Tile::WIDE.shared_bytes(nvidia.cooperative.unwrap()), 40_960);
    }
}
