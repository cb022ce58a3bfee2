// OP 0: the sum of each row, OP 1: the sum divided by `divisor`, OP 2: the largest number, OP 3: the smallest. Rows longer than CHUNK
// columns are reduced in pieces, a row of results each, and those again (vulkan/src/kernels/reduce.rs).
#version 460
#include "common.glsl"
#include "rows.glsl"

layout(push_constant) uniform Push {
    F32 x;
    F32 result;
    uint rows;
    uint cols;
    // Pieces of a row, and what they are of: all but the last are of `piece` columns.
    uint pieces;
    uint piece;
    float divisor;
} push;

const uint MEAN = 1;
const uint MAX = 2;
const uint MIN = 3;

// Sums of the numbers from `begin` to `end`; each goes to one of four sums in turn.
float sum_of(uint begin, uint end) {
    vec4 parts = vec4(0.0);
    for (uint i = begin + lane(); i < end; i += 4 * LANES) {
        [[unroll]] for (uint k = 0; k < 4; k++) {
            if (i + k * LANES < end) {
                parts[k] += push.x.at[i + k * LANES];
            }
        }
    }
    float sum = row_sum((parts.x + parts.y) + (parts.z + parts.w));
    if (OP == MEAN) {
        // Of nothing: NaN, which a device need not make of 0 / 0.
        return push.divisor == 0.0 ? uintBitsToFloat(0x7fc00000u) : sum / push.divisor;
    }
    return sum;
}

// The smallest has the largest key where all but NaN's are turned round.
uint turned(uint key) {
    return OP == MIN && key != KEY_OF_NAN ? ~key : key;
}

float extreme_of(uint begin, uint end) {
    uint largest = OP == MIN ? ~KEY_OF_MOST : KEY_OF_LEAST;
    for (uint i = begin + lane(); i < end; i += LANES) {
        largest = max(largest, turned(key_of(push.x.at[i])));
    }
    return of_key(turned(row_largest(largest)));
}

void main() {
    uint together = WORKGROUP / LANES;
    uint count = push.rows * push.pieces;
    // The same turns for all of a workgroup, which meets at barriers; without a piece an invocation has no columns.
    for (uint first = gl_WorkGroupID.x * together; first < count; first += gl_NumWorkGroups.x * together) {
        uint at = first + gl_LocalInvocationIndex / LANES;
        uint begin = 0;
        uint end = 0;
        if (at < count) {
            uint from = at % push.pieces * push.piece;
            begin = at / push.pieces * push.cols + from;
            end = begin + min(push.piece, push.cols - from);
        }
        float value = OP >= MAX ? extreme_of(begin, end) : sum_of(begin, end);
        if (at < count && lane() == 0) {
            push.result.at[at] = value;
        }
    }
}
