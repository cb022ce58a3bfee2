// attention_tiles.glsl with queries, keys and values stored in f16.
#version 460
#include "common.glsl"
#include "half.glsl"
#define STORED F16
#include "attention_tiles.glsl"
