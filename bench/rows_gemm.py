"""gemm_f32_1t, gemm_f32_all: the matrix product against OpenBLAS (numpy's), turn by turn."""

import os
import statistics

from harness import ROOT, Server, numeric_env

ROUNDS = 3
GOAL, GOAL_EACH = 1.0, 0.85


def layer(tokens, out, inner):
    """y[tokens, out] = x W^T, dx = dy W, dW = dy^T x as M, N, K, transposed A, transposed B."""
    return [(tokens, out, inner, 0, 1), (tokens, inner, out, 0, 0), (out, inner, tokens, 1, 0)]


def model(tokens, width, inner, kv, vocabulary):
    """The products of a Llama's training step: q and o; k and v; gate and up; down; the vocabulary."""
    sizes = dict.fromkeys([(width, width), (kv, width), (inner, width), (width, inner), (vocabulary, width)])
    return [s for out, into in sizes for s in layer(tokens, out, into)]


SHAPES = {
    "124M, 4 x 64 tokens": model(256, 768, 2048, 768, 50304),
    "124M, 4 x 512 tokens": model(2048, 768, 2048, 768, 50304),
    "1.1B, 256 tokens": model(256, 2048, 5632, 256, 32000),
    "ragged": [(333, 257, 511, 0, 0), (333, 257, 511, 0, 1), (333, 257, 511, 1, 0), (127, 131, 137, 0, 1),
               (61, 509, 1021, 0, 0), (1021, 61, 509, 1, 0), (509, 1021, 61, 0, 1), (2047, 769, 257, 0, 1),
               (769, 257, 2047, 1, 0), (255, 3073, 769, 0, 1), (31, 33, 1025, 0, 0), (1000, 1000, 1000, 0, 0),
               (97, 101, 103, 0, 0)],
    "thin": [(m, n, k, 0, 1) for m in (1, 2, 3, 4, 5, 7, 8, 12, 13, 15, 16) for n, k in ((768, 768), (2048, 768))]
    + [(m, n, k, 0, 0) for m in (1, 3, 6, 11, 14, 16) for n, k in ((768, 2048), (769, 767))]
    + [(m, 50304, 768, 0, 1) for m in (1, 4, 9, 16)] + [(m, 768, 256, 1, 0) for m in (1, 5, 16)],
}


def text(shape):
    return "{}x{}x{},{},{}".format(*shape)


def measure(bench, threads, name):
    python = bench.python("numpy")
    shapes = [s for group in SHAPES.values() for s in group]
    peak, ours, peer = [], {s: [] for s in shapes}, {s: [] for s in shapes}
    with Server(bench.program("bench_gemm"), "--threads", str(threads)) as us, \
            Server(python, os.path.join(ROOT, "bench", "peer_blas.py"), env=numeric_env(threads)) as them:
        for _ in range(ROUNDS):
            peak.append(float(us.ask("peak")))
            for s in shapes:
                ours[s].append(float(us.ask(text(s))))
                peer[s].append(float(them.ask(text(s))))
    ratio = {s: statistics.median(a / b for a, b in zip(ours[s], peer[s])) for s in shapes}
    share = {s: statistics.median(ours[s]) / max(peak) if max(peak) > 0 else 0 for s in shapes}
    for group, members in SHAPES.items():
        for s in members:
            print(f"  {name} {text(s):>20}: {statistics.median(ours[s]):7.1f} GFLOP/s, {ratio[s]:5.2f} of OpenBLAS, "
                  f"{share[s]:4.0%} of the peak{'' if ratio[s] >= GOAL_EACH else '  < ' + str(GOAL_EACH)}")
        print(f"  {name} {group}: {statistics.geometric_mean([ratio[s] for s in members]):.2f} of OpenBLAS", flush=True)
    mean = lambda values, i: statistics.geometric_mean([values[s][i] for s in shapes])  # noqa: E731
    bench.ratio(name, [mean(ours, i) for i in range(ROUNDS)], [mean(peer, i) for i in range(ROUNDS)],
                "OpenBLAS (numpy)", f"GFLOP/s, geometric mean of {len(shapes)} shapes, {threads} threads", GOAL)
    worst = min(shapes, key=lambda s: ratio[s])
    bench.ratio(name + "_worst", ours[worst], peer[worst], "OpenBLAS (numpy)", f"GFLOP/s, {text(worst)}", GOAL_EACH)
    bench.figure(name + "_peak", round(max(peak), 1), f"GFLOP/s of fma between registers, {threads} threads")
