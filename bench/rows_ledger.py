"""The ledger and the coordinator under load, without a peer: the rows are figures with their goals in the note."""

import statistics
import subprocess

from harness import Missing

RUNS = 5


def answers(program, *args):
    """Runs of a program that prints one line of numbers; each number's median."""
    rows = []
    for _ in range(RUNS):
        p = subprocess.run([program, *args], capture_output=True, text=True)
        if p.returncode:
            raise Missing((p.stderr or p.stdout).strip()[-200:])
        rows.append([float(x) for x in p.stdout.split()])
    spread = (max(r[0] for r in rows) - min(r[0] for r in rows)) / statistics.median(r[0] for r in rows)
    return [statistics.median(column) for column in zip(*rows)], spread


def measure_transfers(b):
    (wall, own, size), spread = answers(b.program("bench_ledger"), "400000", "8000")
    b.figure("ledger_transfers", round(wall), "transfers/s, batches of 8000, each durable (goal 100000)")
    b.note(f"ledger_transfers: {own:.0f} a second of its own processor time, {size:.0f} bytes each, "
           f"spread {spread:.0%} of {RUNS} runs")
    (wall, _, _), spread = answers(b.program("bench_ledger"), "--ahead", "400000", "8000")
    b.note(f"ledger_transfers: {wall:.0f} a second where the next batch is prepared while the disk has the one "
           f"before, spread {spread:.0%} of {RUNS} runs")


def measure_assignments(b):
    for name, more, what in [("paid_assignments", [], ""), ("paid_assignments_jobs", ["--jobs", "4"], " and 4 jobs")]:
        (wall, own, lock, all_in_all), spread = answers(b.program("bench_paid"), *more, "32", "5")
        b.figure(name, round(wall), f"lease, result, check, pay, durable; /s with 32 rigs{what} (goal 5000)")
        b.note(f"{name}: {own:.0f} us of processor in the handlers, {lock:.0f} us under the lock, "
               f"{all_in_all:.0f} us with the rigs, spread {spread:.0%} of {RUNS} runs")
    (http, *_), spread = answers(b.program("bench_paid"), "--http", "32", "5")
    b.figure("paid_assignments_http", round(http), "the same through HTTP, rigs on the same cores")
