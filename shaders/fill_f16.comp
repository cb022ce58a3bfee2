// result = the 16-bit float of `bits`, wherever it begins: Vulkan's own fills are of whole words.
#version 460
#extension GL_EXT_shader_16bit_storage : require
#include "common.glsl"
#include "f16.glsl"

layout(push_constant) uniform Push {
    F16 result;
    uint count;
    uint bits;
} push;

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        push.result.at[i] = uint16_t(push.bits);
    }
}
