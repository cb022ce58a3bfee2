#!/usr/bin/env python3
"""PyTorch, oneDNN and a C compiler's stencil as peers of the kernels' table.

    cargo bench --bench kernels -- --peer "python3 benches/kernels-peers.py"

Needs PyTorch (CPU), and gcc for the flows. Answers each line `WORKERS CALLS GROUP: WORK` with `SECONDS NAME`, the time of a
call by the best of those that do that row, or with `-` where none does. Results go to tensors that exist, where PyTorch
has such a form. Operands stay until another row is asked for.
"""
import ctypes
import functools
import os
import re
import subprocess
import sys
import tempfile
import time

import torch
from torch.nn import functional as F

torch.set_grad_enabled(False)
onednn = torch.ops.mkldnn
aten = torch.ops.aten


def product(m, n, k, weights=None):
    a, w, out = torch.randn(m, k), torch.randn(n, k), torch.empty(m, n)
    b = w.t().contiguous() if weights == "plain" else w.t()
    ways = {"PyTorch (MKL)": lambda: torch.mm(a, b, out=out)}
    if weights == "packed":
        packed = onednn._reorder_linear_weight(w, m)
        ways["oneDNN, packed"] = lambda: onednn._linear_pointwise(a, packed, None, "none", [], "")
    elif weights != "plain":
        ways["oneDNN"] = lambda: onednn._linear_pointwise(a, w, None, "none", [], "")
    return ways


def linear_gelu(m, n, k):
    x, w, bias = torch.randn(m, k), torch.randn(n, k), torch.randn(n)
    packed = onednn._reorder_linear_weight(w, m)
    return {
        "PyTorch": lambda: F.gelu(F.linear(x, w, bias)),
        "oneDNN, fused and packed": lambda: onednn._linear_pointwise(x, packed, bias, "gelu", [], "none"),
    }


def bf16_product(m, n, k):
    a, b, out = torch.randn(m, k).bfloat16(), torch.randn(n, k).bfloat16().t(), torch.empty(m, n).bfloat16()
    return {"PyTorch bf16": lambda: torch.mm(a, b, out=out)}


def int8_product(m, n, k):
    if m > 1024:  # seconds a call where there are no instructions for it
        return {}
    a, b = (torch.randint(-127, 128, size, dtype=torch.int8) for size in ((m, k), (n, k)))
    return {"PyTorch int8, no scales": lambda: torch._int_mm(a, b.t())}


def attention(way, batch, heads, seq, dim, kind):
    q, k, v, d_out = (torch.randn(batch, heads, seq, dim) for _ in range(4))
    causal = kind == "causal"
    forward = aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = forward(q, k, v, 0.0, causal)
    if way == "forward":
        return {"PyTorch flash": lambda: forward(q, k, v, 0.0, causal)}
    backward = aten._scaled_dot_product_flash_attention_for_cpu_backward
    return {"PyTorch flash": lambda: backward(d_out, q, k, v, out, lse, 0.0, causal)}


def elementwise(name, n):
    a, b, out = torch.rand(n) * 2 - 1, torch.rand(n) * 2 - 1, torch.empty(n)
    call = {
        "add": lambda: torch.add(a, b, out=out),
        "mul": lambda: torch.mul(a, b, out=out),
        "ReLU": lambda: torch.clamp_min(a, 0, out=out),
        "GELU (erf)": lambda: torch._C._nn.gelu(a, out=out),
        "SiLU": lambda: torch._C._nn.silu(a, out=out),
        "dot": lambda: torch.dot(a, b),
    }[name]
    return {"PyTorch": call}


def rows(name, count, width):
    x, weight, out = torch.rand(count, width), torch.rand(width), torch.empty(count, width)
    call = {
        "softmax": lambda: torch.softmax(x, 1, out=out),
        "LayerNorm": lambda: F.layer_norm(x, (width,), weight),
        "RMSNorm": lambda: F.rms_norm(x, (width,), weight),
    }[name]
    return {"PyTorch": call}


def convolution(size, inputs, outputs, batch, side):
    groups = inputs if outputs is None else 1
    x, weight = torch.randn(batch, inputs, side, side), torch.randn(outputs or inputs, inputs // groups, size, size)
    call = lambda: F.conv2d(x, weight, padding=size // 2, groups=groups)
    return {"PyTorch (oneDNN)": call}


def image(name, batch, side):
    x, (mean, weight, bias) = torch.randn(batch, 64, side, side), torch.randn(3, 64)
    variance = torch.rand(64) + 0.5
    call = {
        "max pooling 2x2": lambda: F.max_pool2d(x, 2),
        "BatchNorm with running statistics": lambda: F.batch_norm(x, mean, variance, weight, bias),
        "dropout": lambda: F.dropout(x, 0.5),
    }[name]
    return {"PyTorch": call}


def view(name, n):
    a, b, out = torch.rand(n, n), torch.rand(n, n), torch.empty(n, n)
    if name == "copy of a transposed matrix":
        return {"PyTorch": lambda: out.copy_(a.t())}
    return {"PyTorch": lambda: torch.add(a.t(), b, out=out)}


STENCIL = r"""
#include <stddef.h>
/* One step of Gray-Scott on a torus: du 0.16, dv 0.08, feed 0.06, kill 0.062. */
static inline void cell(const float *u, const float *v, float *u2, float *v2, size_t n, size_t y, size_t x, size_t l, size_t r) {
    size_t up = (y + n - 1) % n * n, at = y * n, down = (y + 1) % n * n;
    float a = u[at + x], b = v[at + x], rate = a * b * b;
    u2[at + x] = a + (0.16f * (u[up + x] + u[down + x] + u[at + l] + u[at + r] - 4 * a) - rate + 0.06f * (1 - a));
    v2[at + x] = b + (0.08f * (v[up + x] + v[down + x] + v[at + l] + v[at + r] - 4 * b) + rate - 0.122f * b);
}
static void step(size_t n, const float *restrict u, const float *restrict v, float *restrict u2, float *restrict v2) {
    #pragma omp parallel for schedule(static)
    for (size_t y = 0; y < n; y++) {
        #pragma omp simd
        for (size_t x = 1; x < n - 1; x++) cell(u, v, u2, v2, n, y, x, x - 1, x + 1);
        cell(u, v, u2, v2, n, y, 0, n - 1, 1);
        cell(u, v, u2, v2, n, y, n - 1, n - 2, 0);
    }
}
void steps(size_t n, size_t count, int threads, float *u, float *v, float *u2, float *v2) {
    extern void omp_set_num_threads(int);
    omp_set_num_threads(threads);
    for (size_t i = 0; i < count; i++) {
        if (i % 2 == 0) step(n, u, v, u2, v2);
        else step(n, u2, v2, u, v);
    }
}
"""


@functools.cache
def compiled_stencil():
    with tempfile.TemporaryDirectory() as folder:
        source, library = os.path.join(folder, "stencil.c"), os.path.join(folder, "stencil.so")
        with open(source, "w") as file:
            file.write(STENCIL)
        subprocess.run(["gcc", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", source, "-o", library], check=True)
        return ctypes.CDLL(library).steps


def flow(n, steps):
    compiled, fields = compiled_stencil(), [torch.ones(n, n), torch.zeros(n, n), torch.ones(n, n), torch.zeros(n, n)]
    middle = slice(n // 2 - 8, n // 2 + 8)
    fields[0][middle, middle], fields[1][middle, middle] = 0.5, 0.25
    u, v = fields[0].clone(), fields[1].clone()

    def run(steps=steps):
        pointers = [ctypes.c_void_p(field.data_ptr()) for field in fields]
        compiled(ctypes.c_size_t(n), ctypes.c_size_t(steps), torch.get_num_threads(), *pointers)

    # An odd number of steps leaves the result in the other two fields; the time is the same.
    run(2)
    for _ in range(2):
        around = lambda z: sum(torch.roll(z, by, axis) for by in (1, -1) for axis in (0, 1)) - 4 * z
        rate = u * v * v
        u, v = u + 0.16 * around(u) - rate + 0.06 * (1 - u), v + 0.08 * around(v) + rate - 0.122 * v
    assert torch.allclose(fields[0], u, atol=1e-5) and torch.allclose(fields[1], v, atol=1e-5), "the stencil is wrong"
    return {"gcc, omp simd": run}


LENGTH = {"1M": 1 << 20, "16M": 1 << 24}
ROWS = [
    (r"gemm: (\d+) x (\d+) x (\d+)", lambda m, n, k: product(m, n, k, "plain")),
    (r"gemm: (\d+) x (\d+) x (\d+), weights (\w+)", product),
    (r"gemm: Linear \+ GELU (\d+) x (\d+) x (\d+), weights packed", linear_gelu),
    (r"low-precision: bf16 (\d+) x (\d+) x (\d+)", bf16_product),
    (r"low-precision: int8 (\d+) x (\d+) x (\d+)", int8_product),
    (r"attention: (\w+) \((\d+), (\d+), (\d+), (\d+)\) (\w+)", attention),
    (r"elementwise: (add|mul|ReLU|GELU \(erf\)|SiLU|dot), (\w+) numbers", lambda name, n: elementwise(name, LENGTH[n])),
    (r"rows: (\w+), (\d+) x (\d+)", rows),
    (r"images: conv (\d)x\d (\d+)-(\d+), (\d+) images of (\d+)²", convolution),
    (
        r"images: conv (\d)x\d depthwise (\d+), (\d+) images of (\d+)²",
        lambda size, channels, batch, side: convolution(size, channels, None, batch, side),
    ),
    (r"images: (max pooling 2x2|BatchNorm with running statistics|dropout), (\d+) images of (\d+)²", image),
    (r"flows: Gray-Scott (\d+) x \d+, (\d+) steps a call", flow),
    (r"views: (copy of a transposed matrix|a transposed matrix plus another), (\d+) x \d+", view),
]


def ways_of(row):
    for pattern, make in ROWS:
        match = re.fullmatch(pattern, row)
        if match:
            return make(*(int(word) if word.isdigit() else word for word in match.groups()))
    return {}


def seconds(call, calls):
    call()  # fills the caches that others have used since
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def main():
    # Answers alone go to the one who asks.
    answers, sys.stdout = sys.stdout, sys.stderr
    asked, ways = None, {}
    for line in sys.stdin:
        workers, calls, row = line.rstrip("\n").split(" ", 2)
        torch.set_num_threads(int(workers))
        if row != asked:
            asked, ways = row, {}  # the old operands go before the new ones come
            ways = ways_of(row)
            for call in ways.values():
                call()
        # Who loses tenfold is left out of later rounds.
        times = {name: seconds(call, int(calls)) for name, call in ways.items()}
        best = min(times, key=times.get, default=None)
        ways = {name: call for name, call in ways.items() if times[name] < 10 * times[best]}
        print(f"{times[best]} {best}" if best else "-", file=answers, flush=True)


main()
