// Rows of a table picked by tokens. A token outside gives a row of NaN: reading outside is never right, and nobody is told here.
#version 460
#include "common.glsl"

layout(push_constant) uniform Push {
    F32 table;
    U32 tokens;
    F32 result;
    uint count;
    uint width;
    uint vocabulary;
} push;

void main() {
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        uint token = push.tokens.at[i / push.width];
        bool known = token < push.vocabulary;
        push.result.at[i] = known ? push.table.at[token * push.width + i % push.width] : uintBitsToFloat(0x7fc00000);
    }
}
