// What the kernels of attention share. QUERY, QUERY4 and CACHE, CACHE4 are the types in which queries, and keys and values, are stored;
// QUERY_BYTES and the like are their sizes.
// Arithmetic is in f32. The push constants are `Parameters` of vulkan/src/kernels/flash.rs.
#include "math.glsl"

layout(buffer_reference, std430, buffer_reference_align = QUERY_BYTES) buffer Queries {
    QUERY at[];
};
layout(buffer_reference, std430, buffer_reference_align = QUERY4_BYTES) buffer Queries4 {
    QUERY4 at[];
};
layout(buffer_reference, std430, buffer_reference_align = CACHE_BYTES) buffer Cache {
    CACHE at[];
};
layout(buffer_reference, std430, buffer_reference_align = CACHE4_BYTES) buffer Cache4 {
    CACHE4 at[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) buffer F32x4 {
    vec4 at[];
};

// Whether every vector begins at a multiple of 4 numbers and has as many, so that four are loaded at once.
layout(constant_id = 1) const bool ALIGNED = false;
// A vector's numbers in fours, rounded up.
layout(constant_id = 2) const uint FOURS = 1;

// ADAPTIVE attention has more operands, and so less room for numbers: what a model does not change are constants.
#ifdef ADAPTIVE
#include "adaptive_push.glsl"
#else
// Distances between sequences, positions and heads, in numbers.
layout(push_constant) uniform Push {
    Queries q;
    Cache k;
    Cache v;
    F32 result;
    uint batch;
    uint queries;
    uint keys;
    uint heads;
    // Heads of queries for each head of keys and values.
    uint shared_by;
    uint dim;
    uint causal;
    float scale;
    uint q_sequence, q_row, q_head;
    uint k_sequence, k_row, k_head;
    uint v_sequence, v_row, v_head;
    uint out_sequence, out_row, out_head;
} push;
#define DIM push.dim
#define SHARED_BY push.shared_by
#define CAUSAL (push.causal != 0)
#endif

// Below every finite logit's worth: a largest logit to begin with from which no difference is NaN.
const float LOWEST = -3.4e38;

// The `c`-th four of the vector at `at`; 0 beyond its end.
vec4 query(uint at, uint c) {
    if (ALIGNED) {
        return vec4(Queries4(push.q).at[at / 4 + c]);
    }
    vec4 four = vec4(0);
    uint d = 4 * c;
    if (d < DIM) four.x = float(push.q.at[at + d]);
    if (d + 1 < DIM) four.y = float(push.q.at[at + d + 1]);
    if (d + 2 < DIM) four.z = float(push.q.at[at + d + 2]);
    if (d + 3 < DIM) four.w = float(push.q.at[at + d + 3]);
    return four;
}

vec4 cached(Cache from, uint at, uint c) {
    if (ALIGNED) {
        return vec4(Cache4(from).at[at / 4 + c]);
    }
    vec4 four = vec4(0);
    uint d = 4 * c;
    if (d < DIM) four.x = float(from.at[at + d]);
    if (d + 1 < DIM) four.y = float(from.at[at + d + 1]);
    if (d + 2 < DIM) four.z = float(from.at[at + d + 2]);
    if (d + 3 < DIM) four.w = float(from.at[at + d + 3]);
    return four;
}

void store(uint at, uint c, vec4 four) {
    if (ALIGNED) {
        F32x4(push.result).at[at / 4 + c] = four;
        return;
    }
    uint d = 4 * c;
    if (d < DIM) push.result.at[at + d] = four.x;
    if (d + 1 < DIM) push.result.at[at + d + 1] = four.y;
    if (d + 2 < DIM) push.result.at[at + d + 2] = four.z;
    if (d + 3 < DIM) push.result.at[at + d + 3] = four.w;
}

// e^x; NaN stays.
float weight_of(float x) {
    return is_nan(x) ? x : exponential(x);
}

float add_product(vec4 a, vec4 b, float sum) {
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

// How many keys query `i` sees: the last query is at the last key's position.
uint seen_by(uint i) {
    if (!CAUSAL) {
        return push.keys;
    }
    // Neither difference is below 0: a query before the first key sees none.
    uint after = push.queries - 1 - i;
    return push.keys > after ? push.keys - after : 0;
}
