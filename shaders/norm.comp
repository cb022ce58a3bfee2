// OP 0: result = (x - mean) / sqrt(variance + epsilon) * weight, OP 1: the same + bias, OP 2: x / sqrt(mean of squares + epsilon) * weight,
// for each row. In place where result is x.
#version 460
#include "common.glsl"
#include "rows.glsl"

layout(push_constant) uniform Push {
    F32 x;
    F32 weight;
    F32 bias;
    F32 result;
    uint rows;
    uint cols;
    float epsilon;
} push;

const uint BIAS = 1;
const uint RMS = 2;

// A row's mean, in two parts, and 1 / sqrt(variance + epsilon).
struct Statistics {
    float center;
    float rest;
    float factor;
};

// From the sums of x - center and of its squares: `center` is the mean but for its rounding, which they show.
Statistics statistics(float center, vec2 sums, float count) {
    float rest = OP == RMS ? 0.0 : sums.x / count;
    // Their rounding may leave the difference a little below 0. A NaN that `max` drops is in `rest` as well.
    float variance = OP == RMS ? sums.y / count : max(sums.y / count - rest * rest, 0.0);
    return Statistics(center, rest, 1.0 / sqrt(variance + push.epsilon));
}

vec2 moments(float x, float center) {
    precise float distance = x - center;
    return vec2(distance, distance * distance);
}

float normal(float x, Statistics s, uint c) {
    precise float distance = (x - s.center) - s.rest;
    float y = distance * s.factor * push.weight.at[c];
    return OP == BIAS ? y + push.bias.at[c] : y;
}

void kept(uint begin, uint cols) {
    float count = float(push.cols);
    float x[PER];
    float sum = 0.0;
    [[unroll]] for (uint k = 0; k < PER; k++) {
        uint c = lane() + k * LANES;
        x[k] = c < cols ? push.x.at[begin + c] : 0.0;
        sum += x[k];
    }
    float center = OP == RMS ? 0.0 : row_sum(sum) / count;
    vec2 parts = vec2(0.0);
    [[unroll]] for (uint k = 0; k < PER; k++) {
        if (lane() + k * LANES < cols) {
            parts += moments(x[k], center);
        }
    }
    Statistics s = statistics(center, row_sums(parts), count);
    [[unroll]] for (uint k = 0; k < PER; k++) {
        uint c = lane() + k * LANES;
        if (c < cols) {
            push.result.at[begin + c] = normal(x[k], s, c);
        }
    }
}

void streamed(uint begin, uint cols) {
    float count = float(push.cols);
    float center = 0.0;
    if (OP != RMS) {
        vec4 parts = vec4(0.0);
        for (uint c = lane(); c < cols; c += 4 * LANES) {
            [[unroll]] for (uint k = 0; k < 4; k++) {
                if (c + k * LANES < cols) {
                    parts[k] += push.x.at[begin + c + k * LANES];
                }
            }
        }
        center = row_sum((parts.x + parts.y) + (parts.z + parts.w)) / count;
    }
    vec2 parts[4] = vec2[](vec2(0.0), vec2(0.0), vec2(0.0), vec2(0.0));
    for (uint c = lane(); c < cols; c += 4 * LANES) {
        [[unroll]] for (uint k = 0; k < 4; k++) {
            if (c + k * LANES < cols) {
                parts[k] += moments(push.x.at[begin + c + k * LANES], center);
            }
        }
    }
    vec2 sums = row_sums((parts[0] + parts[1]) + (parts[2] + parts[3]));
    Statistics s = statistics(center, sums, count);
    for (uint c = lane(); c < cols; c += LANES) {
        push.result.at[begin + c] = normal(push.x.at[begin + c], s, c);
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
