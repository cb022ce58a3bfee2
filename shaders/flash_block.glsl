// The step of flash attention (Dao, 2022 and 2023) over a block of keys: a workgroup has a tile of queries of one head, whose logits and
// weights never leave it. 16 x 8 invocations; each computes ROWS x 2 logits of a block and keeps ROWS rows of the sums over values, of
// which it has every 16th four.
//
// Who includes it defines KEY_FOUR(n, c) and VALUE_FOUR(n, c), the c-th four of the block's n-th key and value, in terms of `from`; and
// OFFSET, which is added to a logit.
#include "flash.glsl"

// Queries of an invocation, every 8th of the tile.
layout(constant_id = 3) const uint ROWS = 4;

const uint INVOCATIONS = 128;
const uint ACROSS = 16;
const uint DOWN = INVOCATIONS / ACROSS;
const uint QUERIES = DOWN * ROWS;
const uint KEYS = 32;
// Logits of an invocation for a query.
const uint COLUMNS = KEYS / ACROSS;
// Fours of each key that are in shared memory at a time; a row has one more, so that rows begin in other banks.
const uint PART = 8;
const uint PITCH = PART + 1;
const uint ROOM = KEYS * PITCH;
// Fours of the sums that an invocation has for a query.
const uint OWN = (FOURS + ACROSS - 1) / ACROSS;

shared vec4 queries[QUERIES * FOURS];
// Parts of keys, then whole values.
shared vec4 tile[ROOM];
shared float weights[QUERIES * (KEYS + 1)];
// A number for each query and each of the invocations that share it.
shared float column[QUERIES * ACROSS];

uint lane;
uint down;
// Where the keys and values of this head begin.
uint k_head;
uint v_head;
// How many keys each query sees.
uint seen[ROWS];
// The largest logit so far, and the sum of the weights relative to it.
float largest[ROWS];
float total[ROWS];
vec4 sums[ROWS * OWN];

// Adds `count` values, those of the tile's keys from `part` on, which is key `key`. Keys that a query does not see are left out
// where not all are seen, not multiplied by 0: a value of NaN would be NaN.
void add_values(uint part, uint key, uint count, bool all) {
    for (uint n = 0; n < count; n++) {
        vec4 value[OWN];
        [[unroll]] for (uint j = 0; j < OWN; j++) {
            uint c = lane + ACROSS * j;
            value[j] = c < FOURS ? tile[n * FOURS + c] : vec4(0);
        }
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            float weight = weights[(down + DOWN * r) * (KEYS + 1) + part + n];
            if (all || key + n < seen[r]) {
                [[unroll]] for (uint j = 0; j < OWN; j++) {
                    sums[r * OWN + j] = fma(vec4(weight), value[j], sums[r * OWN + j]);
                }
            }
        }
    }
}

// Takes a tile of queries of a head, from `first` on.
void begin(uint sequence, uint head, uint first) {
    uint kv_head = head / SHARED_BY;
    uint q = sequence * push.q_sequence + head * push.q_head;
    k_head = sequence * push.k_sequence + kv_head * push.k_head;
    v_head = sequence * push.v_sequence + kv_head * push.v_head;
    for (uint n = gl_LocalInvocationIndex; n < QUERIES * FOURS; n += INVOCATIONS) {
        uint i = first + n / FOURS;
        queries[n] = i < push.queries ? query(q + i * push.q_row, n % FOURS) : vec4(0);
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint i = first + down + DOWN * r;
        seen[r] = i < push.queries ? seen_by(i) : 0;
        largest[r] = LOWEST;
        total[r] = 0;
    }
    [[unroll]] for (uint n = 0; n < ROWS * OWN; n++) {
        sums[n] = vec4(0);
    }
}

// Goes over the block of `here` keys from `from` on, at most KEYS; `all`: every query sees them all.
void block(uint from, uint here, bool all) {
    // Whole values that fit.
    uint fitting = min(KEYS, ROOM / FOURS);
    float logits[ROWS * COLUMNS];
    [[unroll]] for (uint n = 0; n < ROWS * COLUMNS; n++) {
        logits[n] = 0;
    }
    for (uint part = 0; part < FOURS; part += PART) {
        barrier();
        for (uint n = gl_LocalInvocationIndex; n < KEYS * PART; n += INVOCATIONS) {
            uint c = part + n % PART;
            bool there = n / PART < here && c < FOURS;
            tile[n / PART * PITCH + n % PART] = there ? KEY_FOUR(n / PART, c) : vec4(0);
        }
        barrier();
        uint parts = min(PART, FOURS - part);
        for (uint c = 0; c < parts; c++) {
            vec4 key[COLUMNS];
            [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
                key[j] = tile[(lane + ACROSS * j) * PITCH + c];
            }
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                vec4 four = queries[(down + DOWN * r) * FOURS + part + c];
                [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
                    logits[r * COLUMNS + j] = add_product(four, key[j], logits[r * COLUMNS + j]);
                }
            }
        }
    }
    // Which of its logits a query sees, by bit.
    uint sees[ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        float most_here = LOWEST;
        sees[r] = 0;
        [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
            uint n = lane + ACROSS * j;
            bool is_seen = n < here && (all || from + n < seen[r]);
            float logit = push.scale * logits[r * COLUMNS + j] OFFSET;
            logits[r * COLUMNS + j] = logit;
            most_here = is_seen && logit > most_here ? logit : most_here;
            sees[r] |= is_seen ? 1u << j : 0u;
        }
        column[(down + DOWN * r) * ACROSS + lane] = most_here;
    }
    barrier();
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint row = down + DOWN * r;
        float next = largest[r];
        for (uint j = 0; j < ACROSS; j++) {
            float other = column[row * ACROSS + j];
            next = other > next ? other : next;
        }
        float kept = weight_of(largest[r] - next);
        largest[r] = next;
        total[r] *= kept;
        [[unroll]] for (uint j = 0; j < OWN; j++) {
            sums[r * OWN + j] *= kept;
        }
        [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
            float weight = (sees[r] >> j & 1u) != 0u ? weight_of(logits[r * COLUMNS + j] - next) : 0.0;
            total[r] += weight;
            weights[row * (KEYS + 1) + lane + ACROSS * j] = weight;
        }
    }
    for (uint part = 0; part < here; part += fitting) {
        uint count = min(fitting, here - part);
        barrier();
        for (uint n = gl_LocalInvocationIndex; n < count * FOURS; n += INVOCATIONS) {
            tile[n] = VALUE_FOUR(part + n / FOURS, n % FOURS);
        }
        barrier();
        if (all) {
            add_values(part, from + part, count, true);
        } else {
            add_values(part, from + part, count, false);
        }
    }
}

// Stores the outputs of the tile; gives each row's sum of weights to all who share it, in `whole`.
void finish(uint sequence, uint head, uint first, out float whole[ROWS]) {
    barrier();
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        column[(down + DOWN * r) * ACROSS + lane] = total[r];
    }
    barrier();
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint i = first + down + DOWN * r;
        whole[r] = 0;
        for (uint j = 0; j < ACROSS; j++) {
            whole[r] += column[(down + DOWN * r) * ACROSS + j];
        }
        if (i < push.queries) {
            uint at = sequence * push.out_sequence + head * push.out_head + i * push.out_row;
            [[unroll]] for (uint j = 0; j < OWN; j++) {
                uint c = lane + ACROSS * j;
                if (c < FOURS) {
                    // Who sees nothing has zeros.
                    store(at, c, whole[r] == 0.0 ? vec4(0) : sums[r * OWN + j] / whole[r]);
                }
            }
        }
    }
}
