// result = activation(x) for each element. In place where result is x.
#version 460
#include "common.glsl"
#include "math.glsl"
#include "activation.glsl"

layout(constant_id = 1) const uint ACTIVATION = 0;

layout(push_constant) uniform Push {
    F32 x;
    F32 result;
    uint count;
} push;

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        push.result.at[i] = activated(ACTIVATION, push.x.at[i]);
    }
}
