"""distributed_2rigs: a job on two rigs of one thread each against one process of two threads."""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request

from harness import ROOT


def get(url):
    with urllib.request.urlopen(url, timeout=10) as r:
        return json.load(r)


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


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
    home = tempfile.mkdtemp(dir=work)
    env = {**os.environ, "EMAC_HOME": home}
    procs = []

    def start(*cmd):
        procs.append(subprocess.Popen(cmd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    try:
        start("taskset", "-c", "0,1", bench.emac, "coordinator", "--dir", home + "/c", "--port", "0", "--dev")
        while not os.path.exists(home + "/c/url"):
            time.sleep(0.05)
        url = open(home + "/c/url").read().strip()
        env["EMAC_URL"] = url
        for i in (0, 1):
            start("taskset", "-c", str(i), bench.emac, "node", "--dir", f"{home}/n{i}", "--threads", "1")
        while sum(n["state"] == "admitted" for n in get(url + "/v1/status")["nodes"]) < 2:
            time.sleep(0.05)
        subprocess.run([bench.emac, "wallet", "faucet"], env=env, check=True, capture_output=True)
        p = subprocess.run([bench.emac, "job", "submit", job, "--json"], env=env, check=True,
                           capture_output=True, text=True)
        job_url = f"{url}/v1/jobs/{last_json(p.stdout)['id']}"
        begin = end = None
        moved = 0
        while True:
            j = get(job_url)
            now = time.monotonic()
            if j["step"] >= 1 and begin is None:
                begin, first, moved = now, j["step"], j["bytes_moved"]
            if j["step"] == j["steps"] and end is None:
                end, steps, moved = now, j["steps"], j["bytes_moved"] - moved
            if j["state"] != "running":
                break
            time.sleep(0.02)
        if j["state"] != "succeeded":
            raise RuntimeError(f"job {j['state']}: {j.get('reason')}")
        tokens = j["tokens"] / j["steps"] * (steps - first)
        return tokens / (end - begin), j["model"], moved / (steps - first), \
            j["figures"]["coordinator_us_per_task"]
    finally:
        for p in reversed(procs):
            p.terminate()
        for p in procs:
            p.wait()


def measure(bench):
    work = tempfile.mkdtemp(prefix="emac-bench-")
    try:
        corpus = os.path.join(work, "corpus.txt")
        with open(corpus, "wb") as f:
            subprocess.run(["bible", "gen1:1-rev22:21"], stdout=f, check=True)
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
