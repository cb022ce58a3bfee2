// LayerNorm (kind 0) and RMSNorm (kind 1) of rows: two passes, mean before variance. A workgroup a row.
#version 460
#include "common.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const uint KIND = 0;
layout(constant_id = 2) const bool BIAS = false;

layout(push_constant) uniform Push {
    F32 x;
    F32 weight;
    F32 bias;
    F32 result;
    uint rows;
    uint cols;
    float epsilon;
} push;

void main() {
    uint lane = gl_LocalInvocationID.x;
    for (uint row = gl_WorkGroupID.x; row < push.rows; row += gl_NumWorkGroups.x) {
        uint from = row * push.cols;
        float mean = 0.0;
        if (KIND == 0) {
            for (uint c = lane; c < push.cols; c += WORKGROUP) {
                mean += push.x.at[from + c];
            }
            mean = workgroup_sum(mean) / float(push.cols);
        }
        float squares = 0.0;
        for (uint c = lane; c < push.cols; c += WORKGROUP) {
            float d = push.x.at[from + c] - mean;
            squares += d * d;
        }
        float deviation = sqrt(workgroup_sum(squares) / float(push.cols) + push.epsilon);
        for (uint c = lane; c < push.cols; c += WORKGROUP) {
            float y = (push.x.at[from + c] - mean) / deviation * push.weight.at[c];
            push.result.at[from + c] = BIAS ? y + push.bias.at[c] : y;
        }
    }
}
