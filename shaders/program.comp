// A program of element-wise steps in one pass: vulkan/src/pipeline/fused.rs puts the steps in the place of `element`'s body. In place where an
// output is an input: an element's inputs are read before its outputs are written, and nobody else reads them.
#version 460
#include "common.glsl"
#extension GL_EXT_spirv_intrinsics : require
// SignedZeroInfNanPreserve: a product with 0 keeps its sign. fused.rs leaves it out where a device cannot.
spirv_execution_mode(extensions = ["SPV_KHR_float_controls"], capabilities = [4466], 4461, 32);
#extension GL_EXT_buffer_reference_uvec2 : require
#include "math.glsl"
#include "activation.glsl"
#include "functions.glsl"
#include "power.glsl"

// Inputs and outputs.
layout(constant_id = 1) const uint OPERANDS = 2;

// The addresses of the inputs and of the outputs, then how many elements there are, and 0.
layout(push_constant) uniform Push {
    uvec2 words[16];
} push;

// A number of which a compiler does not know that it is constant: some take a product with 0 for 0, of whatever sign and with whatever, and
// leave a quotient by 0 undefined.
float constant(const uint bits) {
    return uintBitsToFloat(bits ^ push.words[OPERANDS].y);
}

#include "operations.glsl"

float load(const uint operand, const uint i) {
    return F32(push.words[operand]).at[i];
}

void store(const uint operand, const uint i, const float x) {
    F32(push.words[operand]).at[i] = x;
}

// Stands for the steps, and calls every operation: the compiler would leave out one that is not called.
void element(const uint i) {
    float x = load(0, i) + constant(0);
    float all = Add(x, x) + Sub(x, x) + Mul(x, x) + Div(x, x) + Fma(x, x, x) + Min(x, x) + Max(x, x) + Neg(x) + Abs(x) + Square(x) +
        Sqrt(x) + Reciprocal(x) + Rsqrt(x) + Less(x, x) + LessEqual(x, x) + Greater(x, x) + GreaterEqual(x, x) + Equal(x, x) +
        NotEqual(x, x) + Select(x, x, x) + Relu(x) + LeakyRelu(x, x) + Exp(x) + Log(x) + Erf(x) + Tanh(x) + Sigmoid(x) + Softplus(x) +
        Gelu(x) + GeluTanh(x) + Silu(x) + Mish(x) + Pow(x, x) + MinGradient(x, x, x) + MaxGradient(x, x, x) + DivGradient(x, x, x) +
        AbsGradient(x, x) + SquareGradient(x, x) + SqrtGradient(x, x) + ReluGradient(x, x) + LeakyReluGradient(x, x, x) +
        SigmoidGradient(x, x) + TanhGradient(x, x) + ErfGradient(x, x) + SoftplusGradient(x, x) + GeluGradient(x, x) +
        GeluTanhGradient(x, x) + SiluGradient(x, x) + MishGradient(x, x) + PowGradient(x, x, x) + PowExponentGradient(x, x, x);
    store(1, i, all);
}

void main() {
    uint count = push.words[OPERANDS].x;
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < count; i += stride) {
        element(i);
    }
}
