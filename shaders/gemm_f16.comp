// gemm.glsl with B stored in f16: half the bytes of weights.
#version 460
#include "common.glsl"
#include "half.glsl"
#define B_STORED F16
#include "gemm.glsl"
