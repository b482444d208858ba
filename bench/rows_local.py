"""localsgd_bytes: how many times fewer bytes a trained token costs by local SGD than by synchronous training,
counted by the coordinator on real rigs; localsgd_loss: what that does to the held-out loss after the same
tokens. With the curve of loss against bytes for some recipes, BUILD/localsgd.svg."""

import math
import os
import shutil
import subprocess
import tempfile

from harness import ROOT, Missing
from network import Network, last_json

RIGS = 4
# 10.0 million parameters; what travels does not depend on the micro-batch, so a small one does.
LARGE = {"hidden_size": 320, "intermediate_size": 864, "layers": 8, "heads": 5, "seq_len": 32, "micro_batch": 1,
         "micro_batches": 4, "warmup_steps": 1, "eval_batches": 0}
SMALL = {"seq_len": 32, "micro_batch": 1, "micro_batches": 4, "warmup_steps": 1, "eval_batches": 0}
ROUNDS, INNER = 4, 8  # of the jobs whose bytes are counted: long enough for each replica to settle on a rig
# Recipes of the curve: inner steps of a round, and the form of a delta. The first is what the rows tell of.
RECIPES = {"top-k 1/64, H 50": (50, "delta: topk, density: 0.015625"),
           "top-k 1/16, H 20": (20, "delta: topk, density: 0.0625"),
           "top-k 1/128, H 24, own": (24, "delta: topk, density: 0.0078125, outer_lr: 2, resume: own"),
           "top-k 1/128, H 6, own": (6, "delta: topk, density: 0.0078125, outer_lr: 2, resume: own"),
           "int4, H 50": (50, "delta: int4"),
           "int8, H 20": (20, "delta: int8"),
           "int8, H 5": (5, "delta: int8")}
STEPS = int(os.environ.get("LOCALSGD_STEPS", "400"))


def variant(work, change, spread=""):
    """bench/local.yaml with other values, and the spread if there is one."""
    lines = open(os.path.join(ROOT, "bench", "local.yaml")).read().splitlines()
    for i, line in enumerate(lines):
        key = line.split(":")[0].strip()
        if line.startswith("  ") and key in change:
            lines[i] = f"  {key}: {change[key]}"
    path = os.path.join(work, "job.yaml")
    with open(path, "w") as f:
        f.write("\n".join(lines) + ("\nspread: " + spread if spread else "") + "\n")
    return path


def local_spread(inner, form):
    return f"{{kind: local, replicas: {RIGS}, inner_steps: {inner}, {form}}}"


def bytes_per_round(bench, work, size, form):
    """Bytes that rigs move in a round, whatever its inner steps; without a form in a synchronous step."""
    inner = INNER if form else 1
    steps = (ROUNDS + 2) * inner
    job = variant(work, {**size, "steps": steps, "checkpoint_every": steps}, local_spread(inner, form) if form else "")
    with Network(bench.emac, work) as net:
        for _ in range(RIGS):
            net.rig()
        pace, _ = net.pace(job, first=2 * inner)
    return pace["bytes_per_step"] * inner


def loss(bench, work, spread):
    """Held-out bits a byte after STEPS steps; one process gives the bits that any number of rigs would."""
    change = {"steps": STEPS, "warmup_steps": STEPS // 10, "checkpoint_every": STEPS}
    out = subprocess.run([bench.emac, "train", variant(work, change, spread), "--local", "--json", "--home",
                          os.path.join(work, "home")], capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(f"emac train: {out.stderr.strip()[-300:]}")
    return last_json(out.stdout)["loss_bits_per_byte"]


def curve_write(path, points):
    """Points (name, bytes a token, bits a byte) as an SVG; bytes on a logarithmic axis."""
    xs, ys = [math.log10(p[1]) for p in points], [p[2] for p in points]
    low, high, least, most = min(xs), max(xs), min(ys), max(ys)
    place = lambda v, a, b, size: 60 + (v - a) / ((b - a) or 1) * size
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="640" height="360" font-family="sans-serif" font-size="12">',
           '<rect width="640" height="360" fill="white"/>',
           '<text x="20" y="20">held-out bits a byte against bytes a trained token (logarithmic)</text>']
    for (name, size, bits), x, y in zip(points, xs, ys):
        cx, cy = place(x, low, high, 420), 360 - place(y, least, most, 260)
        out.append(f'<circle cx="{cx:.0f}" cy="{cy:.0f}" r="4"/>'
                   f'<text x="{cx + 8:.0f}" y="{cy + 4:.0f}">{name}: {size:.3g} B, {bits:.3f}</text>')
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n</svg>\n")


def measure(bench):
    work = tempfile.mkdtemp(prefix="emac-bench-")
    try:
        with open(os.path.join(work, "corpus.txt"), "wb") as f:
            if subprocess.run(["bible", "gen1:1-rev22:21"], stdout=f).returncode:
                raise Missing("the corpus of bible-kjv")
        name, (inner, form) = next(iter(RECIPES.items()))
        sync, rounds = bytes_per_round(bench, work, LARGE, None), bytes_per_round(bench, work, LARGE, form)
        bench.ratio("localsgd_bytes", [inner / rounds], [1 / sync], "synchronous training, 10M parameters",
                    "steps a byte", 5000)
        whole = loss(bench, work, "")
        points = [("synchronous", bytes_per_round(bench, work, SMALL, None) / 6144, whole)]
        for name, (inner, form) in RECIPES.items():
            points.append((name, bytes_per_round(bench, work, SMALL, form) / inner / 6144,
                           loss(bench, work, local_spread(inner, form))))
            bench.note(f"{points[-1][0]}: {points[-1][1]:.4g} bytes a token ({points[0][1] / points[-1][1]:.0f} times "
                       f"fewer), {points[-1][2]:.4f} bits a byte ({points[-1][2] / whole - 1:+.1%})")
        bench.ratio("localsgd_loss", [points[1][2]], [whole], "synchronous training, 1.1M parameters", "bits a byte",
                    0.98, [whole / points[1][2]])
        curve_write(os.path.join(bench.build, "localsgd.svg"), points)
    finally:
        shutil.rmtree(work, ignore_errors=True)
