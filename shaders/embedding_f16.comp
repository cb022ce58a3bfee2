// Rows of a table of 16-bit floats.
#version 460
#extension GL_EXT_shader_16bit_storage : require
#include "common.glsl"
#include "f16.glsl"
#define TABLE F16
#define TABLE_AT(i) of_f16(uint(push.table.at[i]))
#include "embedding_rows.glsl"
