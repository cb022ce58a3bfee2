// gemm.glsl with B stored in f32.
#version 460
#include "common.glsl"
#define B_STORED F32
#include "gemm.glsl"
