// After math.glsl: sums and maxima over a workgroup of a power of two of invocations, in a fixed tree: the same bits whatever runs when.
const uint WORKGROUP = gl_WorkGroupSize.x;

shared float tree[gl_WorkGroupSize.x];

float workgroup_sum(float x) {
    uint lane = gl_LocalInvocationID.x;
    tree[lane] = x;
    barrier();
    for (uint half_width = WORKGROUP / 2; half_width > 0; half_width /= 2) {
        if (lane < half_width) {
            tree[lane] += tree[lane + half_width];
        }
        barrier();
    }
    float sum = tree[0];
    barrier();
    return sum;
}

// NaN where any is: a comparison would lose it.
float larger(float a, float b) {
    return is_nan(a) || a > b ? a : b;
}

float workgroup_max(float x) {
    uint lane = gl_LocalInvocationID.x;
    tree[lane] = x;
    barrier();
    for (uint half_width = WORKGROUP / 2; half_width > 0; half_width /= 2) {
        if (lane < half_width) {
            tree[lane] = larger(tree[lane], tree[lane + half_width]);
        }
        barrier();
    }
    float most = tree[0];
    barrier();
    return most;
}
