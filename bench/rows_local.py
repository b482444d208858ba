"""localsgd_bytes: how many times fewer bytes a trained token costs by local SGD than by synchronous training,
counted by the coordinator on real rigs; localsgd_loss: what that does to the held-out loss after the same
tokens. With the curve of loss against bytes for some recipes, BUILD/localsgd.svg: bytes of the 10M model as planned,
losses of a small one, whose matrices are whole blocks of a packed delta, so that as much of each weight is told."""

import math
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

from harness import CORES, ROOT, bible
from network import Network, get, last_json

RIGS = 4
# 10.0 million parameters; what travels does not depend on the micro-batch, so a small one does.
LARGE = {"hidden_size": 320, "intermediate_size": 864, "layers": 8, "heads": 5, "seq_len": 32, "micro_batch": 1,
         "micro_batches": 4, "warmup_steps": 1, "eval_batches": 0}
# Of the jobs whose bytes are counted: rounds in which each replica settles on a rig, and those that are counted.
FIRST, ROUNDS, INNER = 2, 4, 8
STEPS = int(os.environ.get("LOCALSGD_STEPS", "48000"))
TOKENS = 256  # a step's
# A replica sees a quarter of each step, so its gradients are noisier, and it is to stay near the others: it learns
# more slowly, and the outer step goes further than the mean of what replicas tell.
REPLICA = {"lr": 0.0008, "min_lr": 0.00004, "beta2": 0.999}
# Recipes of the curve: inner steps of a round, the form of a delta, that of the last round's. The first is what the
# rows tell of.
TOPK = "delta: topk, resume: own, outer_lr: 3, density: "
DENSE = "outer_lr: 1, outer_momentum: 0.5"
RECIPES = {"top-k 1/64, H 60": (60, TOPK + "0.015625", "int4"),
           "top-k 1/64, H 60, no last round": (60, TOPK + "0.015625", None),
           "top-k 1/64, H 240": (240, TOPK + "0.015625", "int4"),
           "top-k 1/64, H 15": (15, TOPK + "0.015625", "int4"),
           "int4, H 60": (60, "delta: int4, " + DENSE, None),
           "int8, H 15": (15, "delta: int8, " + DENSE, None)}


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


def recipe_spread(inner, form, last):
    return local_spread(inner, form + (f", last: {last}" if last else ""))


def bytes_planned(bench, work, form, rounds):
    """Of a whole job of the large model; without a form of synchronous steps."""
    steps = rounds * (INNER if form else 1)
    job = variant(work, {**LARGE, "steps": steps, "checkpoint_every": steps}, local_spread(INNER, form) if form else "")
    plan = subprocess.run([bench.emac, "job", "plan", job, "--rigs", str(RIGS), "--speed", "50", "--json", "--home",
                           os.path.join(work, "home")], capture_output=True, text=True, check=True)
    return last_json(plan.stdout)["bytes"]


def bytes_counted(bench, work, form):
    """Bytes that rigs move in a round once they have settled, whatever its inner steps."""
    inner = INNER if form else 1
    steps = (ROUNDS + FIRST) * inner
    job = variant(work, {**LARGE, "steps": steps, "checkpoint_every": steps}, local_spread(inner, form) if form else "")
    with Network(bench.emac, work) as net:
        for _ in range(RIGS):
            net.rig()
        pace, _ = net.pace(job, first=FIRST)  # of such a job what the network calls a step is a round
    return pace["bytes_per_step"]


def bytes_per_round(bench, work, form, planned):
    """Of the large model. In a plan, what more rounds move more: a job's begin and end are alike."""
    if not planned:
        return bytes_counted(bench, work, form)
    return (bytes_planned(bench, work, form, FIRST + ROUNDS) - bytes_planned(bench, work, form, FIRST)) / ROUNDS


def bytes_of_training(bench, work, inner, form, last, planned=True):
    """Of STEPS steps by the recipe: of its rounds, and of the last one."""
    each, rounds = bytes_per_round(bench, work, form, planned), -(-STEPS // inner)
    end = bytes_per_round(bench, work, f"delta: {last}", planned) if last else each
    return (rounds - 1) * each + end


def loss(bench, work, spread):
    """Held-out bits a byte after STEPS steps; one process gives the bits that any number of rigs would."""
    change = {"steps": STEPS, "warmup_steps": STEPS // 10, "checkpoint_every": STEPS, **(REPLICA if spread else {})}
    home = tempfile.mkdtemp(dir=work)
    shutil.copy(os.path.join(work, "corpus.txt"), home)
    out = subprocess.run([bench.emac, "train", variant(home, change, spread), "--local", "--threads", "1", "--json",
                          "--home", os.path.join(home, "home")], capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(f"emac train: {out.stderr.strip()[-300:]}")
    return last_json(out.stdout)["loss_bits_per_byte"]


def losses(bench, work, spreads):
    """A model this small has no work for a second thread, so each core trains one."""
    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(lambda spread: loss(bench, work, spread), spreads))


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
        bible(os.path.join(work, "corpus.txt"))
        first = next(iter(RECIPES.values()))
        sync = bytes_per_round(bench, work, None, False)
        local = bytes_of_training(bench, work, *first, planned=False)
        bench.ratio("localsgd_bytes", [STEPS / local], [1 / sync], "synchronous training, 10M parameters",
                    "steps a byte", 5000)
        whole, *others = losses(bench, work, ["", *(recipe_spread(*recipe) for recipe in RECIPES.values())])
        points = [("synchronous", bytes_per_round(bench, work, None, True) / TOKENS, whole)]
        for (name, recipe), bits in zip(RECIPES.items(), others):
            points.append((name, bytes_of_training(bench, work, *recipe) / STEPS / TOKENS, bits))
            bench.note(f"{points[-1][0]}: {points[-1][1]:.4g} bytes a token ({points[0][1] / points[-1][1]:.0f} times "
                       f"fewer), {bits:.4f} bits a byte ({bits / whole - 1:+.1%})")
        bench.ratio("localsgd_loss", [points[1][2]], [whole], "synchronous training, 0.12M parameters", "bits a byte",
                    0.98, [whole / points[1][2]])
        curve_write(os.path.join(bench.build, "localsgd.svg"), points)
    finally:
        shutil.rmtree(work, ignore_errors=True)
