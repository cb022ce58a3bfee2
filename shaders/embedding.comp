// Rows of a table of 32-bit floats.
#version 460
#include "common.glsl"
#define TABLE F32
#define TABLE_AT(i) push.table.at[i]
#include "embedding_rows.glsl"
