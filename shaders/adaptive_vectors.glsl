// Constants and loads of those kernels of adaptive attention that are not flash.glsl's; the constants are numbered alike.
#include "math.glsl"

layout(constant_id = 1) const bool ALIGNED = false;
layout(constant_id = 2) const uint FOURS = 1;
layout(constant_id = 3) const uint ROWS = 4;
layout(constant_id = 4) const uint DIM = 1;
layout(constant_id = 5) const uint SHARED_BY = 1;
layout(constant_id = 6) const bool CAUSAL = false;

// Coherent: an invocation reads what another of its workgroup wrote.
layout(buffer_reference, std430, buffer_reference_align = 16) coherent buffer F32x4 {
    vec4 at[];
};

const uint INVOCATIONS = 128;
// Queries that share a choice.
const uint QUERIES = 8 * ROWS;

#include "adaptive.glsl"

// The `c`-th four of the vector at `at`; 0 beyond its end.
vec4 four_of(F32 from, uint at, uint c) {
    if (ALIGNED) {
        return F32x4(from).at[at / 4 + c];
    }
    vec4 four = vec4(0);
    uint d = 4 * c;
    if (d < DIM) four.x = from.at[at + d];
    if (d + 1 < DIM) four.y = from.at[at + d + 1];
    if (d + 2 < DIM) four.z = from.at[at + d + 2];
    if (d + 3 < DIM) four.w = from.at[at + d + 3];
    return four;
}
