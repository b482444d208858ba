"""unlike_rigs: four rigs of the speeds 1, 0.5, 0.25 and 0.1 on one job, against the sum of what each does alone."""

import os
import re
import shutil
import statistics
import tempfile

from harness import CORES, ROOT, bible
from network import Network

SPEEDS = (1, 0.5, 0.25, 0.1)
# Rigs of one thread each; their shares of time must find room on the cores of the machine, beside the coordinator
# and whatever else runs.
SCALE = float(os.environ.get("UNLIKE_SCALE", 0.8 if CORES >= 2 else 0.4))
ALONE_STEPS = 2
GOAL = 1 / 1.15


def variant(job, steps, work):
    """The job with another number of steps: the same work in each of them."""
    path = os.path.join(work, f"steps-{steps}.yaml")
    with open(job) as f, open(path, "w") as out:
        out.write(re.sub(r"(?m)^(  (?:steps|checkpoint_every):).*", rf"\1 {steps}", f.read()))
    return path


def alone(bench, work, job, duty):
    with Network(bench.emac, work) as net:
        net.rig("--duty", str(duty))
        return net.pace(job)[0]["tokens_per_second"]


def together(bench, work, job):
    with Network(bench.emac, work) as net:
        for s in SPEEDS:
            net.rig("--duty", str(SCALE * s))
        pace, end = net.pace(job)
        return pace["tokens_per_second"], end["model"]


def measure(bench, pairs=3):
    work = tempfile.mkdtemp(prefix="emac-bench-")
    try:
        bible(os.path.join(work, "corpus.txt"))
        job = shutil.copy(os.path.join(ROOT, "bench", "unlike.yaml"), work)
        short = variant(job, ALONE_STEPS, work)
        ours, peer, models = [], [], set()
        for _ in range(pairs):
            each = [alone(bench, work, short, SCALE * s) for s in SPEEDS]
            rate, model = together(bench, work, job)
            models.add(model)
            bench.note("unlike_rigs: alone " + ", ".join(f"{e:.0f}" for e in each)
                       + f" tokens/s, together {rate:.0f} of {sum(each):.0f}")
            ours.append(rate), peer.append(sum(each))
        if len(models) != 1:
            raise RuntimeError(f"the runs gave {len(models)} models")
        bench.ratio("unlike_rigs", ours, peer, "the sum of what each rig does alone", "tokens/s", GOAL)
    finally:
        shutil.rmtree(work, ignore_errors=True)
