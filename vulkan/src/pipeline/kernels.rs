//! The shaders in this crate, by name.

/// Names the kernels: each is a shader of `shaders/` with its SPIR-V.
macro_rules! kernels {
    ($($(#[$doc:meta])* $kernel:ident = $name:literal;)*) => {
        /// A compiled shader of `shaders/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Kernel {
            $($(#[$doc])* $kernel,)*
        }

        impl Kernel {
            fn shader(self) -> (&'static str, &'static [u8]) {
                match self {
                    $(Self::$kernel => ($name, include_bytes!(concat!("../../../shaders/spirv/", $name, ".spv"))),)*
                }
            }
        }
    };
}

kernels! {
    Activation = "activation";
    CrossTileRouter = "cross_tile_router";
    Embedding = "embedding";
    EmbeddingF16 = "embedding_f16";
    FillF16 = "fill_f16";
    FlashRow = "flash_row";
    FlashRowF16 = "flash_row_f16";
    FlashRowMixed = "flash_row_mixed";
    FlashTile = "flash_tile";
    FlashTileF16 = "flash_tile_f16";
    FlashTileMixed = "flash_tile_mixed";
    FlowCompute = "flow_compute";
    Gemm = "gemm";
    GemmA16 = "gemm_a16";
    GemmAb16 = "gemm_ab16";
    GemmB16 = "gemm_b16";
    GemmCooperative = "gemm_cooperative";
    Gemv = "gemv";
    GemvA16 = "gemv_a16";
    GemvAb16 = "gemv_ab16";
    GemvB16 = "gemv_b16";
    Map = "map";
    Norm = "norm";
    PatternCompute = "pattern_compute";
    Program = "program";
    Reduce = "reduce";
    Rope = "rope";
    Softmax = "softmax";
    Steps = "steps";
    Swiglu = "swiglu";
    TileCentre = "tile_centre";
    TileCertificate = "tile_certificate";
    TileProcessor = "tile_processor";
    TileSummary = "tile_summary";
    ToF16 = "to_f16";
    ToF32 = "to_f32";
}

impl Kernel {
    pub(crate) fn name(self) -> &'static str {
        self.shader().0
    }

    /// Whether it counts on whole subgroups, of as many invocations as the device told.
    pub(crate) fn needs_whole_subgroups(self) -> bool {
        self == Self::GemmCooperative
    }

    pub(crate) fn spirv(self) -> Vec<u32> {
        let words = self.shader().1.chunks_exact(4);
        words.map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
    }
}
