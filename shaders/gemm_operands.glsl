// What the kernels of matrix products share: their operands, and what happens to a finished sum.
//
// C <- activation(scale·op(A)·op(B) + bias) + residual, or that added to C. A and B are f32, or f16 where A_HALF or B_HALF is defined;
// all sums are f32. Flags by number as in vulkan/src/kernels/gemm.rs.
#include "math.glsl"
#include "activation.glsl"

layout(constant_id = 1) const uint FLAGS = 0;
const bool TRANSPOSE_A = (FLAGS & 1u) != 0u;
const bool TRANSPOSE_B = (FLAGS & 2u) != 0u;
// The address is a multiple of the numbers that are read at once, and so are the stride and the length of a row.
const bool WHOLE_A = (FLAGS & 4u) != 0u;
const bool WHOLE_B = (FLAGS & 8u) != 0u;
const uint ACTIVATION = FLAGS >> 4;

#if defined(A_HALF) || defined(B_HALF)
layout(buffer_reference, std430, buffer_reference_align = 2) readonly buffer Halves {
    float16_t at[];
};
#endif

#ifdef A_HALF
#define A_ONE Halves
#else
#define A_ONE F32
#endif
#ifdef B_HALF
#define B_ONE Halves
#else
#define B_ONE F32
#endif

layout(push_constant) uniform Push {
    A_ONE a;
    B_ONE b;
    F32 c;
    F32 bias;
    F32 residual;
    uint m;
    uint k;
    uint n;
    uint stride_a;
    uint stride_b;
    uint stride_c;
    uint stride_residual;
    float scale;
    // Bits: there is a bias, a residual; C is added to. Not constants: they are asked once an element, and pipelines are few.
    uint finish;
} push;

// Writes an element of C whose sum is finished, if there is one there.
void finish(uint row, uint column, float sum) {
    if (row < push.m && column < push.n) {
        float x = push.scale * sum;
        if ((push.finish & 1u) != 0u) x += push.bias.at[column];
        x = activated(ACTIVATION, x);
        if ((push.finish & 2u) != 0u) x += push.residual.at[row * push.stride_residual + column];
        uint at = row * push.stride_c + column;
        if ((push.finish & 4u) != 0u) x += push.c.at[at];
        push.c.at[at] = x;
    }
}
