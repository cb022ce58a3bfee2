#!/usr/bin/env python3
"""PyTorch as a peer of the rows of `upbeat bench vulkan`.

    upbeat bench vulkan --peer "python3 benches/vulkan-peers.py"

Needs PyTorch and a GPU that it knows (CUDA or ROCm); where there are several, `--device cuda:1` takes the one that
UPBEAT_VULKAN_DEVICE chose. With `--device cpu` it computes on the CPU, beside a Vulkan driver that does so, too. Answers each line `THREADS CALLS FAMILY: SHAPE` with
`SECONDS NAME`, the time of a call, or with `-` where PyTorch has no such thing. On a GPU times are of events before the first and after
the last of CALLS calls, or of more where these are over too soon. Products in f32 are in f32: TF32 is off. Results go to tensors that
exist, where PyTorch has such a form. Operands stay until another row is asked for.
"""
import argparse
import re
import sys
import time

try:
    import torch
    from torch.nn import functional as F
except ImportError as error:
    sys.exit(f"PyTorch cannot be imported: {error}")

# Shortest turn, s, so that what lies around the calls is little beside them.
TURN = 0.01
# Calls before a turn, in which a GPU's clock rises.
WARM_UP = 3
F32, F16 = torch.float32, torch.float16


def normal(*shape, dtype=F32):
    return torch.randn(*shape, dtype=dtype, device=DEVICE)


def empty(*shape, dtype=F32):
    return torch.empty(*shape, dtype=dtype, device=DEVICE)


def over_numbers(name, size, unit):
    n = size * {"KiB": 1 << 10, "MiB": 1 << 20}[unit] // 4
    if name == "SwiGLU":
        gate, up = normal(n // 2048, 2048).chunk(2, 1)
        return lambda: F.silu(gate) * up
    x, y, out = normal(n), normal(n if name == "add" else 1), empty(n)
    return {
        "copy": lambda: out.copy_(x),
        "scale": lambda: torch.mul(x, 2.0, out=out),
        "add": lambda: torch.add(x, y, out=out),
        "GELU": lambda: torch._C._nn.gelu(x, out=out),
    }[name]


def over_rows(name, rows, cols):
    x, weight, bias, out, sums = normal(rows, cols), normal(cols), normal(cols), empty(rows, cols), empty(rows)
    return {
        "softmax": lambda: torch.softmax(x, 1, out=out),
        "LayerNorm": lambda: F.layer_norm(x, (cols,), weight, bias, 1e-5),
        "RMSNorm": (lambda: F.rms_norm(x, (cols,), weight, 1e-5)) if hasattr(F, "rms_norm") else None,
        "sum of rows": lambda: torch.sum(x, 1, out=sums),
    }[name]


def product(kind, types, m, n, k):
    # PyTorch has no product of two types: who stores weights in f16 multiplies in f16.
    dtype = F16 if "f16" in types else F32
    a, c = normal(m, k, dtype=dtype), empty(m, n, dtype=dtype)
    b = normal(n, k, dtype=dtype).t() if kind == "GEMV" else normal(k, n, dtype=dtype)
    return lambda: torch.mm(a, b, out=c)


def attention(kind, dtype, batch, heads, length, dim, causal):
    dtype = {"f32": F32, "f16": F16}[dtype]
    queries = 1 if kind == "decode" else length
    q, k, v = (normal(batch, heads, n, dim, dtype=dtype) for n in (queries, length, length))
    return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal is not None)


ROWS = [
    (r"(copy|scale|add|GELU|SwiGLU): (\d+) (KiB|MiB)", over_numbers),
    (r"(softmax|LayerNorm|RMSNorm|sum of rows): (\d+) x (\d+)", over_rows),
    (r"(GEMM|GEMV) (f32|f16|f32 by f16): (\d+) x (\d+) x (\d+)", product),
    (r"(attention|decode) (f32|f16): \((\d+), (\d+), (\d+), (\d+)\)( causal)?", attention),
]


def call_of(row):
    for pattern, make in ROWS:
        match = re.fullmatch(pattern, row)
        if match:
            call = make(*(int(word) if word and word.isdigit() else word for word in match.groups()))
            try:
                call and call()
            except (AttributeError, NotImplementedError, RuntimeError) as error:
                # Older versions lack some of it, and CPUs much of f16.
                print(f"{row}: PyTorch cannot: {error}", file=sys.stderr)
                return None
            return call
    return None


def seconds(call, calls):
    """The time of `calls` calls."""
    if DEVICE == "cpu":
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return time.perf_counter() - start
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    for _ in range(calls):
        call()
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / 1e3


def measured(call, calls):
    """The time of a call, of at least so many."""
    for _ in range(1 if DEVICE == "cpu" else WARM_UP):
        call()
    if DEVICE != "cpu":
        torch.cuda.synchronize()
    took = seconds(call, calls)
    while took < TURN:
        calls *= 2
        took = seconds(call, calls)
    return took / calls


def main():
    # Answers alone go to the one who asks.
    answers, sys.stdout = sys.stdout, sys.stderr
    asked, call = None, None
    for line in sys.stdin:
        threads, calls, row = line.rstrip("\n").split(" ", 2)
        if DEVICE == "cpu":
            torch.set_num_threads(int(threads))
        if row != asked:
            asked, call = row, None  # the old operands go before the new ones come
            call = call_of(row)
        name = f"{NAME}, both factors in f16" if "f32 by f16" in row else NAME
        print(f"{measured(call, int(calls))} {name}" if call else "-", file=answers, flush=True)


options = argparse.ArgumentParser(description="PyTorch's times for the rows of `upbeat bench vulkan`, asked for on standard input.")
options.add_argument("--device", default="cuda", help="cuda (also ROCm's name), with a number where there are several, or cpu")
DEVICE = options.parse_args().device
if DEVICE != "cpu" and not torch.cuda.is_available():
    sys.exit("PyTorch finds no GPU with CUDA or ROCm here; --device cpu computes on the CPU.")
torch.set_grad_enabled(False)
torch.set_float32_matmul_precision("highest")
# With the device, so that a table tells whether both computed on the same one.
NAME = f"PyTorch {torch.__version__} on the CPU"
if DEVICE != "cpu":
    torch.cuda.set_device(torch.device(DEVICE))
    NAME = f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}"
main()
