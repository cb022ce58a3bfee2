// Matrix products by tiles, A and B of f16.
#version 460
#extension GL_EXT_shader_16bit_storage : require
#include "common.glsl"
#define A_HALF
#define B_HALF
#include "gemm_tiles.glsl"
