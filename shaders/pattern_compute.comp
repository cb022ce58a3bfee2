// A step of the Gray-Scott reaction on a periodic grid: u_t = D_u lap u - u v^2 + F (1 - u), v_t = D_v lap v + u v^2 - (F + k) v. An invocation a cell;
// the sums are those of the CPU's kernel, such that (1, 0) stays what it is.
#version 460
#include "common.glsl"

layout(push_constant) uniform Push {
    F32 u;
    F32 v;
    F32 next_u;
    F32 next_v;
    uint rows;
    uint cols;
    float rate_u;
    float rate_v;
    float feed;
    float kept;
    float drain;
    float dt;
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
        float u = push.u.at[row + x];
        float v = push.v.at[row + x];
        float lap_u = ((push.u.at[row + left] + push.u.at[row + right]) + (push.u.at[above + x] + push.u.at[below + x])) - 4.0 * u;
        float lap_v = ((push.v.at[row + left] + push.v.at[row + right]) + (push.v.at[above + x] + push.v.at[below + x])) - 4.0 * v;
        float reaction = u * v * v;
        push.next_u.at[row + x] = fma(-push.dt, reaction, fma(push.rate_u, lap_u, fma(push.kept, u, push.feed)));
        push.next_v.at[row + x] = fma(push.dt, reaction, fma(push.rate_v, lap_v, fma(push.drain, v, v)));
    }
}
