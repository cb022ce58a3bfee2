// result[r] = table[tokens[r]], rows of `width`; a row of NaN where there is no such token. `TABLE` and `TABLE_AT` say what the table is.

layout(push_constant) uniform Push {
    TABLE table;
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
        float value = uintBitsToFloat(0x7fc00000u);
        if (token < push.vocabulary) {
            value = TABLE_AT(token * push.width + i % push.width);
        }
        push.result.at[i] = value;
    }
}
