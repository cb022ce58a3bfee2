// After math.glsl: what attention is given. Rows of q, k, v and out lie `row_*` numbers apart, sequences `seq_*`; heads lie `dim` apart.
layout(push_constant) uniform Push {
    STORED q;
    STORED k;
    STORED v;
    F32 result;
    uint queries;
    uint keys;
    uint heads;
    uint group;
    uint dim;
    uint row_q;
    uint row_kv;
    uint row_out;
    uint seq_q;
    uint seq_kv;
    uint seq_out;
    float scale;
} push;

layout(constant_id = 1) const bool CAUSAL = false;

// NaN stays.
float exponential_or_nan(float x) {
    return is_nan(x) ? x : exponential(x);
}

// How many keys, from the first, query i sees: where causal, the queries are the last of the keys, and those before the first key see nothing.
uint visible_of(uint i) {
    if (!CAUSAL) {
        return push.keys;
    }
    return push.keys + i + 1 > push.queries ? push.keys + i + 1 - push.queries : 0;
}
