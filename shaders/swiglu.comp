// result[r, c] = SiLU(x[r, c]) * x[r, width + c] for rows [gate | up] of x.
#version 460
#include "common.glsl"
#include "math.glsl"
#include "activation.glsl"

layout(push_constant) uniform Push {
    F32 x;
    F32 result;
    uint count;
    uint width;
} push;

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        uint row = i / push.width;
        // Row r of `result` begins at r * width, that of `x` at twice as much.
        uint at = i + row * push.width;
        push.result.at[i] = activated(3, push.x.at[at]) * push.x.at[at + push.width];
    }
}
