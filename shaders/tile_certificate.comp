// How far the outputs of tile_processor.comp may lie from exact attention. A workgroup a tile of queries; some invocations a query, each
// with its share of the coarse tiles.
#version 460
#include "common.glsl"
#include "adaptive_vectors.glsl"

layout(push_constant) uniform Push {
    F32 q;
    F32x4 summary;
    U32 list;
    F32 result;
    // `[batch, heads, queries]`, as what is written.
    F32 lse;
    F32 bounds;
    F32 quality;
    uint batch;
    uint queries;
    uint heads;
    uint tiles;
    float scale;
    uint q_sequence, q_row, q_head;
    uint out_sequence, out_row, out_head;
} push;

// Invocations of a query.
const uint SHARING = INVOCATIONS / QUERIES;

shared vec2 parts[INVOCATIONS];

vec2 part_of(uint q, uint at, uint summaries, uint list, float lse, float reach, uint share) {
    float norm = 0;
    [[dont_unroll]] for (uint c = 0; c < FOURS; c++) {
        vec4 four = four_of(push.q, q, c);
        norm += dot(four, four);
    }
    norm = (sqrt(norm) + UNDERFLOW * sqrt(float(DIM))) * abs(push.scale) * SLACK;
    vec2 sums = vec2(0);
    uint coarse = push.list.at[list];
    for (uint n = share; n < coarse; n += SHARING) {
        uint tile = summaries + push.list.at[list + 1 + n] * PER_TILE;
        float logit = 0;
        float square = 0;
        [[dont_unroll]] for (uint c = 0; c < FOURS; c++) {
            logit += dot(four_of(push.q, q, c), push.summary.at[tile + c]);
            vec4 apart = push.summary.at[tile + FOURS + c] - four_of(push.result, at, c);
            square += dot(apart, apart);
        }
        vec3 bound = excess(norm, push.summary.at[tile + 2 * FOURS]);
        float weight = weight_of_bound(push.scale * logit + LOG_TILE - lse + bound.x);
        // As far as was taken for granted before.
        float farthest = push.summary.at[tile + 2 * FOURS + 1].x + reach;
        sums += vec2(weight * (bound.z + bound.y * min(sqrt(square), farthest)), weight * bound.y);
    }
    return sums;
}

void main() {
    uint blocks = (push.queries - 1) / QUERIES + 1;
    uint items = push.batch * push.heads * blocks;
    uint share = gl_LocalInvocationIndex % SHARING;
    for (uint item = gl_WorkGroupID.x; item < items; item += gl_NumWorkGroups.x) {
        uint head = item / blocks;
        uint i = item % blocks * QUERIES + gl_LocalInvocationIndex / SHARING;
        uint row = head * push.queries + i;
        uint sequence = head / push.heads;
        head %= push.heads;
        vec2 own = vec2(0);
        if (i < push.queries) {
            uint kv_heads = push.heads / SHARED_BY;
            uint kv = sequence * kv_heads + head / SHARED_BY;
            uint centre = push.batch * kv_heads * push.tiles * PER_TILE + kv * (FOURS + 1);
            float reach = push.summary.at[centre + FOURS].x;
            uint q = sequence * push.q_sequence + head * push.q_head + i * push.q_row;
            uint at = sequence * push.out_sequence + head * push.out_head + i * push.out_row;
            uint list = item * (push.tiles + 1);
            own = part_of(q, at, kv * push.tiles * PER_TILE, list, push.lse.at[row], reach, share);
        }
        parts[gl_LocalInvocationIndex] = own;
        barrier();
        if (i < push.queries && share == 0) {
            vec2 sums = vec2(0);
            for (uint n = 0; n < SHARING; n++) {
                sums += parts[gl_LocalInvocationIndex + n];
            }
            // What cannot be bounded is not.
            push.bounds.at[row] = is_nan(sums.x) ? INFINITY : sums.x * SLACK;
            push.quality.at[row] = is_nan(sums.y) ? 0.0 : 1.0 / (1.0 + sums.y * SLACK);
        }
        barrier();
        // Where `item + gl_NumWorkGroups.x` would wrap, this was the last.
        if (items - item <= gl_NumWorkGroups.x) break;
    }
}
