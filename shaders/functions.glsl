// After math.glsl and activation.glsl: the other functions of kernels/src/math, where constants and formulas are explained. NaN gives NaN,
// infinities give the limits.

// e * ln 2 + ln(1 + f) for 1 / sqrt(2) - 1 <= f <= sqrt(2) - 1 and integral e.
float log_sum(float f, float e) {
    float square = f * f;
    float p = fma(f, 6.74664e-2, -0.1167564);
    p = fma(f, p, 0.11888162);
    p = fma(f, p, -0.12405589);
    p = fma(f, p, 0.14219552);
    p = fma(f, p, -0.16667996);
    p = fma(f, p, 0.20002119);
    p = fma(f, p, -0.2500001);
    p = fma(f, p, 0.33333313);
    float tail = fma(e, -2.1219444e-4, square * f * p);
    tail = fma(square, -0.5, tail);
    return fma(e, 0.693359375, f + tail);
}

// The exponent e of x = m * 2^e with 1 <= m < 2, for finite x > 0. What is subnormal is counted as an integer, so that it is not lost where
// a device takes it for 0.
int exponent_of(float x, out float m) {
    uint bits = floatBitsToUint(x);
    int e = -127;
    if (bits < 0x00800000u) {
        bits = floatBitsToUint(float(bits));
        e -= 149;
    }
    m = uintBitsToFloat((bits & 0x007fffffu) | 0x3f800000u);
    return e + int(bits >> 23);
}

float logarithm(float x) {
    uint bits = floatBitsToUint(x);
    if ((bits & 0x7fffffffu) == 0) {
        return -INFINITY;
    }
    if (is_nan(x) || bits == 0x7f800000u) {
        return x;
    }
    if (bits > 0x80000000u) {
        return NAN;
    }
    float m;
    int e = exponent_of(x, m);
    // Halved from sqrt(2) on.
    bool upper = m > 1.41421356;
    return log_sum((upper ? 0.5 * m : m) - 1.0, float(upper ? e + 1 : e));
}

// ln(1 + t) for 0 <= t <= 1, relative to the result.
float log1p_of_share(float t) {
    bool halved = t > 0.41421356;
    return log_sum(halved ? (t - 1.0) * 0.5 : t, halved ? 1.0 : 0.0);
}

float with_sign_of(float magnitude, float x) {
    return uintBitsToFloat(floatBitsToUint(magnitude) | (floatBitsToUint(x) & 0x80000000u));
}

float error_function(float x) {
    float a = abs(x);
    if (a < 0.92) {
        float z = x * x;
        float p = fma(fma(z, 8.316769e-5, -8.130011e-4), z, 5.1999064e-3);
        p = fma(p, z, -2.685894e-2);
        p = fma(p, z, 0.112836875);
        p = fma(p, z, -0.37612632);
        p = fma(p, z, 0.12837917);
        return fma(x, p, x);
    }
    a = min(a, 4.0);
    float fit = fma(fma(a, 2.0965465e-5, -4.3296727e-4), a, 4.1638343e-3);
    fit = fma(fit, a, -2.510044e-2);
    fit = fma(fit, a, 0.10825081);
    fit = fma(fit, a, 0.63337344);
    fit = fma(fit, a, 1.1295018);
    fit = fma(fit, a, -1.7197458e-4);
    return with_sign_of(1.0 - exponential(-fit), x);
}

// a^2 in two parts, the first of at most 12 bits squared, for 0 <= a <= 16.
vec2 square_of(float a) {
    float high = roundEven(a * 256.0) / 256.0;
    precise vec2 parts = vec2(high * high, (a - high) * (a + high));
    return parts;
}

float error_function_derivative(float x) {
    vec2 square = square_of(min(abs(x), 12.0));
    int n;
    float f = exp_parts(-square.x, -square.y, n);
    return scaled(f * 1.1283792, n);
}

float hyperbolic_tangent(float x) {
    float a = abs(x);
    if (a < 0.625) {
        float z = x * x;
        float p = fma(fma(z, -5.7049785e-3, 2.0639079e-2), z, -5.373971e-2);
        p = fma(p, z, 0.13331442);
        p = fma(p, z, -0.3333328);
        return fma(x * z, p, x);
    }
    a = min(a, 10.0);
    return with_sign_of(1.0 - 2.0 / (exponential(a + a) + 1.0), x);
}

// exp(-a) = f * 2^n and 1 / (1 + exp(-a)).
float upper_of(float a, out float f, out int n) {
    f = exp_parts(-a, 0.0, n);
    return 1.0 / (1.0 + scaled(f, n));
}

float logistic(float x) {
    float f;
    int n;
    float upper = upper_of(min(abs(x), 110.0), f, n);
    return x < 0.0 ? scaled(f * upper, n) : upper;
}

float silu_derivative(float x) {
    float a = min(abs(x), 110.0);
    float f;
    int n;
    float upper = upper_of(a, f, n);
    float below = scaled(f * upper * (1.0 - a * upper), n);
    return x < 0.0 ? below : 1.0 - below;
}

float softplus(float x) {
    int n;
    float f = exp_parts(-min(abs(x), 120.0), 0.0, n);
    return max(x, 0.0) + log1p_of_share(scaled(f, n));
}

float mish(float x) {
    float a = min(abs(x), 120.0);
    int n;
    float f = exp_parts(-a, 0.0, n);
    float t = scaled(f, n);
    if (x < 0.0) {
        float grown = t + 2.0;
        return scaled(-a * f * (grown / fma(t, grown, 2.0)), n);
    }
    float above = fma(2.0, t, 1.0);
    return x * (above / fma(2.0 * t, t + 1.0, 1.0));
}

float mish_derivative(float x) {
    float a = min(abs(x), 120.0);
    int n;
    float f = exp_parts(-a, 0.0, n);
    float t = scaled(f, n);
    float once = t + 1.0;
    if (x < 0.0) {
        float inverse = 1.0 / fma(t, t + 2.0, 2.0);
        float pull = 4.0 * a * once * inverse;
        return scaled(f * ((t + 2.0 - pull) * inverse), n);
    }
    float inverse = 1.0 / fma(2.0 * t, once, 1.0);
    float push = 4.0 * a * t * (t * once) * inverse;
    return (fma(2.0, t, 1.0) + push) * inverse;
}

float gelu_derivative(float x) {
    // Around the root, where the terms below cancel.
    precise float distance = (x + 0.75179154) - 1.211445e-8;
    if (abs(distance) < 0.25) {
        float p = fma(fma(distance, 4.497459e-3, 1.9178532e-2), distance, -1.4772663e-2);
        p = fma(p, distance, -0.11400066);
        p = fma(p, distance, -1.819961e-2);
        p = fma(p, distance, 0.38828492);
        p = fma(p, distance, 0.431494);
        return distance * p;
    }
    float a = min(abs(x), 16.0);
    vec2 square = square_of(a);
    int n;
    float f = exp_parts(-0.5 * square.x, -0.5 * square.y, n);
    // The fit of `gelu` in activation.glsl.
    float s = a / (a + 2.75) - 0.5;
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
    float below = scaled(fma(a, -0.3989423, t / (a + 2.75)) * f, n);
    return x < 0.0 ? below : 1.0 - below;
}

float gelu_tanh_derivative(float x) {
    float a = min(abs(x), 11.0);
    float square = a * a;
    float f;
    int n;
    float upper = upper_of(a * 1.595769122 * fma(square, 0.044715, 1.0), f, n);
    float slope = a * 1.595769122 * fma(square, 0.134145, 1.0);
    float below = scaled(f * upper * (1.0 - slope * upper), n);
    return x < 0.0 ? below : 1.0 - below;
}
