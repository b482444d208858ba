"""What the rows share: where things are, peers, programs that answer line by line, the table."""

import json
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORES = os.cpu_count() or 1
PAUSE_S = 0.05  # so that threads of a peer that spin before they sleep do not disturb


class Missing(Exception):
    """Something that a row needs is not to be had; the sentence says what."""


def bible(path):
    """The King James Bible as a file, the text that rows train on: Debian's bible-kjv prints it."""
    try:
        with open(path, "wb") as f:
            subprocess.run(["bible", "gen1:1-rev22:21"], stdout=f, stdin=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError) as e:
        raise Missing("the text of the package bible-kjv is not there: install it") from e


class Bench:
    """One run of bench/run: the build directory, and the rows so far."""

    def __init__(self, build):
        self.build = build
        self.emac = os.path.join(build, "emac")
        self.rows, self.notes = [], []

    def program(self, name):
        path = os.path.join(self.build, "bench", name)
        if not os.path.exists(path):
            raise Missing(f"{path} is not built")
        return path

    def ratio(self, name, ours, peer, peer_name, unit, goal, ratios=None):
        """A row: paired runs, ours[i] right before or after peer[i]. ratio > 1: ours is better."""
        ratios = ratios or [a / b for a, b in zip(ours, peer)]
        middle = statistics.median(ratios)
        self.rows.append({"name": name, "ours": round(statistics.median(ours), 3),
                          "peer": round(statistics.median(peer), 3), "peer_name": peer_name, "unit": unit,
                          "ratio": round(middle, 4), "goal": goal, "runs": len(ratios),
                          "spread": round((max(ratios) - min(ratios)) / middle, 4)})

    def figure(self, name, value, unit):
        """A row without a peer."""
        self.rows.append({"name": name, "ours": value, "peer": None, "peer_name": None, "unit": unit,
                          "ratio": None, "goal": None, "runs": 1, "spread": None})

    def note(self, text):
        self.notes.append(text)
        print(f"note: {text}", flush=True)

    def python(self, *packages):
        """The Python of a virtual environment in BUILD/peers that has the packages, installed on demand."""
        home = os.path.join(self.build, "peers")
        python = os.path.join(home, "bin", "python")
        try:
            if not os.path.exists(python):
                subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True)
            for p in packages:
                if subprocess.run([python, "-c", f"import {p}"], capture_output=True).returncode:
                    print(f"installing {p} into {home}", flush=True)
                    subprocess.run([python, "-m", "pip", "install", "-q", p], check=True, capture_output=True)
        except (subprocess.CalledProcessError, OSError) as e:
            detail = (getattr(e, "stderr", b"") or b"").decode(errors="replace").strip()[-200:]
            raise Missing(f"peer {' '.join(packages)} is not to be had: {detail or e}") from e
        return python

    def save(self):
        with open(os.path.join(self.build, "bench.json"), "w") as f:
            json.dump(self.rows, f, indent=1)

    def print_table(self):
        print(f"\n{'name':24} {'ours':>12} {'peer':>12} {'ratio':>7} {'goal':>5} {'spread':>7}  unit; peer")
        for r in self.rows:
            print(f"{r['name']:24} {cell(r['ours'], 12, '.1f')} {cell(r['peer'], 12, '.1f')} "
                  f"{cell(r['ratio'], 7, '.3f')} {cell(r['goal'], 5, '.2f')} {cell(r['spread'], 7, '.1%')}  "
                  f"{r['unit']}{'; ' + r['peer_name'] if r['peer_name'] else ''}")
        for n in self.notes:
            print(f"note: {n}")
        print("load average %.2f %.2f %.2f" % os.getloadavg() + f", {CORES} cores")


def cell(value, width, how):
    return (format(value, how) if value is not None else "-").rjust(width)


def numeric_env(threads):
    """The environment for a peer: `threads` threads, and the best kernels it has for this machine."""
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    return {**env, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}


class Server:
    """A program that answers each line of its input by one line."""

    def __init__(self, *command, env=None):
        self.name = " ".join(command[:2])
        self.process = subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer.endswith("\n"):
            raise RuntimeError(f"{self.name} ended while it was asked '{line}'")
        time.sleep(PAUSE_S)
        return answer.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
