// Small element-wise steps that depend on each other, one after the other by one workgroup: a dispatch and a barrier for each would cost more
// than its numbers. A step is 16 bits, of which `vulkan/src/commands/steps.rs` has the places: the operation, as in map.comp and then
// ReLU, and which of the operands and scalars it takes.
#version 460
#include "common.glsl"
#extension GL_EXT_buffer_reference_uvec2 : require
#include "math.glsl"

const uint OPERANDS = 8;
const uint SCALARS = 8;
const uint WORDS = 6;

// What one invocation writes, others read after the next barrier.
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer Numbers {
    float at[];
};

layout(push_constant) uniform Push {
    uvec2 operands[OPERANDS];
    float scalars[SCALARS];
    uint count;
    uint steps;
    uint words[WORDS];
} push;

float value(uint op, float a, float b, float s) {
    switch (op) {
        case 0: return a * s;
        case 1: return a + b;
        case 2: return a - b;
        case 3: return a * b;
        case 4: {
            precise float product = s * b;
            precise float sum = a + product;
            return sum;
        }
        default: return !is_nan(a) && a < 0.0 ? 0.0 : a;
    }
}

void main() {
    [[dont_unroll]] for (uint k = 0; k < push.steps; k++) {
        uint word = push.words[k / 2] >> (k % 2 * 16);
        Numbers a = Numbers(push.operands[word >> 4 & 7]);
        Numbers b = Numbers(push.operands[word >> 7 & 7]);
        Numbers result = Numbers(push.operands[word >> 10 & 7]);
        float s = push.scalars[word >> 13 & 7];
        for (uint i = gl_LocalInvocationIndex; i < push.count; i += gl_WorkGroupSize.x) {
            result.at[i] = value(word & 15, a.at[i], b.at[i], s);
        }
        memoryBarrierBuffer();
        barrier();
    }
}
