// out[r, c] = silu(gate[r, c]) * up[r, c], from rows [gate | up].
#version 460
#include "common.glsl"
#include "activation.glsl"

layout(push_constant) uniform Push {
    F32 gate_up;
    F32 result;
    uint count;
    uint width;
} push;

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        uint gate = i / push.width * push.width + i;
        push.result.at[i] = activated(3, push.gate_up.at[gate]) * push.gate_up.at[gate + push.width];
    }
}
