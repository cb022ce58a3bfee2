// Softmax of rows, each shifted by its largest number; a row of -inf alone gives zeros. A workgroup a row.
#version 460
#include "common.glsl"
#include "workgroup.glsl"

layout(push_constant) uniform Push {
    F32 x;
    F32 result;
    uint rows;
    uint cols;
} push;

const float INFINITY = uintBitsToFloat(0x7f800000);

void main() {
    uint lane = gl_LocalInvocationID.x;
    for (uint row = gl_WorkGroupID.x; row < push.rows; row += gl_NumWorkGroups.x) {
        uint from = row * push.cols;
        float most = -INFINITY;
        for (uint c = lane; c < push.cols; c += WORKGROUP) {
            most = larger(most, push.x.at[from + c]);
        }
        most = workgroup_max(most);
        float shift = most == -INFINITY ? 0.0 : most;
        float sum = 0.0;
        for (uint c = lane; c < push.cols; c += WORKGROUP) {
            sum += exp(push.x.at[from + c] - shift);
        }
        sum = workgroup_sum(sum);
        float factor = sum == 0.0 ? 0.0 : 1.0 / sum;
        for (uint c = lane; c < push.cols; c += WORKGROUP) {
            push.result.at[from + c] = exp(push.x.at[from + c] - shift) * factor;
        }
    }
}
