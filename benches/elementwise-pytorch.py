#!/usr/bin/env python3
"""Element-wise functions and reductions beside PyTorch, taking turns on the same cores.

    benches/elementwise-pytorch.py BINARY [THREADS [NAMES]]

BINARY is the benchmark `programs` of upbeat-kernels; it runs with `--serve` and waits while PyTorch computes, and the
other way round. Times are the best of all calls, ratios PyTorch's time over ours. PyTorch writes to tensors that exist.
Its threads wait for more work for a while after a call, on the cores that ours need, so each round ends with a pause.
"""
import os
import subprocess
import sys
import time

import torch

LENGTHS = {1 << 20: (5, 5), 1 << 24: (3, 2)}  # elements: rounds, and threes of calls in each
PAUSE = 0.3  # seconds


def peers(n):
    a, b, out = torch.rand(n) * 4 - 2, torch.rand(n) * 4 - 2, torch.empty(n)
    return {
        "add": lambda: torch.add(a, b, out=out),
        "mul": lambda: torch.mul(a, b, out=out),
        "relu": lambda: torch.clamp_min(a, 0, out=out),
        "gelu": lambda: torch._C._nn.gelu(a, out=out),
        "exp": lambda: torch.exp(a, out=out),
        "tanh": lambda: torch.tanh(a, out=out),
        "silu": lambda: torch._C._nn.silu(a, out=out),
        "dot": lambda: torch.dot(a, b),
        "sum": lambda: torch.sum(a),
        "max": lambda: torch.max(a),
        "argmax": lambda: torch.argmax(a),
        "norm_2": lambda: torch.linalg.vector_norm(a),
        "log_sum_exp": lambda: torch.logsumexp(a, 0),
    }


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    binary = sys.argv[1]
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    only = sys.argv[3].split(",") if len(sys.argv) > 3 else None
    torch.set_num_threads(threads)
    environment = dict(os.environ, UPBEAT_WORKERS=str(threads))
    ours = subprocess.Popen(
        [binary, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
    )
    print(f"PyTorch {torch.__version__}, {threads} threads; us")
    for n, (rounds, threes) in LENGTHS.items():
        calls = peers(n)
        for name in only or calls:
            best = [float("inf")] * 2
            for _ in range(rounds):
                for _ in range(threes):
                    ours.stdin.write(f"{n} {name}\n")
                    best[0] = min(best[0], float(ours.stdout.readline()))
                best[1] = min([best[1]] + [seconds(calls[name]) for _ in range(3 * threes)])
                time.sleep(PAUSE)
            print(f"{n:9} {name:12} {best[0] * 1e6:10.1f} {best[1] * 1e6:10.1f} {best[1] / best[0]:6.2f}", flush=True)
    ours.stdin.close()
    ours.wait()


main()
