// After functions.glsl: x^y. The logarithm to base 2 and its product with y are sums of two floats, as an error of theirs is multiplied by up
// to 150: the CPU's way, through f64, needs what not every device has. Every product of parts is exact with and without fused multiplication.

// x in two parts of 12 bits, whose products are exact.
vec2 halves(float x) {
    float high = uintBitsToFloat(floatBitsToUint(x) & 0xfffff000u);
    precise float low = x - high;
    return vec2(high, low);
}

// a + b and what the sum was rounded by.
vec2 two_sum(float a, float b) {
    precise float sum = a + b;
    precise float part = sum - a;
    precise float rest = (a - (sum - part)) + (b - part);
    return vec2(sum, rest);
}

// a * b and what the product was rounded by; nothing overflows.
vec2 two_product(float a, float b) {
    vec2 x = halves(a);
    vec2 y = halves(b);
    precise float product = a * b;
    precise float rest = ((x.x * y.x - product) + x.x * y.y + x.y * y.x) + x.y * y.y;
    return vec2(product, rest);
}

// a * b for a, b sums of two.
vec2 product(vec2 a, vec2 b) {
    vec2 p = two_product(a.x, b.x);
    precise float rest = p.y + (a.x * b.y + a.y * b.x);
    return two_sum(p.x, rest);
}

// log2(x) for finite x > 0, relative to it to 2^-40.
vec2 log2_of(float x) {
    float m;
    int e = exponent_of(x, m);
    if (m > 1.41421356) {
        m *= 0.5;
        e += 1;
    }
    // log(m) = 2 artanh(s), s = f / (m + 1) with |s| < 0.1716; a division is a guess, mended by what is left of f.
    precise float f = m - 1.0;
    vec2 below = two_sum(1.0, m);
    float guess = f / below.x;
    vec2 back = two_product(guess, below.x);
    precise float left = ((f - back.x) - back.y) - guess * below.y;
    vec2 s = two_sum(guess, left / below.x);
    // artanh(s) / s = 1 + z / 3 + z^2 * (1 / 5 + z / 7 + ...), z = s^2.
    vec2 z = product(s, s);
    float series = fma(fma(fma(fma(z.x, 0.07692308, 0.09090909), z.x, 0.11111111), z.x, 0.14285715), z.x, 0.2);
    vec2 third = product(z, vec2(0.33333334, -9.934108e-9));
    vec2 ratio = two_sum(1.0, third.x);
    precise float small = ratio.y + (third.y + z.x * z.x * series);
    ratio = two_sum(ratio.x, small);
    // 2 / ln 2
    vec2 result = product(product(s, ratio), vec2(2.885390043, 3.851926e-8));
    vec2 sum = two_sum(float(e), result.x);
    precise float rest = sum.y + result.y;
    return two_sum(sum.x, rest);
}

// x^y for finite x > 0 and finite y.
float positive_power(float x, float y) {
    vec2 base = log2_of(x);
    float size = base.x * y;
    if (size > 140.0) {
        return INFINITY;
    }
    if (size < -160.0) {
        return 0.0;
    }
    vec2 t = two_product(base.x, y);
    float nearest = roundEven(t.x);
    precise float r = (t.x - nearest) + (t.y + base.y * y);
    r *= 0.6931472;
    float p = fma(fma(fma(fma(1.379047e-3, r, 8.380413e-3), r, 4.1669708e-2), r, 0.16666408), r, 0.49999985);
    return scaled(1.0 + fma(r * r, p, r), int(nearest));
}

const uint ODD = 1;
const uint EVEN = 2;

// ODD, EVEN, or 0 for what is no integer; y is finite.
uint parity(float y) {
    float a = abs(y);
    if (a >= 16777216.0) {
        return EVEN;
    }
    float whole = floor(a);
    return a != whole || (a == 0.0 && floatBitsToUint(a) != 0) ? 0 : (uint(whole) & 1u) == 1 ? ODD : EVEN;
}

// x^y with the special values of IEEE 754.
float power(float x, float y) {
    uint x_bits = floatBitsToUint(x);
    uint x_size = x_bits & 0x7fffffffu;
    uint y_size = floatBitsToUint(y) & 0x7fffffffu;
    if (y_size == 0 || x_bits == 0x3f800000u) {
        return 1.0;
    }
    if (is_nan(x) || is_nan(y)) {
        return NAN;
    }
    bool falls = floatBitsToUint(y) != y_size;
    if (y_size == 0x7f800000u) {
        return x_size == 0x3f800000u ? 1.0 : (x_size > 0x3f800000u) == falls ? 0.0 : INFINITY;
    }
    uint kind = x_bits == x_size ? EVEN : parity(y);
    float magnitude;
    if (x_size == 0 || x_size == 0x7f800000u) {
        magnitude = (x_size == 0) == falls ? INFINITY : 0.0;
    } else if (kind == 0) {
        return NAN;
    } else {
        magnitude = positive_power(uintBitsToFloat(x_size), y);
    }
    return kind == ODD ? with_sign_of(magnitude, -1.0) : magnitude;
}
