// A step of conformal Ricci flow on a periodic grid: w_t = lap log w. An invocation a cell.
#version 460
#include "common.glsl"

layout(push_constant) uniform Push {
    F32 w;
    F32 next;
    uint rows;
    uint cols;
    float rate;
} push;

void main() {
    uint x = gl_GlobalInvocationID.x;
    if (x >= push.cols) {
        return;
    }
    uint left = x == 0 ? push.cols - 1 : x - 1;
    uint right = x + 1 == push.cols ? 0 : x + 1;
    for (uint y = gl_WorkGroupID.y; y < push.rows; y += gl_NumWorkGroups.y) {
        uint row = y * push.cols;
        uint above = (y == 0 ? push.rows - 1 : y - 1) * push.cols;
        uint below = (y + 1 == push.rows ? 0 : y + 1) * push.cols;
        float w = push.w.at[row + x];
        // Logarithms of ratios: near 1 a device's logarithm is exact to 5e-7 and no better, but small differences are kept.
        float across = log(push.w.at[row + left] / w) + log(push.w.at[row + right] / w);
        float along = log(push.w.at[above + x] / w) + log(push.w.at[below + x] / w);
        push.next.at[row + x] = fma(push.rate, across + along, w);
    }
}
