// Activations by number, as `Activation` of upbeat_kernels: identity, exact GELU, GELU by tanh, SiLU, ReLU.

// erfc with a relative error of 1.2e-7 where it is not denormal (Press et al., Numerical Recipes, 6.2), f32's rounding besides.
float erfc(float x) {
    float z = abs(x);
    float t = 1.0 / (1.0 + 0.5 * z);
    float p = -z * z - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
        + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
    float r = t * exp(p);
    return x >= 0.0 ? r : 2.0 - r;
}

// 0 where the exponential would be infinite: of that some drivers make NaN.
float sigmoid(float x) {
    return x < -88.0 ? 0.0 : 1.0 / (1.0 + exp(-x));
}

// x where the gate is open, 0 where it is shut: -inf times 0 is no number.
float gated(float x, float gate) {
    return gate == 0.0 ? 0.0 : x * gate;
}

float activated(uint activation, float x) {
    switch (activation) {
        case 1: return gated(x, 0.5 * erfc(-0.70710678118654752 * x));
        // (1 + tanh u) / 2 = sigmoid(2u)
        case 2: return gated(x, sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x)));
        case 3: return gated(x, sigmoid(x));
        case 4: return x < 0.0 ? 0.0 : x;
        default: return x;
    }
}
