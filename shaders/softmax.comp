// OP 0: result[r, c] = exp(x[r, c] - max) / sum, OP 1: its logarithm. In place where result is x.
#version 460
#include "common.glsl"
#include "math.glsl"
#include "rows.glsl"

layout(push_constant) uniform Push {
    F32 x;
    F32 result;
    uint rows;
    uint cols;
} push;

const uint LOG = 1;

// What a row's numbers are shifted by: the largest, or 0 where all are negative infinity.
float shift_of(uint largest) {
    return largest == KEY_OF_LEAST ? 0.0 : of_key(largest);
}

// `e` is exp(x - shift).
float value(float x, float e, uint largest, float shift, float sum) {
    if (largest >= KEY_OF_MOST) {
        return NAN;
    }
    if (largest == KEY_OF_LEAST) {
        return OP == LOG ? -INFINITY : 0.0;
    }
    return OP == LOG ? (x - shift) - log(sum) : e / sum;
}

void kept(uint begin, uint cols) {
    float x[PER];
    float e[PER];
    uint largest = KEY_OF_LEAST;
    [[unroll]] for (uint k = 0; k < PER; k++) {
        uint c = lane() + k * LANES;
        x[k] = c < cols ? push.x.at[begin + c] : -INFINITY;
        largest = max(largest, key_of(x[k]));
    }
    largest = row_largest(largest);
    float shift = shift_of(largest);
    float sum = 0.0;
    [[unroll]] for (uint k = 0; k < PER; k++) {
        e[k] = lane() + k * LANES < cols ? exponential(x[k] - shift) : 0.0;
        sum += e[k];
    }
    sum = row_sum(sum);
    [[unroll]] for (uint k = 0; k < PER; k++) {
        uint c = lane() + k * LANES;
        if (c < cols) {
            push.result.at[begin + c] = value(x[k], e[k], largest, shift, sum);
        }
    }
}

void streamed(uint begin, uint cols) {
    uint largest = KEY_OF_LEAST;
    for (uint c = lane(); c < cols; c += LANES) {
        largest = max(largest, key_of(push.x.at[begin + c]));
    }
    largest = row_largest(largest);
    float shift = shift_of(largest);
    // Each summand goes to one of four sums in turn: a quarter of the roundings, and none waits for the last.
    vec4 parts = vec4(0.0);
    for (uint c = lane(); c < cols; c += 4 * LANES) {
        [[unroll]] for (uint k = 0; k < 4; k++) {
            if (c + k * LANES < cols) {
                parts[k] += exponential(push.x.at[begin + c + k * LANES] - shift);
            }
        }
    }
    float sum = row_sum((parts.x + parts.y) + (parts.z + parts.w));
    for (uint c = lane(); c < cols; c += LANES) {
        float x = push.x.at[begin + c];
        float e = OP == LOG ? 0.0 : exponential(x - shift);
        push.result.at[begin + c] = value(x, e, largest, shift, sum);
    }
}

void main() {
    uint together = WORKGROUP / LANES;
    // The same turns for all of a workgroup, which meets at barriers; without a row an invocation has no columns.
    for (uint first = gl_WorkGroupID.x * together; first < push.rows; first += gl_NumWorkGroups.x * together) {
        uint row = first + gl_LocalInvocationIndex / LANES;
        uint cols = row < push.rows ? push.cols : 0;
        if (STREAMED) {
            streamed(row * push.cols, cols);
        } else {
            kept(row * push.cols, cols);
        }
    }
}
