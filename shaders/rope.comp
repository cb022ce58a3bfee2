// Rotary positions, halves paired: (x[c], x[c + dim/2]) of each turned head turns by the angle of its row's position. Cosines and sines come
// from a table [positions, dim/2, 2]: the device's own are too coarse for angles of thousands.
#version 460
#include "common.glsl"

layout(push_constant) uniform Push {
    F32 x;
    F32 table;
    F32 result;
    uint count;
    uint seq;
    uint first;
    uint heads;
    uint rotate;
    uint dim;
} push;

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    uint pairs = push.dim / 2;
    // One invocation a pair.
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        uint c = i % pairs;
        uint head = i / pairs % push.heads;
        uint row = i / pairs / push.heads;
        uint at = (row * push.heads + head) * push.dim + c;
        float a = push.x.at[at];
        float b = push.x.at[at + pairs];
        if (head < push.rotate) {
            uint entry = ((push.first + row % push.seq) * pairs + c) * 2;
            float cosine = push.table.at[entry];
            float sine = push.table.at[entry + 1];
            float turned = a * cosine - b * sine;
            b = b * cosine + a * sine;
            a = turned;
        }
        push.result.at[at] = a;
        push.result.at[at + pairs] = b;
    }
}
