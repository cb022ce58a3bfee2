// Matrix products by tiles: a workgroup computes TILE_M x TILE_N elements of C, of which an invocation keeps REACH_M x REACH_N sums.
// Tiles of A and B go through shared memory, TILE_K deep, stored with k outermost. An element's sum goes over k in order, whatever the
// tiles are.
#include "gemm_operands.glsl"
#include "gemm_fours.glsl"
#include "gemm_order.glsl"

layout(constant_id = 2) const uint TILE_M = 64;
layout(constant_id = 3) const uint TILE_N = 64;
layout(constant_id = 4) const uint TILE_K = 16;
layout(constant_id = 5) const uint REACH_M = 8;
layout(constant_id = 6) const uint REACH_N = 4;

// Four more than a row needs: writes that turn a tile meet fewer banks twice, and rows begin at multiples of four.
const uint ROW_A = TILE_M + 4;
const uint ROW_B = TILE_N + 4;
// At the end it takes one row of sums of each invocation.
shared float tile_a[TILE_K * ROW_A];
shared float tile_b[TILE_K * ROW_B];

const uint ACROSS = TILE_N / REACH_N;
const uint DOWN = TILE_M / REACH_M;

void load_a(uint row, uint k) {
    for (uint at = gl_LocalInvocationIndex; at < TILE_M * TILE_K / 4; at += gl_WorkGroupSize.x) {
        if (TRANSPOSE_A) {
            uint i = at % (TILE_M / 4) * 4, kk = at / (TILE_M / 4);
            vec4 x = four_of_a(k + kk, row + i, push.k, push.m);
            uint to = kk * ROW_A + i;
            tile_a[to] = x.x;
            tile_a[to + 1] = x.y;
            tile_a[to + 2] = x.z;
            tile_a[to + 3] = x.w;
        } else {
            uint kk = at % (TILE_K / 4) * 4, i = at / (TILE_K / 4);
            vec4 x = four_of_a(row + i, k + kk, push.m, push.k);
            uint to = kk * ROW_A + i;
            tile_a[to] = x.x;
            tile_a[to + ROW_A] = x.y;
            tile_a[to + 2 * ROW_A] = x.z;
            tile_a[to + 3 * ROW_A] = x.w;
        }
    }
}

void load_b(uint column, uint k) {
    for (uint at = gl_LocalInvocationIndex; at < TILE_N * TILE_K / 4; at += gl_WorkGroupSize.x) {
        if (TRANSPOSE_B) {
            uint kk = at % (TILE_K / 4) * 4, j = at / (TILE_K / 4);
            vec4 x = four_of_b(column + j, k + kk, push.n, push.k);
            uint to = kk * ROW_B + j;
            tile_b[to] = x.x;
            tile_b[to + ROW_B] = x.y;
            tile_b[to + 2 * ROW_B] = x.z;
            tile_b[to + 3 * ROW_B] = x.w;
        } else {
            uint j = at % (TILE_N / 4) * 4, kk = at / (TILE_N / 4);
            vec4 x = four_of_b(k + kk, column + j, push.k, push.n);
            uint to = kk * ROW_B + j;
            tile_b[to] = x.x;
            tile_b[to + 1] = x.y;
            tile_b[to + 2] = x.z;
            tile_b[to + 3] = x.w;
        }
    }
}

// Where in its tile an invocation's i-th row or column lies: neighbours take four each, so that what they read of shared memory is
// one run.
uint place(uint i, uint own, uint invocations) {
    return (i / 4) * 4 * invocations + own * 4 + i % 4;
}

void main() {
    uint own_column = gl_LocalInvocationIndex % ACROSS;
    uint own_row = gl_LocalInvocationIndex / ACROSS;
    uint tiles_m = (push.m + TILE_M - 1) / TILE_M;
    uint tiles_n = (push.n + TILE_N - 1) / TILE_N;
    for (uint tile = gl_WorkGroupID.x; tile < tiles_m * tiles_n; tile += gl_NumWorkGroups.x) {
        uvec2 place_of_tile = in_order(tile, tiles_m, tiles_n);
        uint row = place_of_tile.x * TILE_M;
        uint column = place_of_tile.y * TILE_N;

        float sums[REACH_M * REACH_N];
        [[unroll]] for (uint s = 0; s < REACH_M * REACH_N; s++) {
            sums[s] = 0.0;
        }
        for (uint k = 0; k < push.k; k += TILE_K) {
            load_a(row, k);
            load_b(column, k);
            barrier();
            for (uint kk = 0; kk < TILE_K; kk++) {
                float a[REACH_M];
                float b[REACH_N];
                [[unroll]] for (uint i = 0; i < REACH_M; i++) {
                    a[i] = tile_a[kk * ROW_A + place(i, own_row, DOWN)];
                }
                [[unroll]] for (uint j = 0; j < REACH_N; j++) {
                    b[j] = tile_b[kk * ROW_B + place(j, own_column, ACROSS)];
                }
                [[unroll]] for (uint i = 0; i < REACH_M; i++) {
                    [[unroll]] for (uint j = 0; j < REACH_N; j++) {
                        sums[i * REACH_N + j] += a[i] * b[j];
                    }
                }
            }
            // Nobody writes the next tiles while another still reads these.
            barrier();
        }
        // A row of each invocation at a time goes through shared memory, so that neighbours finish neighbours, and their code is there
        // once. The row is chosen by comparing: sums that are found by a number would not be kept in registers.
        for (uint i = 0; i < REACH_M; i++) {
            [[unroll]] for (uint ii = 0; ii < REACH_M; ii++) {
                if (ii == i) {
                    [[unroll]] for (uint j = 0; j < REACH_N; j++) {
                        tile_a[own_row * TILE_N + place(j, own_column, ACROSS)] = sums[ii * REACH_N + j];
                    }
                }
            }
            barrier();
            for (uint at = gl_LocalInvocationIndex; at < DOWN * TILE_N; at += gl_WorkGroupSize.x) {
                finish(row + place(i, at / TILE_N, DOWN), column + at % TILE_N, tile_a[at]);
            }
            barrier();
        }
    }
}
