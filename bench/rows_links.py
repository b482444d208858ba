"""link_busy_localsgd, link_busy_pipeline: the share of the time between a job's first and last task during which
rigs behind thin links computed, and how near `emac job plan` came to time and share before the job began."""

import os
import shutil
import statistics
import tempfile

from harness import ROOT, bible
from network import Network, get, last_json

LINK = "10M,50M,60ms"
RIGS = 2
# What is added to bench/links.yaml, what is changed of its recipe, and what must hold. The arithmetic is in
# docs/links.md: for rigs of up to 120 GFLOP/s a stage's work on a micro-batch must take longer than to take one in, which
# h L = 6,144 with int8 does, and 64 micro-batches hide the filling and the draining.
LOCAL = {"spread": "{kind: local, replicas: 2, inner_steps: 200, delta: topk}", "change": {}, "goal": 0.95}
PIPELINE = {"spread": "{kind: pipeline, stages: 2, activations: int8}",
            "change": {"hidden_size": 128, "intermediate_size": 344, "layers": 48, "micro_batch": 32,
                       "micro_batches": 64, "steps": 2, "warmup_steps": 1, "checkpoint_every": 2}, "goal": 0.80}
# The rigs' speeds are measured by a short job of the same kind before the plan is asked.
SHORT = {"steps": 2, "checkpoint_every": 2, "warmup_steps": 1, "micro_batches": 8}


def variant(work, name, what, change):
    """bench/links.yaml with other values and the spread."""
    lines = open(os.path.join(ROOT, "bench", "links.yaml")).read().splitlines()
    values = {**what["change"], **change}
    for i, line in enumerate(lines):
        key = line.split(":")[0].strip()
        if line.startswith("  ") and key in values:
            lines[i] = f"  {key}: {values[key]}"
    path = os.path.join(work, name)
    with open(path, "w") as f:
        f.write("\n".join(lines) + f"\nspread: {what['spread']}\n")
    return path


def run(net, job):
    """A job to its end; as `emac job show` tells it."""
    end = last_json(net.run("job", "submit", job, "--wait", "--json"))
    return get(f"{net.url}/v1/jobs/{end['id']}")


def measure(bench, name, what):
    work = tempfile.mkdtemp(prefix="emac-bench-")
    try:
        bible(os.path.join(work, "corpus.txt"))
        with Network(bench.emac, work) as net:
            for _ in range(RIGS):
                net.rig("--link", LINK)
            run(net, variant(work, "short.yaml", what, SHORT))
            job = variant(work, "job.yaml", what, {})
            plan = last_json(net.run("job", "plan", job, "--link", LINK, "--json"))
            shares = run(net, job)["shares"]
        busy = [r["busy"] for r in shares["rigs"]]
        planned = [r["busy"] for r in plan["rigs"]]
        seconds = shares["span_ms"] / 1000
        bench.note(f"{name}: rigs busy " + ", ".join(f"{b:.3f}" for b in busy) + " of "
                   f"{seconds:.0f} s; planned " + ", ".join(f"{b:.3f}" for b in planned)
                   + f" of {plan['work_seconds']:.0f} s (time {plan['work_seconds'] / seconds - 1:+.1%}, "
                   f"share {statistics.mean(planned) / statistics.mean(busy) - 1:+.1%})")
        bench.ratio(name, [statistics.mean(busy)], [1.0], "a rig that never waits", "share", what["goal"])
    finally:
        shutil.rmtree(work, ignore_errors=True)
