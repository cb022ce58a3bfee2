// Attention of one query row by online softmax over tiles of keys. A workgroup a (query, head, batch): for few queries, as in decoding.
#include "math.glsl"
#include "workgroup.glsl"

#include "attention_push.glsl"

// The widest head, as the host has it; two numbers of the output an invocation.
const uint WIDEST = 256;

shared float query[WIDEST];
shared float weights[gl_WorkGroupSize.x];

void main() {
    uint lane = gl_LocalInvocationID.x;
    uint i = gl_WorkGroupID.x;
    uint head = gl_WorkGroupID.y;
    uint batch = gl_WorkGroupID.z;
    uint from_q = batch * push.seq_q + i * push.row_q + head * push.dim;
    uint from_kv = batch * push.seq_kv + head / push.group * push.dim;
    for (uint d = lane; d < push.dim; d += WORKGROUP) {
        query[d] = float(push.q.at[from_q + d]) * push.scale;
    }
    barrier();
    uint visible = visible_of(i);
    float most = -INFINITY;
    float total = 0.0;
    float low = 0.0;
    float high = 0.0;
    for (uint first = 0; first < visible; first += WORKGROUP) {
        uint key = first + lane;
        float score = -INFINITY;
        if (key < visible) {
            uint at = from_kv + key * push.row_kv;
            score = 0.0;
            for (uint d = 0; d < push.dim; d++) {
                score = fma(query[d], float(push.k.at[at + d]), score);
            }
        }
        float now = larger(most, workgroup_max(score));
        float shift = now == -INFINITY ? 0.0 : now;
        float weight = key < visible ? exponential_or_nan(score - shift) : 0.0;
        weights[lane] = weight;
        float keep = most == -INFINITY ? 0.0 : exponential_or_nan(most - shift);
        total = total * keep + workgroup_sum(weight);
        low *= keep;
        high *= keep;
        most = now;
        uint count = min(WORKGROUP, visible - first);
        for (uint j = 0; j < count; j++) {
            uint at = from_kv + (first + j) * push.row_kv + lane;
            if (lane < push.dim) {
                low = fma(weights[j], float(push.v.at[at]), low);
            }
            if (lane + WORKGROUP < push.dim) {
                high = fma(weights[j], float(push.v.at[at + WORKGROUP]), high);
            }
        }
        barrier();
    }
    uint to = batch * push.seq_out + i * push.row_out + head * push.dim + lane;
    if (lane < push.dim) {
        push.result.at[to] = total == 0.0 ? 0.0 : low / total;
    }
    if (lane + WORKGROUP < push.dim) {
        push.result.at[to + WORKGROUP] = total == 0.0 ? 0.0 : high / total;
    }
}
