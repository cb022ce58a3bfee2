// Attention over a cut of the keys: tiles that cross_tile_router.comp made coarse as one key of 32 times the weight, the others key by key;
// all in one online softmax, which is what merges them.
#version 460
#include "common.glsl"
#define QUERY float
#define QUERY4 vec4
#define QUERY_BYTES 4
#define QUERY4_BYTES 16
#define CACHE float
#define CACHE4 vec4
#define CACHE_BYTES 4
#define CACHE4_BYTES 16
#define ADAPTIVE

// The block is of means: those of the tiles in the list from place `from` on.
bool coarse = false;
vec4 four_of_key(uint at, uint c);
vec4 four_of_value(uint at, uint c);
#define KEY_FOUR(n, c) four_of_key(from + (n), c)
#define VALUE_FOUR(n, c) four_of_value(from + (n), c)
#define OFFSET + (coarse ? LOG_TILE : 0.0)
#include "flash_block.glsl"

// Where this head's summaries begin, and this tile's list.
uint summaries;
uint list;

vec4 four_of_key(uint at, uint c) {
    if (coarse) {
        return push.summary.at[summaries + push.list.at[list + 1 + at] * PER_TILE + c];
    }
    return cached(push.k, k_head + at * push.k_row, c);
}

vec4 four_of_value(uint at, uint c) {
    if (coarse) {
        return push.summary.at[summaries + push.list.at[list + 1 + at] * PER_TILE + FOURS + c];
    }
    return cached(push.v, v_head + at * push.v_row, c);
}

void attend(uint sequence, uint head, uint number, uint first) {
    begin(sequence, head, first);
    uint kv_heads = push.heads / SHARED_BY;
    summaries = (sequence * kv_heads + head / SHARED_BY) * push.tiles * PER_TILE;
    list = number * (push.tiles + 1);
    uint fewest = seen_by(first);
    uint most = seen_by(min(first + QUERIES, push.queries) - 1);
    // Tiles that all queries see whole; the list has them all.
    uint whole = min(fewest / TILE, push.tiles);
    uint means = push.list.at[list];
    uint of_means = (means + KEYS - 1) / KEYS;
    uint exact = whole - means;
    uint rest = most > whole * TILE ? (most - whole * TILE + KEYS - 1) / KEYS : 0;
    // One loop for all three: pipelines are made much faster with the step in them once.
    for (uint step = 0; step < of_means + exact + rest; step++) {
        coarse = step < of_means;
        uint from = step * KEYS;
        uint here = means - from;
        if (step >= of_means + exact) {
            from = whole * TILE + (step - of_means - exact) * KEYS;
            here = most - from;
        } else if (!coarse) {
            from = push.list.at[list + 1 + means + step - of_means] * TILE;
            here = TILE;
        }
        here = min(KEYS, here);
        block(from, here, coarse || from + here <= fewest);
    }
    float sum[ROWS];
    finish(sequence, head, first, sum);
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint i = first + down + DOWN * r;
        if (lane == 0 && i < push.queries) {
            float lse = sum[r] == 0.0 ? -INFINITY : largest[r] + log(sum[r]);
            push.lse.at[(sequence * push.heads + head) * push.queries + i] = lse;
        }
    }
}

void main() {
    lane = gl_LocalInvocationIndex % ACROSS;
    down = gl_LocalInvocationIndex / ACROSS;
    uint tiles = (push.queries - 1) / QUERIES + 1;
    uint items = push.batch * push.heads * tiles;
    for (uint item = gl_WorkGroupID.x; item < items; item += gl_NumWorkGroups.x) {
        // The last queries see most: they go first.
        uint of_queries = tiles - 1 - item % tiles;
        uint head = item / tiles;
        attend(head / push.heads, head % push.heads, head * tiles + of_queries, of_queries * QUERIES);
        barrier();
        // Where `item + gl_NumWorkGroups.x` would wrap, this was the last.
        if (items - item <= gl_NumWorkGroups.x) break;
    }
}
