// f16 to f32, exactly.
#version 460
#include "common.glsl"
#include "half.glsl"

layout(push_constant) uniform Push {
    F16 x;
    F32 result;
    uint count;
} push;

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        push.result.at[i] = float(push.x.at[i]);
    }
}
