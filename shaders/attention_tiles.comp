// attention_tiles.glsl with queries, keys and values stored in f32.
#version 460
#include "common.glsl"
#define STORED F32
#include "attention_tiles.glsl"
