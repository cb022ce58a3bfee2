// After power.glsl and a function `constant`: a function for each operation of kernels/src/elementwise/op.rs, by its name and with its operands, in their order.
// vulkan/src/pipeline/fused.rs calls them by name; parameters are constant so that they are passed as values.
//
// Numbers are compared by their bits: what is subnormal counts, NaN is told apart on every device. What is `precise` is rounded once an
// operation, also where another operation's result goes in.

// Numbers in order as integers, zeros of both signs as one; NaN beyond the infinities.
int order(float x) {
    int bits = floatBitsToInt(x);
    return bits < 0 ? int(0x80000000u) - bits : bits;
}

bool is_ordered(float a, float b) {
    return !is_nan(a) && !is_nan(b);
}

bool is_less(float a, float b) {
    return is_ordered(a, b) && order(a) < order(b);
}

bool is_equal(float a, float b) {
    return is_ordered(a, b) && order(a) == order(b);
}

// 1 or 0; also where a number is compared with itself, no constant.
float number(bool truth) {
    return constant(truth ? 0x3f800000u : 0u);
}

float Add(const float a, const float b) {
    precise float result = a + b;
    return result;
}

float Sub(const float a, const float b) {
    precise float result = a - b;
    return result;
}

float Mul(const float a, const float b) {
    precise float result = a * b;
    return result;
}

float Div(const float a, const float b) {
    precise float result = a / b;
    return result;
}

float Fma(const float a, const float b, const float c) {
    return fma(a, b, c);
}

float Min(const float a, const float b) {
    return is_nan(a) || is_less(a, b) ? a : b;
}

float Max(const float a, const float b) {
    return is_nan(a) || is_less(b, a) ? a : b;
}

float Neg(const float a) {
    return uintBitsToFloat(floatBitsToUint(a) ^ 0x80000000u);
}

float Abs(const float a) {
    return uintBitsToFloat(floatBitsToUint(a) & 0x7fffffffu);
}

float Square(const float a) {
    return Mul(a, a);
}

// GLSL leaves a root of what is below 0 open, and devices may take others through 1 / sqrt.
float Sqrt(const float a) {
    uint bits = floatBitsToUint(a);
    if ((bits & 0x7fffffffu) == 0 || bits == 0x7f800000u || is_nan(a)) {
        return a;
    }
    return bits > 0x80000000u ? NAN : sqrt(a);
}

float Reciprocal(const float a) {
    return Div(1.0, a);
}

float Rsqrt(const float a) {
    return Div(1.0, Sqrt(a));
}

float Less(const float a, const float b) {
    return number(is_less(a, b));
}

float LessEqual(const float a, const float b) {
    return number(is_ordered(a, b) && order(a) <= order(b));
}

float Greater(const float a, const float b) {
    return number(is_less(b, a));
}

float GreaterEqual(const float a, const float b) {
    return number(is_ordered(a, b) && order(a) >= order(b));
}

float Equal(const float a, const float b) {
    return number(is_equal(a, b));
}

float NotEqual(const float a, const float b) {
    return number(!is_equal(a, b));
}

float Select(const float a, const float b, const float c) {
    return is_nan(a) || order(a) == 0 ? c : b;
}

float Relu(const float a) {
    return is_less(a, 0.0) ? 0.0 : a;
}

float LeakyRelu(const float a, const float b) {
    return is_less(a, 0.0) ? Mul(a, b) : a;
}

float Exp(const float a) {
    return is_nan(a) ? a : exponential(a);
}

float Log(const float a) {
    return logarithm(a);
}

float Erf(const float a) {
    return is_nan(a) ? a : error_function(a);
}

float Tanh(const float a) {
    return is_nan(a) ? a : hyperbolic_tangent(a);
}

float Sigmoid(const float a) {
    return is_nan(a) ? a : logistic(a);
}

float Softplus(const float a) {
    return is_nan(a) ? a : softplus(a);
}

float Gelu(const float a) {
    return is_nan(a) ? a : gelu(a);
}

float GeluTanh(const float a) {
    return is_nan(a) ? a : gelu_tanh(a);
}

float Silu(const float a) {
    return is_nan(a) ? a : silu(a);
}

float Mish(const float a) {
    return is_nan(a) ? a : mish(a);
}

float Pow(const float a, const float b) {
    return power(a, b);
}

// x where a < b, half of it where they are equal, else 0.
float share(float x, float a, float b) {
    return is_less(a, b) ? x : is_equal(a, b) ? Mul(0.5, x) : 0.0;
}

float MinGradient(const float a, const float b, const float c) {
    return share(a, b, c);
}

float MaxGradient(const float a, const float b, const float c) {
    return share(a, c, b);
}

float DivGradient(const float a, const float b, const float c) {
    precise float result = a * (b / c) / c;
    return Neg(result);
}

float AbsGradient(const float a, const float b) {
    return is_less(0.0, b) ? a : is_less(b, 0.0) ? Neg(a) : 0.0;
}

float SquareGradient(const float a, const float b) {
    precise float result = (a + a) * b;
    return result;
}

float SqrtGradient(const float a, const float b) {
    precise float result = a / (b + b);
    return result;
}

float ReluGradient(const float a, const float b) {
    return is_less(0.0, b) ? a : 0.0;
}

float LeakyReluGradient(const float a, const float b, const float c) {
    return is_less(0.0, b) ? a : Mul(a, c);
}

float SigmoidGradient(const float a, const float b) {
    precise float result = a * b * (1.0 - b);
    return result;
}

float TanhGradient(const float a, const float b) {
    precise float result = a * (1.0 - b * b);
    return result;
}

float ErfGradient(const float a, const float b) {
    return Mul(a, is_nan(b) ? b : error_function_derivative(b));
}

float SoftplusGradient(const float a, const float b) {
    return Mul(a, Sigmoid(b));
}

float GeluGradient(const float a, const float b) {
    return Mul(a, is_nan(b) ? b : gelu_derivative(b));
}

float GeluTanhGradient(const float a, const float b) {
    return Mul(a, is_nan(b) ? b : gelu_tanh_derivative(b));
}

float SiluGradient(const float a, const float b) {
    return Mul(a, is_nan(b) ? b : silu_derivative(b));
}

float MishGradient(const float a, const float b) {
    return Mul(a, is_nan(b) ? b : mish_derivative(b));
}

float PowGradient(const float a, const float b, const float c) {
    return Mul(a, order(c) == 0 ? 0.0 : Mul(c, power(b, Sub(c, 1.0))));
}

float PowExponentGradient(const float a, const float b, const float c) {
    // 0^c log 0 is 0 * -infinity: the limit is 0.
    bool vanishes = order(b) == 0 && !is_nan(c) && order(c) >= 0;
    return Mul(a, vanishes ? 0.0 : Mul(power(b, c), logarithm(b)));
}
