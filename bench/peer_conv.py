"""The peer of bench_conv: PyTorch's conv2d and its gradients, in the memory layout it is fastest in.

peer_conv.py THREADS; reads and answers lines as bench_conv does."""

import sys
import time

import torch

SLICE_S, MEASURE_S = 0.003, 0.08
threads = int(sys.argv[1])
torch.set_num_threads(threads)
seconds = time.process_time if threads == 1 else time.perf_counter


def slice_seconds(run, runs):
    start = seconds()
    for _ in range(runs):
        run()
    return (seconds() - start) / runs


def best_seconds(run):
    slice_seconds(run, 1)
    best = slice_seconds(run, 1)
    runs = int(SLICE_S / best) + 1 if best < SLICE_S else 1
    end = time.perf_counter() + MEASURE_S
    while True:
        best = min(best, slice_seconds(run, runs))
        if time.perf_counter() >= end:
            return best


def gradient(x, w, dy, stride, padding, of):
    return lambda: torch.ops.aten.convolution_backward(
        dy, x, w, None, [stride, stride], [padding, padding], [1, 1], False, [0, 0], 1, [of == 0, of == 1, False])


def measure(batch, size, channels, outputs, kernel, stride, padding):
    best = [float("inf")] * 3
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.rand(batch, channels, size, size).to(memory_format=layout) - 0.5
        w = torch.rand(outputs, channels, kernel, kernel).to(memory_format=layout) - 0.5
        dy = torch.nn.functional.conv2d(x, w, None, stride, padding)
        runs = (lambda: torch.nn.functional.conv2d(x, w, None, stride, padding),
                gradient(x, w, dy, stride, padding, 0), gradient(x, w, dy, stride, padding, 1))
        best = [min(b, best_seconds(r)) for b, r in zip(best, runs)]
    flops = 2 * dy.numel() * channels * kernel * kernel
    return [1e-9 * flops / b for b in best]


with torch.no_grad():
    for line in sys.stdin:
        print(*("%.2f" % r for r in measure(*map(int, line.split(",")))), flush=True)
