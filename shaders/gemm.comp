// Matrix products by tiles, of f32.
#version 460
#include "common.glsl"
#include "gemm_tiles.glsl"
