// f32 to f16, rounded to nearest, ties to even: a device's own conversion may round otherwise. NaN stays NaN, too large numbers become infinite.
#version 460
#include "common.glsl"
#extension GL_EXT_shader_16bit_storage : require

layout(buffer_reference, std430, buffer_reference_align = 2) buffer U16 {
    uint16_t at[];
};

layout(push_constant) uniform Push {
    F32 x;
    U16 result;
    uint count;
} push;

uint rounded(float x) {
    uint bits = floatBitsToUint(x);
    uint sign = bits >> 16 & 0x8000u;
    uint magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return sign | 0x7e00u;
    }
    if (magnitude >= 0x47800000u) {
        return sign | 0x7c00u;
    }
    if (magnitude < 0x38800000u) {
        // Below 2^-14 halves are 2^-24 apart, as f32 numbers just above 0.5 are 2^-24 apart: the addition rounds.
        return sign | (floatBitsToUint(uintBitsToFloat(magnitude) + 0.5) - 0x3f000000u);
    }
    uint rebased = magnitude - 0x38000000u;
    return sign | (rebased + 0xfffu + (rebased >> 13 & 1u)) >> 13;
}

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        push.result.at[i] = uint16_t(rounded(push.x.at[i]));
    }
}
