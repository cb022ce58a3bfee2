// gemm.comp's product for few rows, where the device waits for B alone: each number of B is read once a row, neighbours by neighbours. With B
// transposed a workgroup sums one column of C over k; else it sums 32 columns, each over slices of k.
#include "math.glsl"
#include "workgroup.glsl"
#include "activation.glsl"

layout(constant_id = 1) const bool TRANSPOSE_A = false;
layout(constant_id = 2) const bool TRANSPOSE_B = false;
layout(constant_id = 3) const uint ACTIVATION = 0;
layout(constant_id = 4) const bool BIAS = false;
layout(constant_id = 5) const bool RESIDUAL = false;
layout(constant_id = 6) const bool ADD = false;

#include "gemm_push.glsl"

const uint COLS = 32;

float element_a(uint row, uint k) {
    return push.a.at[TRANSPOSE_A ? k * push.lda + row : row * push.lda + k];
}

void main() {
    uint lane = gl_LocalInvocationID.x;
    uint row = gl_WorkGroupID.y;
    if (TRANSPOSE_B) {
        for (uint col = gl_WorkGroupID.x; col < push.n; col += gl_NumWorkGroups.x) {
            float sum = 0.0;
            for (uint k = lane; k < push.k; k += WORKGROUP) {
                sum = fma(element_a(row, k), float(push.b.at[col * push.ldb + k]), sum);
            }
            sum = workgroup_sum(sum);
            if (lane == 0) {
                store(row, col, sum);
            }
        }
    } else {
        uint slices = WORKGROUP / COLS;
        for (uint col0 = gl_WorkGroupID.x * COLS; col0 < push.n; col0 += gl_NumWorkGroups.x * COLS) {
            uint col = col0 + lane % COLS;
            float sum = 0.0;
            if (col < push.n) {
                for (uint k = lane / COLS; k < push.k; k += slices) {
                    sum = fma(element_a(row, k), float(push.b.at[k * push.ldb + col]), sum);
                }
            }
            tree[lane] = sum;
            barrier();
            if (lane < COLS && col < push.n) {
                for (uint slice = 1; slice < slices; slice++) {
                    sum += tree[slice * COLS + lane];
                }
                store(row, col, sum);
            }
            barrier();
        }
    }
}
