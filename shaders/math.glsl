// Functions with the accuracy of the CPU's kernels on every device: what GLSL itself promises of `exp` and its like is too little for
// arguments far from 0. The constants are those of kernels/src/math, where each is explained.

// By its bits: a compiler may take comparisons of floats to know no NaN.
bool is_nan(float x) {
    return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u;
}

const float NAN = uintBitsToFloat(0x7fc00000u);
const float INFINITY = uintBitsToFloat(0x7f800000u);

// 2^n for -126 <= n <= 127.
float power_of_two(int n) {
    return uintBitsToFloat(uint(n + 127) << 23);
}

// x * 2^n for |n| <= 250, rounded once.
float scaled(float x, int n) {
    int first = n / 2;
    return x * power_of_two(first) * power_of_two(n - first);
}

// f with e^(x + low) = f * 2^n, for |x| < 170 and |low| < 0.05.
float exp_parts(float x, float low, out int n) {
    float nearest = roundEven(x * 1.44269504);
    n = int(nearest);
    precise float r = x - nearest * 0.693359375;
    r = r + nearest * 2.1219444e-4;
    r = r + low;
    float p = fma(fma(fma(fma(1.379047e-3, r, 8.380413e-3), r, 4.1669708e-2), r, 0.16666408), r, 0.49999985);
    return 1.0 + fma(r * r, p, r);
}

// e^x; x is no NaN.
float exponential(float x) {
    int n;
    float f = exp_parts(clamp(x, -104.0, 89.0), 0.0, n);
    return scaled(f, n);
}
