// Attention of a tile of 16 query rows by online softmax over tiles of 32 keys in shared memory, each read once for all of them. A workgroup a
// (query tile, head, batch); eight invocations share a query: its scores, and then the numbers of its output.
#include "math.glsl"
#include "attention_push.glsl"

// The width of a head, so that shared memory is no larger than it must be.
layout(constant_id = 2) const uint DIM = 64;

const uint QUERIES = 16;
const uint KEYS = 32;
const uint SHARE = 8;
const uint INVOCATIONS = QUERIES * SHARE;
// One number more a row, so that neighbouring rows begin in different banks.
const uint PITCH = DIM + 1;
const uint OWN = (DIM + SHARE - 1) / SHARE;

shared float tile_q[QUERIES * PITCH];
// Keys, then values.
shared float tile_kv[KEYS * PITCH];
shared float weights[QUERIES * (KEYS + 1)];
shared float maxima[INVOCATIONS];
shared float sums[INVOCATIONS];

// NaN where any is: a comparison would lose it.
float larger(float a, float b) {
    return is_nan(a) || a > b ? a : b;
}

void main() {
    uint lane = gl_LocalInvocationID.x;
    uint mine = lane / SHARE;
    uint side = lane % SHARE;
    uint first_query = gl_WorkGroupID.x * QUERIES;
    uint head = gl_WorkGroupID.y;
    uint batch = gl_WorkGroupID.z;
    uint from_q = batch * push.seq_q + head * DIM;
    uint from_kv = batch * push.seq_kv + head / push.group * DIM;
    for (uint i = lane; i < QUERIES * DIM; i += INVOCATIONS) {
        uint row = first_query + i / DIM;
        float q = 0.0;
        if (row < push.queries) {
            q = float(push.q.at[from_q + row * push.row_q + i % DIM]) * push.scale;
        }
        tile_q[i / DIM * PITCH + i % DIM] = q;
    }
    uint query = first_query + mine;
    uint visible = query < push.queries ? visible_of(query) : 0;
    uint last = visible_of(min(first_query + QUERIES, push.queries) - 1);
    float most = -INFINITY;
    float total = 0.0;
    float sum[OWN];
    for (uint j = 0; j < OWN; j++) {
        sum[j] = 0.0;
    }
    for (uint first = 0; first < last; first += KEYS) {
        // The tile before was read, and the queries are written.
        barrier();
        for (uint i = lane; i < KEYS * DIM; i += INVOCATIONS) {
            uint key = first + i / DIM;
            float k = 0.0;
            if (key < push.keys) {
                k = float(push.k.at[from_kv + key * push.row_kv + i % DIM]);
            }
            tile_kv[i / DIM * PITCH + i % DIM] = k;
        }
        barrier();
        float score[KEYS / SHARE];
        float here = -INFINITY;
        for (uint j = 0; j < KEYS / SHARE; j++) {
            uint key = side + SHARE * j;
            score[j] = -INFINITY;
            if (first + key < visible) {
                float dot = 0.0;
                for (uint d = 0; d < DIM; d++) {
                    dot = fma(tile_q[mine * PITCH + d], tile_kv[key * PITCH + d], dot);
                }
                score[j] = dot;
            }
            here = larger(here, score[j]);
        }
        maxima[lane] = here;
        // Keys were read: values may take their place.
        barrier();
        float now = most;
        for (uint s = 0; s < SHARE; s++) {
            now = larger(now, maxima[mine * SHARE + s]);
        }
        float shift = now == -INFINITY ? 0.0 : now;
        float part = 0.0;
        for (uint j = 0; j < KEYS / SHARE; j++) {
            uint key = side + SHARE * j;
            float weight = first + key < visible ? exponential_or_nan(score[j] - shift) : 0.0;
            weights[mine * (KEYS + 1) + key] = weight;
            part += weight;
        }
        sums[lane] = part;
        for (uint i = lane; i < KEYS * DIM; i += INVOCATIONS) {
            uint key = first + i / DIM;
            float v = 0.0;
            if (key < push.keys) {
                v = float(push.v.at[from_kv + key * push.row_kv + i % DIM]);
            }
            tile_kv[i / DIM * PITCH + i % DIM] = v;
        }
        barrier();
        float keep = most == -INFINITY ? 0.0 : exponential_or_nan(most - shift);
        float added = 0.0;
        for (uint s = 0; s < SHARE; s++) {
            added += sums[mine * SHARE + s];
        }
        total = total * keep + added;
        most = now;
        // What is hidden may be anything, infinite or no number: it is not touched.
        uint count = visible > first ? min(KEYS, visible - first) : 0;
        for (uint j = 0; j < OWN; j++) {
            uint d = side + SHARE * j;
            if (d < DIM) {
                float y = sum[j] * keep;
                for (uint key = 0; key < count; key++) {
                    y = fma(weights[mine * (KEYS + 1) + key], tile_kv[key * PITCH + d], y);
                }
                sum[j] = y;
            }
        }
    }
    if (query < push.queries) {
        uint to = batch * push.seq_out + query * push.row_out + head * DIM;
        for (uint j = 0; j < OWN; j++) {
            uint d = side + SHARE * j;
            if (d < DIM) {
                push.result.at[to + d] = total == 0.0 ? 0.0 : sum[j] / total;
            }
        }
    }
}
