// Matrix products with few rows, of f32.
#version 460
#include "common.glsl"
#include "gemm_rows.glsl"
