// result = x rounded to 16 bits, to nearest even.
#version 460
#extension GL_EXT_shader_16bit_storage : require
#include "common.glsl"
#include "f16.glsl"

layout(push_constant) uniform Push {
    F32 x;
    F16 result;
    uint count;
} push;

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        push.result.at[i] = uint16_t(f16_of(push.x.at[i]));
    }
}
