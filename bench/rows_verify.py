"""verify_overhead: the share of all compute that goes into checking results, simulated with the real policy."""

import statistics
import subprocess

SEEDS = 5


def measure(bench):
    shares, first = [], []
    for seed in range(1, SEEDS + 1):
        out = subprocess.run([bench.program("bench_verify"), str(seed)], capture_output=True, text=True, check=True)
        day, steady, _, results = out.stdout.split()
        first.append(float(day))
        shares.append(float(steady))
    bench.note(f"verify_overhead: {statistics.median(first):.4f} of the compute in the first day of a network of new "
               f"rigs, {min(shares):.4f} to {max(shares):.4f} at the steady state ({results} results each, 1 % of the "
               "rigs replaced a day)")
    bench.figure("verify_overhead", round(statistics.median(shares), 5), "share of compute")
