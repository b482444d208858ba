"""A coordinator and rigs as processes on loopback, and the pace of a job on them."""

import json
import os
import subprocess
import tempfile
import time
import urllib.request

START_S = 60
POLL_S = 0.02


def get(url):
    with urllib.request.urlopen(url, timeout=10) as r:
        return json.load(r)


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


class Network:
    """`with Network(emac, work) as net`: a coordinator with its own home below `work`; rigs are added."""

    def __init__(self, emac, work, cpus=None):
        self.emac = emac
        self.home = tempfile.mkdtemp(dir=work)
        self.env = {**os.environ, "EMAC_HOME": self.home}
        self.cpus = cpus  # of the coordinator, as taskset takes them
        self.processes = []
        self.rigs = 0

    def __enter__(self):
        try:
            self.start(self.cpus, "coordinator", "--dir", self.home + "/c", "--port", "0", "--dev")
            self.wait(lambda: os.path.exists(self.home + "/c/url"), "the coordinator's URL")
            self.url = open(self.home + "/c/url").read().strip()
            self.env["EMAC_URL"] = self.url
            self.run("wallet", "faucet")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for p in reversed(self.processes):
            p.terminate()
        for p in self.processes:
            p.wait()

    def start(self, cpus, *args):
        pin = ["taskset", "-c", cpus] if cpus else []
        self.processes.append(subprocess.Popen([*pin, self.emac, *args], env=self.env, stdout=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL))
        return self.processes[-1]

    def run(self, *args):
        p = subprocess.run([self.emac, *args], env=self.env, capture_output=True, text=True)
        if p.returncode:
            raise RuntimeError(f"emac {' '.join(args)}: {p.stderr.strip()[-300:]}")
        return p.stdout

    def rig(self, *options, cpus=None):
        """One more rig of one thread; returns when it is admitted."""
        self.rigs += 1
        process = self.start(cpus, "node", "--dir", f"{self.home}/n{self.rigs}", "--threads", "1", *options)
        self.wait(lambda: sum(n["state"] == "admitted" for n in get(self.url + "/v1/status")["nodes"]) >= self.rigs,
                  "a rig's admission")
        return process

    def wait(self, done, what):
        end = time.monotonic() + START_S
        while not done():
            if time.monotonic() > end:
                raise RuntimeError(f"{what} did not come within {START_S} s")
            time.sleep(POLL_S)

    def submit(self, job):
        return last_json(self.run("job", "submit", job, "--json"))["id"]

    def pace(self, job, first=1):
        """Run a job to its end: what happened from the end of step `first` to the end of the last step, as
        {tokens_per_second, seconds, steps, bytes_per_step}, and the job as it ended."""
        url = f"{self.url}/v1/jobs/{self.submit(job)}"
        begin = end = None
        while True:
            j = get(url)
            now = time.monotonic()
            if begin is None and j["step"] >= first:
                begin, done, moved = now, j["step"], j["bytes_moved"]
            if end is None and begin is not None and j["step"] == j["steps"]:
                end, moved = now, j["bytes_moved"] - moved
            if j["state"] != "running":
                break
            time.sleep(POLL_S)
        if j["state"] != "succeeded":
            raise RuntimeError(f"job {j['state']}: {j.get('reason')}")
        steps = j["steps"] - done
        return {"tokens_per_second": j["tokens"] / j["steps"] * steps / (end - begin), "seconds": end - begin,
                "steps": steps, "bytes_per_step": moved / steps}, j
