// Attention, keys and values in f16; see flash_tile.glsl.
#version 460
#extension GL_EXT_shader_16bit_storage : require
#include "common.glsl"
#define QUERY float
#define QUERY4 vec4
#define QUERY_BYTES 4
#define QUERY4_BYTES 16
#define CACHE float16_t
#define CACHE4 f16vec4
#define CACHE_BYTES 2
#define CACHE4_BYTES 8
#include "flash_tile.glsl"
