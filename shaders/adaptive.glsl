// What the kernels of adaptive attention share: docs/adaptive-attention.md has the formulas.
//
// A tile's summary is 2 * FOURS + 2 fours: its mean key, its mean value, zeros beyond DIM; (radius and deviation of the keys, radius and
// deviation of the values); (how far the mean value lies from the centre, 0, 0, 0).
// After all tiles' come, for each head of keys of each sequence, the centre and (how far a value may lie from it, 0, 0, 0).

const uint TILE = 32;
const uint PER_TILE = 2 * FOURS + 2;
const float LOG_TILE = 3.46573590;
// What rounding may take from a bound is given back.
const float SLACK = 1.0 + 4e-5;
// What the squares of a component may lose by underflow: a length may be this much longer, times the root of the number of components.
const float UNDERFLOW = 2e-19;

// By its bits, as math.glsl's is_nan.
bool is_finite(float x) {
    return (floatBitsToUint(x) & 0x7fffffffu) < 0x7f800000u;
}

// delta, and A and b times e^-delta, for a query whose norm times the scale is `norm`.
vec3 excess(float norm, vec4 spread) {
    float delta = norm * spread.x;
    float sigma = norm * spread.y;
    if (!is_finite(delta) || !is_finite(sigma) || !is_finite(spread.z) || !is_finite(spread.w)) {
        return vec3(INFINITY);
    }
    float m = exponential(-delta);
    // (e^x - 1 - x) / x^2 and (e^x - 1) / x, times e^-x; by series where the differences cancel.
    float second;
    float first;
    if (delta < 1.0) {
        float series = 1.0 / 40320.0;
        series = fma(series, delta, 1.0 / 5040.0);
        series = fma(series, delta, 1.0 / 720.0);
        series = fma(series, delta, 1.0 / 120.0);
        series = fma(series, delta, 1.0 / 24.0);
        series = fma(series, delta, 1.0 / 6.0);
        series = fma(series, delta, 0.5);
        second = m * series;
        first = m * fma(delta, series, 1.0);
    } else {
        second = (1.0 - m - delta * m) / delta / delta;
        first = (1.0 - m) / delta;
    }
    float lost = delta * first;
    float a = min(0.5 * lost * lost, sigma * sigma * second);
    float b = min(spread.z * 0.5 * lost * (1.0 + m), sigma * spread.w * first);
    return vec3(delta, a, b);
}

// e^x; infinite from x = 87 on, and for NaN.
float weight_of_bound(float x) {
    return !is_nan(x) && x < 87.0 ? exponential(x) : INFINITY;
}
