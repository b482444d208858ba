"""opencl_gemm: the matrix product against CLBlast on the same OpenCL device; opencl_train: a training step on
that device against our own CPU backend; bytes_over_bus_per_step: what crosses to the device and back in a step whose
results stay there, against the tokens in (an input and a target of four bytes each) and one gradient out. The device is the first there is, or what EMAC_BENCH_OPENCL names; without a
card that is PoCL on the CPU, so both sides of each row have the same cores."""

import json
import os
import statistics
import subprocess
import tempfile

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


# 3.2M parameters: large enough that its state would show, small enough for a processor in the place of a card.
BUS_JOB = {"name": "bus", "kind": "train", "seed": 1,
           "model": {"architecture": "llama", "vocab_size": 256, "hidden_size": 256, "intermediate_size": 704, "layers": 4,
                     "heads": 4, "kv_heads": 4},
           "recipe": {"optimiser": "adamw", "seq_len": 128, "micro_batch": 4, "micro_batches": 2, "lr": 0.001,
                      "eval_batches": 1}, "budget": "1"}
BUS_STEPS = (4, 12)  # what a step takes is the difference: the beginning, one checkpoint and the end are in both


def bus_bytes(bench, work, steps):
    """Bytes over the bus of a run of so many steps, and its tokens."""
    job = {**BUS_JOB, "data": {"file": os.path.join(work, "text"), "heldout": 0.1},
           "recipe": {**BUS_JOB["recipe"], "steps": steps, "checkpoint_every": steps}}
    path = os.path.join(work, "job.yaml")
    with open(path, "w") as f:
        json.dump(job, f)
    out = subprocess.run([bench.emac, "train", path, "--local", "--results", "card", *DEVICE, "--json"], text=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env={**os.environ, "EMAC_HOME": os.path.join(work, f"home-{steps}")})
    if out.returncode:
        raise Missing(out.stderr.strip()[-300:])
    got = json.loads(out.stdout.strip().splitlines()[-1])
    moved = got["device"]
    return moved["bus_written"] + moved["bus_read"] + moved["bus_asked"], got["tokens"]


def measure_bus(bench, name):
    with tempfile.TemporaryDirectory(prefix="emac-bench-") as work:
        with open(os.path.join(work, "text"), "w") as f:
            f.writelines(f"{i} and {i * i % 977} make {i * 7 % 1013}.\n" for i in range(20000))
        (few, few_tokens), (many, many_tokens) = (bus_bytes(bench, work, n) for n in BUS_STEPS)
    steps = BUS_STEPS[1] - BUS_STEPS[0]
    m = BUS_JOB["model"]
    gradient = 4 * (2 * m["vocab_size"] * m["hidden_size"] + m["hidden_size"] * (2 * m["layers"] + 1) + m["layers"] *
                    (4 * m["hidden_size"] ** 2 + 3 * m["hidden_size"] * m["intermediate_size"]))
    ours, tokens = (many - few) / steps, 8 * (many_tokens - few_tokens) / steps
    bench.ratio(name, [ours], [tokens + gradient], "tokens in, gradients out", "bytes a step", 1.0,
                ratios=[(tokens + gradient) / ours])
    bench.note(f"{name}: tokens are {tokens:.0f} of them; one rig, so that nobody asks for the gradient; the state of a "
               f"step has {3 * gradient / 1e6:.1f} MB")
