// What the processor of tiles is given; see flash.glsl for the names.
layout(constant_id = 4) const uint DIM = 1;
layout(constant_id = 5) const uint SHARED_BY = 1;
layout(constant_id = 6) const bool CAUSAL = false;

#include "adaptive.glsl"

layout(push_constant) uniform Push {
    Queries q;
    Cache k;
    Cache v;
    // `[batch, heads of keys, tiles]`, see adaptive.glsl.
    F32x4 summary;
    // `[batch, heads, tiles of queries, tiles + 1]`: how many tiles are coarse; those, then the exact ones, each in order.
    U32 list;
    F32 result;
    // `[batch, heads, queries]`
    F32 lse;
    uint batch;
    uint queries;
    uint keys;
    uint heads;
    uint tiles;
    float scale;
    uint q_sequence, q_row, q_head;
    uint k_sequence, k_row, k_head;
    uint v_sequence, v_row, v_head;
    uint out_sequence, out_row, out_head;
} push;
