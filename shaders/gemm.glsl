// C = act(scale * op(A) * op(B) + bias) + residual, or that added to C. A workgroup makes a tile of 64 x 128 of C from tiles of A and B in
// shared memory, an invocation 8 x 8 of it in registers.
#include "math.glsl"
#include "activation.glsl"

layout(constant_id = 1) const bool TRANSPOSE_A = false;
layout(constant_id = 2) const bool TRANSPOSE_B = false;
layout(constant_id = 3) const uint ACTIVATION = 0;
layout(constant_id = 4) const bool BIAS = false;
layout(constant_id = 5) const bool RESIDUAL = false;
layout(constant_id = 6) const bool ADD = false;

#include "gemm_push.glsl"

const uint ROWS = 64;
const uint COLS = 128;
const uint DEPTH = 16;
// Invocations, as the host has it: 8 x 16 of them, 8 x 8 numbers each.
const uint INVOCATIONS = 128;

// One number more a row, so that writes of a transposed tile meet different banks.
shared float tile_a[DEPTH][ROWS + 1];
shared float tile_b[DEPTH][COLS + 1];

void main() {
    uint lane = gl_LocalInvocationID.x;
    uint row0 = gl_WorkGroupID.y * ROWS;
    uint col0 = gl_WorkGroupID.x * COLS;
    uint tx = lane % 16;
    uint ty = lane / 16;
    float sum[8][8];
    for (uint i = 0; i < 8; i++) {
        for (uint j = 0; j < 8; j++) {
            sum[i][j] = 0.0;
        }
    }
    for (uint k0 = 0; k0 < push.k; k0 += DEPTH) {
        for (uint i = lane; i < ROWS * DEPTH; i += INVOCATIONS) {
            // Neighbours read neighbours, whichever way A lies.
            uint r = TRANSPOSE_A ? i % ROWS : i / DEPTH;
            uint d = TRANSPOSE_A ? i / ROWS : i % DEPTH;
            bool inside = row0 + r < push.m && k0 + d < push.k;
            uint at = TRANSPOSE_A ? (k0 + d) * push.lda + row0 + r : (row0 + r) * push.lda + k0 + d;
            tile_a[d][r] = inside ? push.a.at[at] : 0.0;
        }
        for (uint i = lane; i < COLS * DEPTH; i += INVOCATIONS) {
            uint c = TRANSPOSE_B ? i / DEPTH : i % COLS;
            uint d = TRANSPOSE_B ? i % DEPTH : i / COLS;
            bool inside = col0 + c < push.n && k0 + d < push.k;
            uint at = TRANSPOSE_B ? (col0 + c) * push.ldb + k0 + d : (k0 + d) * push.ldb + col0 + c;
            tile_b[d][c] = inside ? float(push.b.at[at]) : 0.0;
        }
        barrier();
        for (uint d = 0; d < DEPTH; d++) {
            float b[8];
            for (uint j = 0; j < 8; j++) {
                b[j] = tile_b[d][tx + 16 * j];
            }
            for (uint i = 0; i < 8; i++) {
                float a = tile_a[d][ty * 8 + i];
                for (uint j = 0; j < 8; j++) {
                    sum[i][j] = fma(a, b[j], sum[i][j]);
                }
            }
        }
        barrier();
    }
    for (uint i = 0; i < 8; i++) {
        for (uint j = 0; j < 8; j++) {
            uint r = row0 + ty * 8 + i;
            uint c = col0 + tx + 16 * j;
            if (r < push.m && c < push.n) {
                store(r, c, sum[i][j]);
            }
        }
    }
}
