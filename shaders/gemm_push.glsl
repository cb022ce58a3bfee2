// What products of matrices are given, and their epilogue.
layout(push_constant) uniform Push {
    F32 a;
    B_STORED b;
    F32 bias;
    F32 residual;
    F32 c;
    uint m;
    uint n;
    uint k;
    uint lda;
    uint ldb;
    uint ldc;
    uint ldr;
    float scale;
} push;

void store(uint row, uint col, float sum) {
    float x = push.scale * sum;
    if (BIAS) {
        x += push.bias.at[col];
    }
    x = activated(ACTIVATION, x);
    if (RESIDUAL) {
        x += push.residual.at[row * push.ldr + col];
    }
    uint at = row * push.ldc + col;
    push.c.at[at] = ADD ? push.c.at[at] + x : x;
}
