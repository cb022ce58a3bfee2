// Which tiles of keys a tile of queries takes for their means: bounds the share of the error that each would cause, and gives up the cheapest
// ones, up to a tolerance or but for a number. A workgroup a tile of queries.
#version 460
#include "common.glsl"
#include "adaptive_vectors.glsl"
#include "workgroup.glsl"

layout(push_constant) uniform Push {
    F32 q;
    F32x4 summary;
    U32 list;
    // `[batch, heads, tiles of queries, tiles]`
    F32 shares;
    uint batch;
    uint queries;
    uint keys;
    uint heads;
    uint tiles;
    float scale;
    // The most that the shares may sum to; or, BY_COUNT, how many are exact.
    float tolerance;
    uint exact;
    uint by_count;
    uint q_sequence, q_row, q_head;
} push;

// Queries whose logits are computed together.
const uint TOGETHER = 4;

shared uint marks[INVOCATIONS];

uint summaries;
uint shares;
uint candidates;

vec4 logits_of(uint q[TOGETHER], uint tile) {
    vec4 sums = vec4(0);
    [[dont_unroll]] for (uint c = 0; c < FOURS; c++) {
        vec4 mean = push.summary.at[summaries + tile * PER_TILE + c];
        [[unroll]] for (uint j = 0; j < TOGETHER; j++) {
            sums[j] += dot(four_of(push.q, q[j], c), mean);
        }
    }
    return push.scale * sums + LOG_TILE;
}

// What is up to the threshold: the sum of such shares, or how many they are.
bool fits(uint threshold) {
    float sum = 0;
    for (uint tile = gl_LocalInvocationIndex; tile < candidates; tile += INVOCATIONS) {
        float share = push.shares.at[shares + tile];
        if (floatBitsToUint(share) <= threshold) {
            sum += push.by_count != 0 ? 1.0 : share;
        }
    }
    sum = workgroup_sum(sum);
    if (push.by_count != 0) {
        return uint(sum) + push.exact <= candidates;
    }
    // Not of infinities, whatever the tolerance; what rounding took is given back.
    return is_finite(sum) && sum * (1.0 + 1e-4) <= push.tolerance;
}

void bound_shares(uint sequence, uint head, uint first, float reach) {
    for (uint tile = gl_LocalInvocationIndex; tile < candidates; tile += INVOCATIONS) {
        push.shares.at[shares + tile] = 0;
    }
    uint last = min(first + QUERIES, push.queries) - 1;
    for (uint from = first; from <= last; from += TOGETHER) {
        uint q[TOGETHER];
        vec4 norms = vec4(0);
        [[unroll]] for (uint j = 0; j < TOGETHER; j++) {
            q[j] = sequence * push.q_sequence + head * push.q_head + min(from + j, last) * push.q_row;
            [[dont_unroll]] for (uint c = 0; c < FOURS; c++) {
                vec4 four = four_of(push.q, q[j], c);
                norms[j] += dot(four, four);
            }
        }
        norms = (sqrt(norms) + UNDERFLOW * sqrt(float(DIM))) * abs(push.scale) * SLACK;
        vec4 most = vec4(-3.4e38);
        vec4 sums = vec4(0);
        for (uint tile = gl_LocalInvocationIndex; tile < candidates; tile += INVOCATIONS) {
            vec4 logits = logits_of(q, tile);
            [[unroll]] for (uint j = 0; j < TOGETHER; j++) {
                float next = logits[j] > most[j] ? logits[j] : most[j];
                // A logit of NaN makes its own share infinite, below.
                float added = is_nan(logits[j]) ? 0.0 : exponential(logits[j] - next);
                sums[j] = sums[j] * exponential(most[j] - next) + added;
                most[j] = next;
            }
        }
        vec4 largest;
        [[unroll]] for (uint j = 0; j < TOGETHER; j++) {
            largest[j] = workgroup_max(most[j]);
            sums[j] = workgroup_sum(sums[j] * exponential(most[j] - largest[j]));
        }
        for (uint tile = gl_LocalInvocationIndex; tile < candidates; tile += INVOCATIONS) {
            vec4 logits = logits_of(q, tile);
            vec4 spread = push.summary.at[summaries + tile * PER_TILE + 2 * FOURS];
            float farthest = push.summary.at[summaries + tile * PER_TILE + 2 * FOURS + 1].x + reach;
            float share = push.shares.at[shares + tile];
            [[unroll]] for (uint j = 0; j < TOGETHER; j++) {
                vec3 bound = excess(norms[j], spread);
                float weight = weight_of_bound(logits[j] - largest[j] + bound.x) / sums[j] * SLACK;
                float own = weight * (bound.z + bound.y * farthest);
                own = is_finite(own) ? own : INFINITY;
                share = max(share, own);
            }
            push.shares.at[shares + tile] = share;
        }
    }
}

// Appends the tiles that are coarse, or those that are not, to the list; gives how many it has then.
uint append(uint list, uint have, bool coarse, bool any, uint threshold) {
    uint lane = gl_LocalInvocationIndex;
    for (uint from = 0; from < candidates; from += INVOCATIONS) {
        uint tile = from + lane;
        bool there = tile < candidates;
        bool is_coarse = there && any && floatBitsToUint(push.shares.at[shares + tile]) <= threshold;
        bool marked = there && is_coarse == coarse;
        marks[lane] = marked ? 1 : 0;
        barrier();
        uint before = 0;
        uint all = 0;
        for (uint j = 0; j < INVOCATIONS; j++) {
            before += j < lane ? marks[j] : 0;
            all += marks[j];
        }
        if (marked) {
            push.list.at[list + 1 + have + before] = tile;
        }
        have += all;
        barrier();
    }
    return have;
}

void main() {
    uint blocks = (push.queries - 1) / QUERIES + 1;
    uint items = push.batch * push.heads * blocks;
    uint kv_heads = push.heads / SHARED_BY;
    for (uint item = gl_WorkGroupID.x; item < items; item += gl_NumWorkGroups.x) {
        uint head = item / blocks;
        uint first = item % blocks * QUERIES;
        uint sequence = head / push.heads;
        head %= push.heads;
        uint kv = sequence * kv_heads + head / SHARED_BY;
        summaries = kv * push.tiles * PER_TILE;
        shares = item * push.tiles;
        uint list = item * (push.tiles + 1);
        // The last query is at the last key's position: those before see as many fewer.
        uint after = push.queries - 1 - first;
        uint fewest = CAUSAL ? (push.keys > after ? push.keys - after : 0) : push.keys;
        candidates = min(fewest / TILE, push.tiles);
        uint centre = push.batch * kv_heads * push.tiles * PER_TILE + kv * (FOURS + 1);
        bound_shares(sequence, head, first, push.summary.at[centre + FOURS].x);

        // The largest threshold that fits: bits of numbers that are not negative are in their order.
        bool any = fits(0);
        uint low = 0;
        // Above it is what has no bound, which is exact in any case.
        uint high = 0x7f7fffffu;
        while (any && low < high) {
            uint middle = low + (high - low + 1) / 2;
            if (fits(middle)) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        uint coarse = append(list, 0, true, any, low);
        append(list, coarse, false, any, low);
        if (gl_LocalInvocationIndex == 0) {
            push.list.at[list] = coarse;
        }
        // Where `item + gl_NumWorkGroups.x` would wrap, this was the last.
        if (items - item <= gl_NumWorkGroups.x) break;
    }
}
