// After gemm_operands.glsl: how the kernels for factors of any type read A and B, by fours.

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Fours {
    vec4 at[];
};
#if defined(A_HALF) || defined(B_HALF)
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer FourHalves {
    f16vec4 at[];
};
#endif

#ifdef A_HALF
#define A_FOUR FourHalves
#else
#define A_FOUR Fours
#endif
#ifdef B_HALF
#define B_FOUR FourHalves
#else
#define B_FOUR Fours
#endif

// Four numbers of a row of A as it is stored, the first one's column a multiple of 4; 0 outside `rows` and `columns`.
vec4 four_of_a(uint row, uint column, uint rows, uint columns) {
    vec4 x = vec4(0.0);
    if (row < rows && column < columns) {
        uint at = row * push.stride_a + column;
        if (WHOLE_A) {
            x = vec4(A_FOUR(push.a).at[at / 4]);
        } else {
            // The last number there is stands in for those beyond.
            uint last = min(columns - 1 - column, 3);
            x = vec4(
                float(push.a.at[at]), float(push.a.at[at + min(last, 1)]),
                float(push.a.at[at + min(last, 2)]), float(push.a.at[at + last])
            );
            x = mix(vec4(0.0), x, lessThanEqual(uvec4(0, 1, 2, 3), uvec4(last)));
        }
    }
    return x;
}

// The same of B.
vec4 four_of_b(uint row, uint column, uint rows, uint columns) {
    vec4 x = vec4(0.0);
    if (row < rows && column < columns) {
        uint at = row * push.stride_b + column;
        if (WHOLE_B) {
            x = vec4(B_FOUR(push.b).at[at / 4]);
        } else {
            // The last number there is stands in for those beyond.
            uint last = min(columns - 1 - column, 3);
            x = vec4(
                float(push.b.at[at]), float(push.b.at[at + min(last, 1)]),
                float(push.b.at[at + min(last, 2)]), float(push.b.at[at + last])
            );
            x = mix(vec4(0.0), x, lessThanEqual(uvec4(0, 1, 2, 3), uvec4(last)));
        }
    }
    return x;
}
