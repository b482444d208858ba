"""conv2d_1t, conv2d_all: convolutions and their gradients against PyTorch's, turn by turn."""

import os
import statistics

from harness import ROOT, Server, numeric_env

# The gradient with respect to few channels is left out: nobody asks for that of an image.

ROUNDS = 3
CHANNELS_MIN = 4
GOAL = 1.0
PARTS = ("forward", "grad_x", "grad_w")
SHAPES = (  # images, size, channels, outputs, kernel, stride, padding
    (64, 28, 1, 16, 3, 1, 1), (64, 28, 1, 32, 5, 1, 2), (64, 32, 3, 32, 3, 1, 1), (16, 64, 3, 64, 7, 2, 3),
    (64, 14, 16, 32, 3, 1, 1), (64, 28, 32, 64, 3, 1, 1), (64, 14, 64, 64, 3, 1, 1), (64, 14, 64, 128, 3, 2, 1),
    (64, 7, 128, 128, 3, 1, 1), (64, 14, 64, 128, 1, 1, 0), (64, 28, 1, 192, 7, 7, 0))


def measure(bench, threads, name):
    ours, peer = {s: [] for s in SHAPES}, {s: [] for s in SHAPES}
    script = os.path.join(ROOT, "bench", "peer_conv.py")
    with Server(bench.program("bench_conv"), "--threads", str(threads)) as us, \
            Server(bench.python("torch", "numpy"), script, str(threads), env=numeric_env(threads)) as them:
        for _ in range(ROUNDS):
            for s in SHAPES:
                line = ",".join(map(str, s))
                ours[s].append([float(x) for x in us.ask(line).split()])
                peer[s].append([float(x) for x in them.ask(line).split()])
    for s in SHAPES:
        ratio = [statistics.median(a[i] / b[i] for a, b in zip(ours[s], peer[s])) for i in range(3)]
        print(f"  {name} {','.join(map(str, s)):>22}: " + ", ".join(
            f"{p} {statistics.median(a[i] for a in ours[s]):.1f} ({r:.2f} of PyTorch)"
            for i, (p, r) in enumerate(zip(PARTS, ratio))), flush=True)
    for i, part in enumerate(PARTS):
        shapes = [s for s in SHAPES if part != "grad_x" or s[2] >= CHANNELS_MIN]
        mean = lambda side: [statistics.geometric_mean(side[s][r][i] for s in shapes)  # noqa: E731
                             for r in range(ROUNDS)]
        bench.ratio(f"{name}_{part}", mean(ours), mean(peer), "PyTorch conv2d",
                    f"GFLOP/s, geometric mean of {len(shapes)} shapes, {threads} threads", GOAL)
