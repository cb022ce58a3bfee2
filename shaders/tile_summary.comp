// The summary of a tile of 32 keys and values: means, radii, and how far they deviate in any direction at most. A workgroup a tile.
#version 460
#include "common.glsl"
#include "adaptive_vectors.glsl"

layout(push_constant) uniform Push {
    F32 k;
    F32 v;
    F32x4 summary;
    uint batch;
    uint kv_heads;
    uint tiles;
    // Tiles before it are summarised already.
    uint first;
    uint k_sequence, k_row, k_head;
    uint v_sequence, v_row, v_head;
} push;

const uint PITCH = TILE + 1;
// Numbers of the Gram matrix that an invocation has.
const uint OWN = TILE * TILE / INVOCATIONS;
// Fours of each vector that are in shared memory at a time.
const uint PART = 8;

shared float part[4 * PART * PITCH];
shared float gram[TILE * PITCH];
shared float folded[INVOCATIONS];

// The mean of the keys, or of the values on side 1, goes to fours from `to` on of the summary; radius and deviation come back.
vec2 measure(uint side, uint base, uint row, uint to) {
    uint lane = gl_LocalInvocationIndex;
    float sums[OWN];
    [[unroll]] for (uint n = 0; n < OWN; n++) {
        sums[n] = 0;
    }
    [[dont_unroll]] for (uint c0 = 0; c0 < FOURS; c0 += PART) {
        uint fours = min(PART, FOURS - c0);
        barrier();
        for (uint n = lane; n < TILE * PART; n += INVOCATIONS) {
            uint c = n % PART;
            vec4 four = vec4(0);
            if (c < fours) {
                uint at = base + n / PART * row;
                four = side == 0 ? four_of(push.k, at, c0 + c) : four_of(push.v, at, c0 + c);
            }
            [[unroll]] for (uint e = 0; e < 4; e++) {
                part[(4 * c + e) * PITCH + n / PART] = four[e];
            }
        }
        barrier();
        // A component each.
        if (lane < 4 * PART) {
            float mean = 0;
            [[dont_unroll]] for (uint j = 0; j < TILE; j++) {
                mean += part[lane * PITCH + j];
            }
            mean /= TILE;
            [[dont_unroll]] for (uint j = 0; j < TILE; j++) {
                part[lane * PITCH + j] -= mean;
            }
            folded[lane] = mean;
        }
        barrier();
        if (lane < fours) {
            uint at = 4 * lane;
            push.summary.at[to + c0 + lane] = vec4(folded[at], folded[at + 1], folded[at + 2], folded[at + 3]);
        }
        [[dont_unroll]] for (uint d = 0; d < 4 * fours; d++) {
            [[unroll]] for (uint n = 0; n < OWN; n++) {
                uint at = lane + INVOCATIONS * n;
                sums[n] = fma(part[d * PITCH + at / TILE], part[d * PITCH + at % TILE], sums[n]);
            }
        }
    }
    [[unroll]] for (uint n = 0; n < OWN; n++) {
        uint at = lane + INVOCATIONS * n;
        gram[at / TILE * PITCH + at % TILE] = sums[n];
    }
    barrier();
    float trace = 0;
    float largest = 0;
    [[dont_unroll]] for (uint j = 0; j < TILE; j++) {
        float square = gram[j * PITCH + j];
        trace += square;
        largest = is_nan(square) || square > largest ? square : largest;
    }
    // The largest eigenvalue is at most the fourth root of the sum of all fourth powers. Parts of the trace do not underflow.
    float fourth = 0;
    [[unroll]] for (uint n = 0; n < OWN; n++) {
        uint at = lane + INVOCATIONS * n;
        float square = 0;
        [[dont_unroll]] for (uint j = 0; j < TILE; j++) {
            square = fma(gram[at / TILE * PITCH + j] / trace, gram[j * PITCH + at % TILE] / trace, square);
        }
        fourth += square * square;
    }
    folded[lane] = fourth;
    barrier();
    for (uint rest = INVOCATIONS / 2; rest > 0; rest /= 2) {
        if (lane < rest) {
            folded[lane] += folded[lane + rest];
        }
        barrier();
    }
    float lost = UNDERFLOW * sqrt(float(DIM));
    float radius = (sqrt(largest) + lost) * (1.0 + 1e-5);
    // In no direction do they deviate by more than the radius; of a small trace the parts are inexact.
    float deviation = trace < 1e-30 ? radius : sqrt(trace / TILE * sqrt(sqrt(folded[0]))) * 1.01 + lost;
    return vec2(radius, deviation);
}

void main() {
    uint here = push.tiles - push.first;
    uint items = push.batch * push.kv_heads * here;
    for (uint item = gl_WorkGroupID.x; item < items; item += gl_NumWorkGroups.x) {
        uint head = item / here;
        uint tile = push.first + item % here;
        uint to = (head * push.tiles + tile) * PER_TILE;
        uint sequence = head / push.kv_heads;
        head %= push.kv_heads;
        // One loop for both: the pipeline is made faster with the code in it once.
        [[dont_unroll]] for (uint side = 0; side < 2; side++) {
            uint row = side == 0 ? push.k_row : push.v_row;
            uint at = sequence * (side == 0 ? push.k_sequence : push.v_sequence);
            at += head * (side == 0 ? push.k_head : push.v_head) + tile * TILE * row;
            vec2 spread = measure(side, at, row, to + side * FOURS);
            if (gl_LocalInvocationIndex == 0) {
                if (side == 0) {
                    push.summary.at[to + 2 * FOURS].xy = spread;
                } else {
                    push.summary.at[to + 2 * FOURS].zw = spread;
                }
            }
        }
        // Where `item + gl_NumWorkGroups.x` would wrap, this was the last.
        if (items - item <= gl_NumWorkGroups.x) break;
    }
}
