//! Intel's matrix extensions: four tiles of 16 by 16 sums, two of rows and two of a panel.
//!
//! The instructions are written out, as the standard library's are not stable. Tiles are configured for one call of a task's code
//! and released after it, so that no switch of threads saves them for nothing.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use super::{Block, BLOCK, STEP};

/// Rows of a tile, and columns of one of sums.
const TILE: usize = 16;
const _: () = assert!(BLOCK == 2 * TILE && STEP == 2 * TILE);

/// Whether the processor multiplies tiles of bf16 and the operating system lets this process.
pub(super) fn is_supported() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    /// The tiles' configuration and their data, in what the operating system saves.
    const SAVED: u64 = 0b11 << 17;
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & (BF16 | TILES) != BF16 | TILES {
        return false;
    }
    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: the operating system enabled XGETBV, or the callers' level would not have been detected.
        unsafe { _xgetbv(0) }
    }
    if !is_x86_feature_detected!("xsave") {
        return false;
    }
    // SAFETY: the feature was detected.
    if unsafe { saved() } & SAVED != SAVED {
        return false;
    }
    /// Asks Linux to let the process use a state that it does not get by itself.
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    /// The data of tiles.
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call changes what the process may do, and no memory. It fails where the kernel knows no such state, or where a
    // thread's stack for signals is too small for it; then there are no tiles for us.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// The layout of all tiles.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_in_a_row: [u16; 16],
    rows: [u8; 16],
}

const _: () = assert!(size_of::<Config>() == 64);

/// Eight whole tiles.
static WHOLE: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_in_a_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// This thread's tiles, configured until it is dropped.
pub(super) struct Configured(());

impl Configured {
    /// Configures the tiles of this thread; the unit must have been detected.
    pub(super) fn new() -> Self {
        // SAFETY: whoever names the unit has detected it; the configuration is one of palette 1.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack, readonly, preserves_flags))
        };
        Self(())
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: the unit exists, or there would be nothing to drop.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Cache lines of a packed block that are asked for in a step, two steps ahead: they come from the second-level cache, which
/// tiles would wait for.
macro_rules! ahead {
    ($($line:literal)*) => {
        concat!($("prefetcht0 [{a} + 4096 + 64*", $line, "]\n"),*)
    };
}

/// The loop over steps, with instructions that run in each.
macro_rules! product {
    ($block:ident, $ahead:expr) => {{
        let Block { steps, a, a_stride, a_step, b, c, c_stride, add } = *$block;
        let (a_bytes, c_bytes) = (a_stride * size_of::<u16>(), c_stride * size_of::<f32>());
        // SAFETY: the caller vouches for rows, panel and sums: each tile is 16 rows of 64 bytes in them. No other code of this
        // program uses tiles; a prefetch faults at no address.
        unsafe {
            asm!(
                "test {add:e}, {add:e}",
                "jz 2f",
                "tileloadd tmm0, [{c} + {cs}*1]",
                "tileloadd tmm1, [{c} + {cs}*1 + 64]",
                "tileloadd tmm2, [{c2} + {cs}*1]",
                "tileloadd tmm3, [{c2} + {cs}*1 + 64]",
                "jmp 3f",
                "2:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "3:",
                "test {steps}, {steps}",
                "jz 5f",
                "4:",
                "tileloadd tmm6, [{b} + {bs}*1]",
                "tileloadd tmm4, [{a} + {a_s}*1]",
                "tileloadd tmm7, [{b} + {bs}*1 + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{a2} + {a_s}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                $ahead,
                "add {a}, {step}",
                "add {a2}, {step}",
                "add {b}, 2048",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "dec {steps}",
                "jnz 4b",
                "5:",
                "tilestored [{c} + {cs}*1], tmm0",
                "tilestored [{c} + {cs}*1 + 64], tmm1",
                "tilestored [{c2} + {cs}*1], tmm2",
                "tilestored [{c2} + {cs}*1 + 64], tmm3",
                add = in(reg) u32::from(add),
                steps = inout(reg) steps => _,
                a = inout(reg) a => _,
                a2 = inout(reg) a.wrapping_byte_add(TILE * a_bytes) => _,
                a_s = in(reg) a_bytes,
                step = in(reg) a_step * size_of::<u16>(),
                b = inout(reg) b => _,
                bs = in(reg) BLOCK * size_of::<f32>(),
                c = in(reg) c,
                c2 = in(reg) c.wrapping_byte_add(TILE * c_bytes),
                cs = in(reg) c_bytes,
                options(nostack),
            );
        }
    }};
}

/// See [`super::Blocks::whole`].
///
/// # Safety
/// As there, and the tiles must be configured.
pub(super) unsafe fn multiply(block: &Block) {
    if block.a_step == BLOCK * STEP {
        product!(
            block,
            ahead!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
        );
    } else {
        product!(block, "");
    }
}

/// The four products of a step, of tiles that hold zeros, as often as `turns` says. The tiles must be configured. Returns the operations done.
pub(super) fn exert(turns: usize) -> f64 {
    // SAFETY: whoever names the unit has detected it, and no memory is touched.
    unsafe {
        asm!(
            "tilezero tmm4",
            "tilezero tmm5",
            "tilezero tmm6",
            "tilezero tmm7",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {turns}",
            "jnz 2b",
            turns = inout(reg) turns.max(1) => _,
            options(nomem, nostack),
        );
    }
    (turns.max(1) * 4 * 2 * TILE * TILE * STEP) as f64
}
