// A number for each row: its sum (0), its largest (1), its smallest (2). A workgroup a row, a fixed tree. Rows are `cols` numbers of `count`; the last
// one may be shorter.
#version 460
#include "common.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const uint OP = 0;

layout(push_constant) uniform Push {
    F32 x;
    F32 result;
    uint count;
    uint rows;
    uint cols;
} push;

const float INFINITY = uintBitsToFloat(0x7f800000);

void main() {
    uint lane = gl_LocalInvocationID.x;
    for (uint row = gl_WorkGroupID.x; row < push.rows; row += gl_NumWorkGroups.x) {
        uint from = row * push.cols;
        uint cols = min(push.cols, push.count - from);
        float y = OP == 0 ? 0.0 : -INFINITY;
        for (uint c = lane; c < cols; c += WORKGROUP) {
            float x = push.x.at[from + c];
            y = OP == 0 ? y + x : larger(y, OP == 1 ? x : -x);
        }
        y = OP == 0 ? workgroup_sum(y) : workgroup_max(y);
        if (lane == 0) {
            push.result.at[row] = OP == 2 ? -y : y;
        }
    }
}
