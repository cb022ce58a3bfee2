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

float distance_to(uint centre, uint mean) {
    float square = 0;
    [[dont_unroll]] for (uint c = 0; c < FOURS; c++) {
        vec4 apart = push.summary.at[mean + c] - push.summary.at[centre + c];
        square += dot(apart, apart);
    }
    return (sqrt(square) + UNDERFLOW * sqrt(float(DIM))) * (1.0 + 4e-5);
}

void main() {
    uint lane = gl_LocalInvocationIndex;
    uint items = push.batch * push.kv_heads;
    for (uint item = gl_WorkGroupID.x; item < items; item += gl_NumWorkGroups.x) {
        uint first = item * push.tiles * PER_TILE;
        uint centre = push.batch * push.kv_heads * push.tiles * PER_TILE + item * (FOURS + 1);
        for (uint c = lane; c < FOURS; c += INVOCATIONS) {
            vec4 sum = vec4(0);
            for (uint tile = 0; tile < push.tiles; tile++) {
                sum += push.summary.at[first + tile * PER_TILE + FOURS + c];
            }
            push.summary.at[centre + c] = sum / push.tiles;
        }
        memoryBarrierBuffer();
        barrier();
        float reach = 0;
        for (uint tile = lane; tile < push.tiles; tile += INVOCATIONS) {
            uint at = first + tile * PER_TILE;
            float offset = distance_to(centre, at + FOURS);
            push.summary.at[at + 2 * FOURS + 1] = vec4(offset, 0, 0, 0);
            reach = larger(reach, offset + push.summary.at[at + 2 * FOURS].z);
        }
        uint v = item / push.kv_heads * push.v_sequence + item % push.kv_heads * push.v_head;
        for (uint key = push.tiles * TILE + lane; key < push.keys; key += INVOCATIONS) {
            float square = 0;
            [[dont_unroll]] for (uint c = 0; c < FOURS; c++) {
                vec4 apart = four_of(push.v, v + key * push.v_row, c) - push.summary.at[centre + c];
                square += dot(apart, apart);
            }
            reach = larger(reach, (sqrt(square) + UNDERFLOW * sqrt(float(DIM))) * (1.0 + 4e-5));
        }
        reach = workgroup_max(reach);
        if (lane == 0) {
            push.summary.at[centre + FOURS] = vec4(reach, 0, 0, 0);
        }
        // Where `item + gl_NumWorkGroups.x` would wrap, this was the last.
        if (items - item <= gl_NumWorkGroups.x) break;
    }
}
