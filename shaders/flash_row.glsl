// Attention of few queries, as generation has them: a workgroup takes one query of one head. Its keys are dealt out to groups of
// LANES invocations, which read a key and its value together; each group keeps a softmax of its own, and in the end all are merged,
// in their order.
#include "flash.glsl"

// Invocations of a group: a power of two that divides those of the workgroup.
layout(constant_id = 3) const uint LANES = 16;

const uint INVOCATIONS = gl_WorkGroupSize.x;
const uint GROUPS = INVOCATIONS / LANES;
// Keys that a group takes at a time: their loads are under way together.
const uint SPAN = 8;
// Fours of a vector that an invocation has.
const uint OWN = (FOURS + LANES - 1) / LANES;

shared float parts[GROUPS * SPAN * (LANES + 1)];
shared float logits[GROUPS * SPAN];
shared float tops[GROUPS];
shared float totals[GROUPS];
shared vec4 sums_of[GROUPS * FOURS];

void attend(uint sequence, uint head, uint i) {
    uint lane = gl_LocalInvocationIndex % LANES;
    uint group = gl_LocalInvocationIndex / LANES;
    uint kv_head = head / SHARED_BY;
    uint q = sequence * push.q_sequence + head * push.q_head + i * push.q_row;
    uint k = sequence * push.k_sequence + kv_head * push.k_head;
    uint v = sequence * push.v_sequence + kv_head * push.v_head;
    uint seen = seen_by(i);
    vec4 own[OWN];
    vec4 sums[OWN];
    [[unroll]] for (uint j = 0; j < OWN; j++) {
        uint c = lane + LANES * j;
        own[j] = c < FOURS ? query(q, c) : vec4(0);
        sums[j] = vec4(0);
    }
    float largest = LOWEST;
    float total = 0;

    for (uint from = 0; from < seen; from += GROUPS * SPAN) {
        [[unroll]] for (uint n = 0; n < SPAN; n++) {
            uint key = from + n * GROUPS + group;
            float sum = 0;
            if (key < seen) {
                [[unroll]] for (uint j = 0; j < OWN; j++) {
                    uint c = lane + LANES * j;
                    if (c < FOURS) {
                        sum = add_product(own[j], cached(push.k, k + key * push.k_row, c), sum);
                    }
                }
            }
            parts[(group * SPAN + n) * (LANES + 1) + lane] = sum;
        }
        barrier();
        for (uint n = lane; n < SPAN; n += LANES) {
            float sum = 0;
            for (uint j = 0; j < LANES; j++) {
                sum += parts[(group * SPAN + n) * (LANES + 1) + j];
            }
            logits[group * SPAN + n] = push.scale * sum;
        }
        barrier();
        float next = largest;
        [[unroll]] for (uint n = 0; n < SPAN; n++) {
            float logit = logits[group * SPAN + n];
            next = logit > next && from + n * GROUPS + group < seen ? logit : next;
        }
        float kept = weight_of(largest - next);
        largest = next;
        total *= kept;
        [[unroll]] for (uint j = 0; j < OWN; j++) {
            sums[j] *= kept;
        }
        [[unroll]] for (uint n = 0; n < SPAN; n++) {
            uint key = from + n * GROUPS + group;
            if (key < seen) {
                float weight = weight_of(logits[group * SPAN + n] - next);
                total += weight;
                [[unroll]] for (uint j = 0; j < OWN; j++) {
                    uint c = lane + LANES * j;
                    if (c < FOURS) {
                        sums[j] = fma(vec4(weight), cached(push.v, v + key * push.v_row, c), sums[j]);
                    }
                }
            }
        }
    }

    [[unroll]] for (uint j = 0; j < OWN; j++) {
        uint c = lane + LANES * j;
        if (c < FOURS) {
            sums_of[group * FOURS + c] = sums[j];
        }
    }
    if (lane == 0) {
        tops[group] = largest;
        totals[group] = total;
    }
    barrier();
    for (uint c = gl_LocalInvocationIndex; c < FOURS; c += INVOCATIONS) {
        float top = LOWEST;
        for (uint g = 0; g < GROUPS; g++) {
            top = tops[g] > top ? tops[g] : top;
        }
        float whole = 0;
        vec4 sum = vec4(0);
        for (uint g = 0; g < GROUPS; g++) {
            float share = weight_of(tops[g] - top);
            whole = fma(share, totals[g], whole);
            sum = fma(vec4(share), sums_of[g * FOURS + c], sum);
        }
        uint at = sequence * push.out_sequence + head * push.out_head + i * push.out_row;
        // Who sees nothing has zeros.
        store(at, c, whole == 0.0 ? vec4(0) : sum / whole);
    }
}

void main() {
    uint items = push.batch * push.heads * push.queries;
    for (uint item = gl_WorkGroupID.x; item < items; item += gl_NumWorkGroups.x) {
        // Heads that share keys run side by side.
        uint head = item % push.heads;
        uint rest = item / push.heads;
        attend(rest / push.queries, head, rest % push.queries);
        barrier();
        // Where `item + gl_NumWorkGroups.x` would wrap, this was the last.
        if (items - item <= gl_NumWorkGroups.x) break;
    }
}
