// Matrix products with ROWS rows at most, as when one token is decoded: B is read once, in whole runs, and every number of it meets all
// rows of A. Sums over k are shared out among LANES invocations and four partial sums each, and folded in a fixed tree.
#include "gemm_operands.glsl"
#include "gemm_fours.glsl"

// 1, 2, 4 or 8: at 8 the partial sums of 128 invocations take the 16 KiB of shared memory that every device has.
layout(constant_id = 2) const uint ROWS = 1;
// Invocations that share one column where k runs along the rows of B, else four columns: a power of two, as is the size of a workgroup.
layout(constant_id = 3) const uint LANES = 16;

const uint INVOCATIONS = gl_WorkGroupSize.x;
const uint COLUMNS = TRANSPOSE_B ? INVOCATIONS / LANES : INVOCATIONS / LANES * 4;
// From one invocation to the next one of the same column.
const uint APART = TRANSPOSE_B ? 1 : INVOCATIONS / LANES;
// Numbers of k that an invocation takes at once, and how many loads of B are under way at once.
const uint STEP = TRANSPOSE_B ? 4 : 1;
const uint AHEAD = ROWS < 4 ? 4 : 2;

shared vec4 partial[ROWS * INVOCATIONS];

// Four numbers of op(A) along k, 0 beyond.
vec4 along_k(uint row, uint k) {
    if (!TRANSPOSE_A) {
        return four_of_a(row, k, push.m, push.k);
    }
    vec4 x = vec4(0.0);
    if (row < push.m && k < push.k) {
        uint last = min(push.k - 1 - k, 3);
        uint at = k * push.stride_a + row;
        x = vec4(
            float(push.a.at[at]), float(push.a.at[at + min(last, 1) * push.stride_a]),
            float(push.a.at[at + min(last, 2) * push.stride_a]), float(push.a.at[at + last * push.stride_a])
        );
        x = mix(vec4(0.0), x, lessThanEqual(uvec4(0, 1, 2, 3), uvec4(last)));
    }
    return x;
}

vec4 of_a(uint row, uint k) {
    if (TRANSPOSE_B) {
        return along_k(row, k);
    }
    if (row < push.m && k < push.k) {
        return vec4(float(push.a.at[TRANSPOSE_A ? k * push.stride_a + row : row * push.stride_a + k]));
    }
    return vec4(0.0);
}

void main() {
    uint own = gl_LocalInvocationIndex;
    uint lane = TRANSPOSE_B ? own % LANES : own / APART;
    for (uint first = gl_WorkGroupID.x * COLUMNS; first < push.n; first += gl_NumWorkGroups.x * COLUMNS) {
        uint column = first + (TRANSPOSE_B ? own / LANES : own % APART * 4);
        vec4 sums[ROWS];
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            sums[r] = vec4(0.0);
        }
        for (uint start = lane * STEP; start < push.k; start += LANES * STEP * AHEAD) {
            vec4 b[AHEAD];
            [[unroll]] for (uint u = 0; u < AHEAD; u++) {
                uint k = start + u * LANES * STEP;
                b[u] = TRANSPOSE_B ? four_of_b(column, k, push.n, push.k) : four_of_b(k, column, push.k, push.n);
            }
            [[unroll]] for (uint u = 0; u < AHEAD; u++) {
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    sums[r] += of_a(r, start + u * LANES * STEP) * b[u];
                }
            }
        }
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            partial[r * INVOCATIONS + own] = sums[r];
        }
        barrier();
        for (uint half_of = LANES / 2; half_of > 0; half_of /= 2) {
            if (lane < half_of) {
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    partial[r * INVOCATIONS + own] += partial[r * INVOCATIONS + own + half_of * APART];
                }
            }
            barrier();
        }
        for (uint at = own; at < ROWS * COLUMNS; at += INVOCATIONS) {
            uint row = at / COLUMNS, j = at % COLUMNS;
            if (TRANSPOSE_B) {
                vec4 sum = partial[row * INVOCATIONS + j * LANES];
                finish(row, first + j, (sum.x + sum.y) + (sum.z + sum.w));
            } else {
                finish(row, first + j, partial[row * INVOCATIONS + j / 4][j % 4]);
            }
        }
        // Nobody writes the next sums while another still reads these.
        barrier();
    }
}
