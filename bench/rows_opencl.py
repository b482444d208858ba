"""opencl_gemm: the matrix product against CLBlast on the same OpenCL device; opencl_train: a training step on
that device against our own CPU backend. The device is the first there is, or what EMAC_BENCH_OPENCL names; without a
card that is PoCL on the CPU, so both sides of each row have the same cores."""

import os
import statistics

from harness import CORES, Missing, Server
from rows_gemm import SHAPES, text
from rows_train import WARM, step, tokens

ROUNDS = 3
# CLBlast under PoCL reaches 2 to 8 GFLOP/s: a vocabulary's product (20 GFLOP) takes it some 10 s, times the runs of
# a timing, and says nothing that the layers' products do not.
FLOPS_MAX = 4e9
PAIRS = {"124m": 3, "10m": 9}
GROUPS = ("124M, 4 x 64 tokens", "ragged")
DEVICE = ("--device", "opencl:" + os.environ.get("EMAC_BENCH_OPENCL", "0"))


def start(server):
    """The server, or Missing when it ended at once: no device, or no peer."""
    if server.process.poll() is not None:
        raise Missing(f"{server.name} does not start (is there an OpenCL device, and CLBlast?)")
    return server


def measure_gemm(bench, name):
    shapes = [s for group in GROUPS for s in SHAPES[group] if 2.0 * s[0] * s[1] * s[2] <= FLOPS_MAX]
    rates = {s: [] for s in shapes}
    with start(Server(bench.program("bench_opencl"), *DEVICE)) as server:
        for s in shapes:
            try:
                rates[s] = [tuple(map(float, server.ask(text(s).replace("x", ",")).split())) for _ in range(ROUNDS)]
            except RuntimeError as e:
                raise Missing(str(e)) from e
            print(f"  {name} {text(s):>20}: {statistics.median(a for a, _ in rates[s]):7.1f} GFLOP/s, "
                  f"{statistics.median(a / b for a, b in rates[s]):5.2f} of CLBlast", flush=True)
    mean = lambda side, i: statistics.geometric_mean([rates[s][i][side] for s in shapes])  # noqa: E731
    bench.ratio(name, [mean(0, i) for i in range(ROUNDS)], [mean(1, i) for i in range(ROUNDS)],
                "CLBlast, same device", "GFLOP/s, geometric mean", 2.0)


def measure_train(bench, model, shape, name):
    with start(Server(bench.program("bench_train"), *DEVICE, model, shape)) as us, \
            Server(bench.program("bench_train"), "--threads", str(CORES), model, shape) as cpu:
        warm = [(step(us)[1], step(cpu)[1]) for _ in range(WARM[model])]
        if any(a != b for a, b in warm):
            raise RuntimeError(f"the device's losses differ from the CPU's: {warm}")
        pairs = [(step(us)[0], step(cpu)[0]) for _ in range(PAIRS[model])]
    rate = [[tokens(shape) / s for s in side] for side in zip(*pairs)]
    bench.ratio(name, *rate, "our CPU backend", f"tokens/s, {model} at {shape}", 0.5)
