// Rows of numbers, LANES invocations a row and WORKGROUP / LANES rows a workgroup; the columns of an invocation are `lane`, `lane + LANES`, ...
// in every pass. A row of at most LANES * PER columns is read once and kept; a longer one (STREAMED) is read again in each pass.
//
// The order of a sum follows from LANES, PER and the columns, which follow from the columns and the size of a workgroup alone (`Rows` of
// vulkan/src/kernels/rows.rs).

layout(constant_id = 1) const uint OP = 0;
layout(constant_id = 2) const uint LANES = 128;
layout(constant_id = 3) const uint PER = 1;
layout(constant_id = 4) const bool STREAMED = false;

// A power of two.
const uint WORKGROUP = gl_WorkGroupSize.x;

shared vec2 sums[WORKGROUP];
shared uint keys[WORKGROUP];

uint lane() {
    return gl_LocalInvocationIndex % LANES;
}

// The sums over the lanes of each row, as a tree. All invocations of the workgroup come here.
vec2 row_sums(vec2 x) {
    uint at = gl_LocalInvocationIndex;
    sums[at] = x;
    barrier();
    for (uint rest = LANES / 2; rest > 0; rest /= 2) {
        if (lane() < rest) {
            sums[at] += sums[at + rest];
        }
        barrier();
    }
    vec2 sum = sums[at - lane()];
    barrier();
    return sum;
}

float row_sum(float x) {
    return row_sums(vec2(x, 0.0)).x;
}

// The largest key of each row.
uint row_largest(uint key) {
    uint at = gl_LocalInvocationIndex;
    keys[at] = key;
    barrier();
    for (uint rest = LANES / 2; rest > 0; rest /= 2) {
        if (lane() < rest) {
            keys[at] = max(keys[at], keys[at + rest]);
        }
        barrier();
    }
    uint largest = keys[at - lane()];
    barrier();
    return largest;
}

// Keys are ordered as their numbers, with NaN above all: so no comparison of floats sees a NaN, and -0 is below 0.
const uint KEY_OF_NAN = 0xffffffffu;
// Of negative infinity.
const uint KEY_OF_LEAST = 0x007fffffu;
// Of infinity.
const uint KEY_OF_MOST = 0xff800000u;

uint key_of(float x) {
    uint bits = floatBitsToUint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return KEY_OF_NAN;
    }
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

float of_key(uint key) {
    if (key == KEY_OF_NAN) {
        return uintBitsToFloat(0x7fc00000u);
    }
    return uintBitsToFloat((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}
