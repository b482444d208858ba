"""The peer of bench_gemm: numpy's OpenBLAS. Reads shapes as bench_gemm does, one a line, and answers
each with GFLOP/s, the best of as many slices of the same length."""

import os
import sys
import time

import numpy as np

SLICE_S, MEASURE_S = 0.003, 0.08
seconds = time.process_time if os.environ.get("OPENBLAS_NUM_THREADS") == "1" else time.perf_counter


def slice_seconds(a, b, out, runs):
    start = seconds()
    for _ in range(runs):
        np.matmul(a, b, out=out)
    return (seconds() - start) / runs


def measure(m, n, k, trans_a=0, trans_b=0):
    rng = np.random.default_rng(1)
    a = rng.random((k, m) if trans_a else (m, k), dtype=np.float32) - np.float32(0.5)
    b = rng.random((n, k) if trans_b else (k, n), dtype=np.float32) - np.float32(0.5)
    a, b = a.T if trans_a else a, b.T if trans_b else b
    out = np.empty((m, n), dtype=np.float32)
    slice_seconds(a, b, out, 1)
    best = slice_seconds(a, b, out, 1)
    runs = int(SLICE_S / best) + 1 if best < SLICE_S else 1
    end = time.perf_counter() + MEASURE_S
    while True:
        best = min(best, slice_seconds(a, b, out, runs))
        if time.perf_counter() >= end:
            return 2e-9 * m * n * k / best


for line in sys.stdin:
    print(f"{measure(*map(int, line.replace('x', ',').split(','))):.2f}", flush=True)
