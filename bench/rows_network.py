"""distributed_2rigs: a job on two rigs of one thread each against one process of two threads."""

import os
import shutil
import statistics
import subprocess
import tempfile

from harness import ROOT, bible
from network import Network, last_json


def local(bench, work, job):
    home = tempfile.mkdtemp(dir=work)
    p = subprocess.run(["taskset", "-c", "0,1", bench.emac, "train", job, "--local", "--threads", "2", "--json",
                        "--home", home], capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError(p.stderr)
    r = last_json(p.stdout)
    return r["tokens_per_second"], r["model"]


def two_rigs(bench, work, job):
    """Tokens a second from the end of step 1 to the end of the last step; model; figures."""
    with Network(bench.emac, work, cpus="0,1") as net:
        for cpu in ("0", "1"):
            net.rig(cpus=cpu)
        pace, j = net.pace(job)
    return pace["tokens_per_second"], j["model"], pace["bytes_per_step"], j["figures"]["coordinator_us_per_task"]


def measure(bench):
    work = tempfile.mkdtemp(prefix="emac-bench-")
    try:
        bible(os.path.join(work, "corpus.txt"))
        job = shutil.copy(os.path.join(ROOT, "bench", "3m.yaml"), work)
        ours, peer, moved, spent = [], [], [], []
        for _ in range(3):
            b, local_model = local(bench, work, job)
            a, model, per_step, us = two_rigs(bench, work, job)
            if model != local_model:
                raise RuntimeError(f"two rigs gave {model}, --local {local_model}")
            ours.append(a), peer.append(b), moved.append(per_step), spent.append(us)
        bench.ratio("distributed_2rigs", ours, peer, "emac train --local --threads 2", "tokens/s", 0.90)
        bench.figure("bytes_per_step_2rigs", round(statistics.median(moved)), "bytes")
        bench.figure("coordinator_per_task", round(statistics.median(spent), 1), "us")
    finally:
        shutil.rmtree(work, ignore_errors=True)
