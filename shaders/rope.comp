// Rotary positions: pairs (c, c + pairs) of the first `rotate` heads of each row turn by position * frequency, the rest is copied.
//
// GLSL's sine is good for small angles only, and a table of all positions' sines would be large. So angles are counted in turns: those
// of one position are a fraction of 64 bits in `turns`, [pairs, (high, low)], and their product with the position, modulo whole turns,
// is exact. What is left of it is below an eighth of a turn, where short polynomials are good to an ulp.
#version 460
#include "common.glsl"

// Whether it turns back.
layout(constant_id = 1) const bool BACK = false;
// Whether rows have positions of their own.
layout(constant_id = 2) const bool OWN_POSITIONS = false;

layout(push_constant) uniform Push {
    F32 x;
    U32 turns;
    U32 positions;
    F32 result;
    uint rows;
    uint seq;
    uint first;
    uint heads;
    uint rotate;
    uint pairs;
} push;

// Heads that share the angle that an invocation computes.
const uint TOGETHER = 4;

// (cos, sin) of `fraction / 2^32` turns.
vec2 turn(uint fraction) {
    uint quarter = (fraction + 0x20000000u) >> 30;
    float a = float(int(fraction - (quarter << 30))) * 1.46291808e-9;
    float z = a * a;
    float s = fma(a * z, fma(z, fma(z, -1.9515296e-4, 8.3321609e-3), -0.16666655), a);
    float c = fma(z * z, fma(z, fma(z, 2.4433157e-5, -1.3887316e-3), 4.1666646e-2), fma(z, -0.5, 1.0));
    vec2 found = (quarter & 1u) != 0 ? vec2(-s, c) : vec2(c, s);
    return (quarter & 2u) != 0 ? -found : found;
}

void main() {
    uint chunks = (push.heads + TOGETHER - 1) / TOGETHER;
    uint count = push.rows * chunks * push.pairs;
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < count; i += stride) {
        uint c = i % push.pairs;
        uint row = i / push.pairs / chunks;
        uint head = i / push.pairs % chunks * TOGETHER;
        uint end = min(head + TOGETHER, push.heads);
        vec2 by = vec2(1.0, 0.0);
        if (head < push.rotate) {
            uint position = OWN_POSITIONS ? push.positions.at[row] : push.first + row % push.seq;
            uint carry, low;
            umulExtended(push.turns.at[2 * c + 1], position, carry, low);
            by = turn(push.turns.at[2 * c] * position + carry);
            if (BACK) {
                by.y = -by.y;
            }
        }
        for (; head < end; head++) {
            uint at = (row * push.heads + head) * 2 * push.pairs + c;
            vec2 x = vec2(push.x.at[at], push.x.at[at + push.pairs]);
            vec2 y = head < push.rotate ? vec2(x.x * by.x - x.y * by.y, x.y * by.x + x.x * by.y) : x;
            push.result.at[at] = y.x;
            push.result.at[at + push.pairs] = y.y;
        }
    }
}
