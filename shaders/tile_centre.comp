// What bounds need of all of a head's values: the centre of the tiles' means, how far each mean lies from it, and how far a value may. A
// workgroup a head.
#version 460
#include "common.glsl"
#include "adaptive_vectors.glsl"
#include "workgroup.glsl"

layout(push_constant) uniform Push {
    F32 v;
    F32x4 summary;
    uint batch;
    uint kv_heads;
    uint tiles;
    uint keys;
    uint v_sequence, v_row, v_head;
} push;

float distance_to(F32x4 summary, uint centre, uint mean) {
    float square = 0;
    [[dont_unroll]] for (uint c = 0; c < FOURS; c++) {
        vec4 apart = summary.at[mean + c] - summary.at[centre + c];
        square += dot(apart, apart);
    }
    return (sqrt(square) + UNDERFLOW * sqrt(float(DIM))) * (1.0 + 4e-5);
}

void main() {
    uint lane = gl_LocalInvocationIndex;
    uint items = push.batch * push.kv_heads;
    // Read here once: Mesa 26.2's driver for CPUs reads it as 0 in loops that no invocation of a subgroup is in.
    F32x4 summary = push.summary;
    for (uint item = gl_WorkGroupID.x; item < items; item += gl_NumWorkGroups.x) {
        uint first = item * push.tiles * PER_TILE;
        uint centre = push.batch * push.kv_heads * push.tiles * PER_TILE + item * (FOURS + 1);
        for (uint c = lane; c < FOURS; c += INVOCATIONS) {
            vec4 sum = vec4(0);
            for (uint tile = 0; tile < push.tiles; tile++) {
                sum += summary.at[first + tile * PER_TILE + FOURS + c];
            }
            summary.at[centre + c] = sum / push.tiles;
        }
        memoryBarrierBuffer();
        barrier();
        float reach = 0;
        for (uint tile = lane; tile < push.tiles; tile += INVOCATIONS) {
            uint at = first + tile * PER_TILE;
            float offset = distance_to(summary, centre, at + FOURS);
            summary.at[at + 2 * FOURS + 1] = vec4(offset, 0, 0, 0);
            reach = larger(reach, offset + summary.at[at + 2 * FOURS].z);
        }
        uint v = item / push.kv_heads * push.v_sequence + item % push.kv_heads * push.v_head;
        for (uint key = push.tiles * TILE + lane; key < push.keys; key += INVOCATIONS) {
            float square = 0;
            [[dont_unroll]] for (uint c = 0; c < FOURS; c++) {
                vec4 apart = four_of(push.v, v + key * push.v_row, c) - summary.at[centre + c];
                square += dot(apart, apart);
            }
            reach = larger(reach, (sqrt(square) + UNDERFLOW * sqrt(float(DIM))) * (1.0 + 4e-5));
        }
        reach = workgroup_max(reach);
        if (lane == 0) {
            summary.at[centre + FOURS] = vec4(reach, 0, 0, 0);
        }
        // Where `item + gl_NumWorkGroups.x` would wrap, this was the last.
        if (items - item <= gl_NumWorkGroups.x) break;
    }
}
