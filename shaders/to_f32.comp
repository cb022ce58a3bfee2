// result = x widened from 16 bits.
#version 460
#extension GL_EXT_shader_16bit_storage : require
#include "common.glsl"
#include "f16.glsl"

layout(push_constant) uniform Push {
    F16 x;
    F32 result;
    uint count;
} push;

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        push.result.at[i] = of_f16(uint(push.x.at[i]));
    }
}
