// In which order workgroups take the tiles of C.

// Row tiles that run side by side: workgroups that run at once then share what they read of A and B in the second-level cache.
const uint TOGETHER = 8;

// The row and the column, in tiles, of the tile with this number.
uvec2 in_order(uint tile, uint tiles_m, uint tiles_n) {
    uint first = tile / (TOGETHER * tiles_n) * TOGETHER;
    uint rows = min(TOGETHER, tiles_m - first);
    uint rest = tile % (TOGETHER * tiles_n);
    return uvec2(first + rest % rows, rest / rows);
}
