// The activations, after math.glsl, as kernels/src/math has them; numbered as `Activation` in vulkan/src/kernels/activation.rs.
// Nothing cancels: each is max(x, 0) less a product with the tail, exp(-something) * 2^n, which is rounded once.

// Exact GELU. Phi(-a) = exp(-a^2 / 2) * t(a) with a polynomial in a / (a + 2.75) for t.
float gelu(float x) {
    float a = min(abs(x), 16.0);
    // a^2 in two parts, the first of at most 8 bits squared: the rounding of a^2 alone would cost 40 ulp at a = 13.
    float high = roundEven(a * 256.0) / 256.0;
    precise float square = high * high;
    precise float rest = (a - high) * (a + high);
    int n;
    float f = exp_parts(-0.5 * square, -0.5 * rest, n);
    float share = a / (a + 2.75);
    float s = share - 0.5;
    float t = fma(s, 4.195469e-2, -1.1168686e-2);
    t = fma(s, t, -0.11670268);
    t = fma(s, t, -3.901431e-2);
    t = fma(s, t, 0.16026615);
    t = fma(s, t, 0.1027542);
    t = fma(s, t, -0.2631263);
    t = fma(s, t, -0.13252808);
    t = fma(s, t, 0.72933775);
    t = fma(s, t, -0.94870824);
    t = fma(s, t, 0.71898603);
    return max(x, 0.0) - scaled(share * t * f, n);
}

// x * sigmoid(y) for y of the sign of x and exp(-|y|) = f * 2^n; a is |x|, cut where the product vanishes.
float times_sigmoid(float x, float a, float f, int n) {
    float upper = 1.0 / (1.0 + scaled(f, n));
    return max(x, 0.0) - scaled(a * f * upper, n);
}

float gelu_tanh(float x) {
    float a = min(abs(x), 11.0);
    int n;
    float f = exp_parts(-1.595769122 * a * fma(a * a, 0.044715, 1.0), 0.0, n);
    return times_sigmoid(x, a, f, n);
}

float silu(float x) {
    float a = min(abs(x), 110.0);
    int n;
    float f = exp_parts(-a, 0.0, n);
    return times_sigmoid(x, a, f, n);
}

float activated(uint activation, float x) {
    if (is_nan(x)) {
        return x;
    }
    switch (activation) {
        case 1: return gelu(x);
        case 2: return gelu_tanh(x);
        case 3: return silu(x);
        case 4: return x < 0.0 ? 0.0 : x;
        default: return x;
    }
}
