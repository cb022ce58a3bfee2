// Matrix products of f16 by cooperative matrices: a workgroup computes TILE_M x TILE_N elements of C, each of its subgroups REACH_M x REACH_N
// of them, as matrices of M x N sums in f32 that lie spread over its registers. Tiles of A and B go through shared memory as they are
// stored, TILE_K deep: what is transposed is turned while a subgroup loads its matrices. There are two tiles of each in turn: while one
// pair is multiplied, the next one is on its way.
//
// M, N and K divide REACH_M, REACH_N and TILE_K, which are multiples of 8.
#version 460
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#include "common.glsl"
#define A_HALF
#define B_HALF
#include "gemm_operands.glsl"
#include "gemm_order.glsl"

layout(constant_id = 2) const uint TILE_M = 128;
layout(constant_id = 3) const uint TILE_N = 128;
layout(constant_id = 4) const uint TILE_K = 32;
layout(constant_id = 5) const uint REACH_M = 64;
layout(constant_id = 6) const uint REACH_N = 64;
layout(constant_id = 7) const uint M = 16;
layout(constant_id = 8) const uint N = 16;
layout(constant_id = 9) const uint K = 16;

// Shared memory is of eights of f16: 16 bytes, the most that one load or store takes.
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Eights {
    uvec4 at[];
};
layout(buffer_reference, std430, buffer_reference_align = 2) readonly buffer Bits {
    uint16_t at[];
};

const uint INVOCATIONS = gl_WorkGroupSize.x;
const uint ACROSS = TILE_N / REACH_N;
const uint SUBGROUPS = TILE_M / REACH_M * ACROSS;

// A tile as it is stored: its rows, the eights of a row, and those from one row to the next in shared memory, one more: rows that are read
// at once then lie in different banks.
const uint ROWS_A = TRANSPOSE_A ? TILE_K : TILE_M;
const uint WIDE_A = (TRANSPOSE_A ? TILE_M : TILE_K) / 8;
const uint STRIDE_A = WIDE_A + 1;
const uint ROWS_B = TRANSPOSE_B ? TILE_N : TILE_K;
const uint WIDE_B = (TRANSPOSE_B ? TILE_K : TILE_N) / 8;
const uint STRIDE_B = WIDE_B + 1;
const int ORDER_A = TRANSPOSE_A ? gl_CooperativeMatrixLayoutColumnMajor : gl_CooperativeMatrixLayoutRowMajor;
const int ORDER_B = TRANSPOSE_B ? gl_CooperativeMatrixLayoutColumnMajor : gl_CooperativeMatrixLayoutRowMajor;

// Where B begins in a pair of tiles, and the length of a pair.
const uint START_B = ROWS_A * STRIDE_A;
const uint PAIR = START_B + ROWS_B * STRIDE_B;
// At the end each subgroup has a strip of M rows of its sums there, in fours of f32.
const uint STRIDE_C = REACH_N / 4 + 1;
const uint STRIP = M * STRIDE_C;
const uint STRIPS = SUBGROUPS * STRIP;
shared uvec4 tiles[STRIPS > 2 * PAIR ? STRIPS : 2 * PAIR];

// Eights of a tile that an invocation moves.
const uint MOVES_A = (ROWS_A * WIDE_A + INVOCATIONS - 1) / INVOCATIONS;
const uint MOVES_B = (ROWS_B * WIDE_B + INVOCATIONS - 1) / INVOCATIONS;
uvec4 moving_a[MOVES_A];
uvec4 moving_b[MOVES_B];

// Eight numbers of a row of a factor as it is stored, the first one's column a multiple of 8, by their bits; 0 outside.
uvec4 eight_of(Bits from, bool whole, uint stride, uint row, uint column, uint rows, uint columns) {
    uvec4 eight = uvec4(0);
    if (row < rows && column < columns) {
        uint at = row * stride + column;
        if (whole) {
            eight = Eights(from).at[at / 8];
        } else {
            // The last number there is stands in for those beyond.
            uint last = min(columns - 1 - column, 7);
            [[unroll]] for (uint i = 0; i < 4; i++) {
                uint low = uint(from.at[at + min(2 * i, last)]);
                uint high = uint(from.at[at + min(2 * i + 1, last)]);
                eight[i] = (2 * i <= last ? low : 0) | (2 * i + 1 <= last ? high << 16 : 0);
            }
        }
    }
    return eight;
}

// Asks for the tiles of A and B that begin at these numbers.
void fetch(uint row, uint column, uint k) {
    uvec2 a = TRANSPOSE_A ? uvec2(k, row) : uvec2(row, k), of_a = TRANSPOSE_A ? uvec2(push.k, push.m) : uvec2(push.m, push.k);
    uvec2 b = TRANSPOSE_B ? uvec2(column, k) : uvec2(k, column), of_b = TRANSPOSE_B ? uvec2(push.n, push.k) : uvec2(push.k, push.n);
    [[unroll]] for (uint i = 0; i < MOVES_A; i++) {
        uint at = i * INVOCATIONS + gl_LocalInvocationIndex;
        uvec2 place = a + uvec2(at / WIDE_A, at % WIDE_A * 8);
        moving_a[i] = eight_of(Bits(push.a), WHOLE_A, push.stride_a, place.x, place.y, of_a.x, of_a.y);
    }
    [[unroll]] for (uint i = 0; i < MOVES_B; i++) {
        uint at = i * INVOCATIONS + gl_LocalInvocationIndex;
        uvec2 place = b + uvec2(at / WIDE_B, at % WIDE_B * 8);
        moving_b[i] = eight_of(Bits(push.b), WHOLE_B, push.stride_b, place.x, place.y, of_b.x, of_b.y);
    }
}

// Puts them into shared memory, where a pair begins.
void put(uint pair) {
    [[unroll]] for (uint i = 0; i < MOVES_A; i++) {
        uint at = i * INVOCATIONS + gl_LocalInvocationIndex;
        if (ROWS_A * WIDE_A % INVOCATIONS == 0 || at < ROWS_A * WIDE_A) {
            tiles[pair + at / WIDE_A * STRIDE_A + at % WIDE_A] = moving_a[i];
        }
    }
    [[unroll]] for (uint i = 0; i < MOVES_B; i++) {
        uint at = i * INVOCATIONS + gl_LocalInvocationIndex;
        if (ROWS_B * WIDE_B % INVOCATIONS == 0 || at < ROWS_B * WIDE_B) {
            tiles[pair + START_B + at / WIDE_B * STRIDE_B + at % WIDE_B] = moving_b[i];
        }
    }
}

// Where in its pair the matrix of A lies whose first row is `i` and first column `k`, and that of B, `k` and `j`.
uint place_of_a(uint i, uint k) {
    return TRANSPOSE_A ? k * STRIDE_A + i / 8 : i * STRIDE_A + k / 8;
}

uint place_of_b(uint k, uint j) {
    return START_B + (TRANSPOSE_B ? j * STRIDE_B + k / 8 : k * STRIDE_B + j / 8);
}

const uint MANY_M = REACH_M / M;
const uint MANY_N = REACH_N / N;

void main() {
    uint own_row = gl_SubgroupID / ACROSS * REACH_M;
    uint own_column = gl_SubgroupID % ACROSS * REACH_N;
    uint tiles_m = (push.m + TILE_M - 1) / TILE_M;
    uint tiles_n = (push.n + TILE_N - 1) / TILE_N;
    for (uint tile = gl_WorkGroupID.x; tile < tiles_m * tiles_n; tile += gl_NumWorkGroups.x) {
        uvec2 place_of_tile = in_order(tile, tiles_m, tiles_n);
        uint row = place_of_tile.x * TILE_M;
        uint column = place_of_tile.y * TILE_N;

        coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[MANY_M * MANY_N];
        [[unroll]] for (uint s = 0; s < MANY_M * MANY_N; s++) {
            sums[s] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
        }
        fetch(row, column, 0);
        put(0);
        uint pair = 0;
        for (uint k = 0; k < push.k; k += TILE_K) {
            // This pair is there, and nobody reads the other one any more.
            barrier();
            bool more = TILE_K < push.k - k;
            if (more) fetch(row, column, k + TILE_K);
            // No register is found by kk, so whether it is unrolled is the driver's choice.
            for (uint kk = 0; kk < TILE_K; kk += K) {
                coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a[MANY_M];
                [[unroll]] for (uint i = 0; i < MANY_M; i++) {
                    coopMatLoad(a[i], tiles, pair + place_of_a(own_row + i * M, kk), STRIDE_A, ORDER_A);
                }
                [[unroll]] for (uint j = 0; j < MANY_N; j++) {
                    coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
                    coopMatLoad(b, tiles, pair + place_of_b(kk, own_column + j * N), STRIDE_B, ORDER_B);
                    [[unroll]] for (uint i = 0; i < MANY_M; i++) {
                        sums[i * MANY_N + j] = coopMatMulAdd(a[i], b, sums[i * MANY_N + j]);
                    }
                }
            }
            pair = PAIR - pair;
            if (more) put(pair);
        }
        // A row of matrices of each subgroup at a time goes through shared memory, so that neighbours finish neighbours, and their code is
        // there once. The row is chosen by comparing: matrices that are found by a number would not be kept in registers.
        for (uint i = 0; i < MANY_M; i++) {
            barrier();
            [[unroll]] for (uint ii = 0; ii < MANY_M; ii++) {
                if (ii == i) {
                    [[unroll]] for (uint j = 0; j < MANY_N; j++) {
                        uint to = gl_SubgroupID * STRIP + j * N / 4;
                        coopMatStore(sums[ii * MANY_N + j], tiles, to, STRIDE_C, gl_CooperativeMatrixLayoutRowMajor);
                    }
                }
            }
            barrier();
            for (uint at = gl_LocalInvocationIndex; at < SUBGROUPS * M * REACH_N; at += INVOCATIONS) {
                uint subgroup = at / (M * REACH_N), r = at / REACH_N % M, c = at % REACH_N;
                uint sum = tiles[subgroup * STRIP + r * STRIDE_C + c / 4][c % 4];
                uint first_row = subgroup / ACROSS * REACH_M + i * M, first_column = subgroup % ACROSS * REACH_N;
                finish(row + first_row + r, column + first_column + c, uintBitsToFloat(sum));
            }
        }
        // Nobody writes the next tiles while another still reads these.
        barrier();
    }
}
