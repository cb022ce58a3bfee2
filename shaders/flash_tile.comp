// Attention, numbers in f32; see flash_tile.glsl.
#version 460
#include "common.glsl"
#define QUERY float
#define QUERY4 vec4
#define QUERY_BYTES 4
#define QUERY4_BYTES 16
#define CACHE float
#define CACHE4 vec4
#define CACHE_BYTES 4
#define CACHE4_BYTES 16
#include "flash_tile.glsl"
