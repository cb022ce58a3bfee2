// Flash attention of many queries: a workgroup takes a tile of them and goes over the keys in blocks.
#define KEY_FOUR(n, c) cached(push.k, k_head + (from + (n)) * push.k_row, c)
#define VALUE_FOUR(n, c) cached(push.v, v_head + (from + (n)) * push.v_row, c)
#define OFFSET
#include "flash_block.glsl"

void attend(uint sequence, uint head, uint first) {
    begin(sequence, head, first);
    uint fewest = seen_by(first);
    uint most = seen_by(min(first + QUERIES, push.queries) - 1);
    for (uint from = 0; from < most; from += KEYS) {
        uint here = min(KEYS, most - from);
        block(from, here, from + here <= fewest);
    }
    float whole[ROWS];
    finish(sequence, head, first, whole);
}

void main() {
    lane = gl_LocalInvocationIndex % ACROSS;
    down = gl_LocalInvocationIndex / ACROSS;
    uint tiles = (push.queries - 1) / QUERIES + 1;
    uint items = push.batch * push.heads * tiles;
    for (uint item = gl_WorkGroupID.x; item < items; item += gl_NumWorkGroups.x) {
        // The last queries see most: they go first.
        uint first = (tiles - 1 - item % tiles) * QUERIES;
        uint head = item / tiles;
        attend(head / push.heads, head % push.heads, first);
        barrier();
        // Where `item + gl_NumWorkGroups.x` would wrap, this was the last.
        if (items - item <= gl_NumWorkGroups.x) break;
    }
}
