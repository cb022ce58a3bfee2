// out = op(a, b) for each element; `s` is an operand of some of them. Operations by number as in `Map` of vulkan/src/kernels/map.rs, and what
// `b` is beside `a: [rows, cols]` as in `Spread` there.
#version 460
#include "common.glsl"

layout(constant_id = 1) const uint OP = 0;
layout(constant_id = 2) const uint SPREAD = 0;

layout(push_constant) uniform Push {
    F32 a;
    F32 b;
    F32 result;
    uint count;
    float s;
    uint cols;
    uint multiplier;
    uint shift;
} push;

float value(float a, float b) {
    switch (OP) {
        case 0: return a * push.s;
        case 1: return a + b;
        case 2: return a - b;
        case 3: return a * b;
        case 4: {
            // Rounded twice, as where small steps are merged: see steps.comp.
            precise float product = push.s * b;
            precise float sum = a + product;
            return sum;
        }
        default: return a / b;
    }
}

uint place(uint i) {
    if (SPREAD == 0) {
        return i;
    }
    // i / cols, as `Divisor` of map.rs has it: devices divide integers in some twenty steps.
    uint high, low;
    umulExtended(i, push.multiplier, high, low);
    uint row = high >> push.shift;
    return SPREAD == 1 ? i - row * push.cols : row;
}

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        push.result.at[i] = value(push.a.at[i], push.b.at[place(i)]);
    }
}
