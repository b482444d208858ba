"""train_*: a training step against PyTorch (the better of eager and torch.compile) and against a built
llm.c; peak_memory_124m: the memory it takes. Turn by turn, the first steps apart; both start from the same
weights and see the same batches, so their losses are compared as well."""

import os
import re
import statistics
import subprocess
import tempfile

from harness import CORES, ROOT, Missing, Server, numeric_env

WARM = {"124m": 4, "10m": 20}    # steps before any counts: caches, arenas and compilers settle
PAIRS = {"124m": 7, "10m": 31}
TRIES = {"124m": 3, "10m": 15}   # steps that tell whether eager or compile is faster
LOSS_TOLERANCE = 1e-3            # relative; both round differently, and the difference grows
LLMC_STEPS = 8


def step(server):
    seconds, loss = map(float, server.ask("step").split())
    return seconds, loss


def check_losses(ours, peer):
    for i, (a, b) in enumerate(zip(ours, peer)):
        if abs(a - b) > LOSS_TOLERANCE * abs(b):
            raise RuntimeError(f"step {i}: our loss is {a}, the peer's {b}; they do not train the same model")


def torch_server(bench, how, model, shape, weights):
    return Server(bench.python("torch", "numpy"), os.path.join(ROOT, "bench", "peer_torch.py"), how, str(CORES), model,
                  shape, weights, env=numeric_env(CORES))


def better_torch(bench, model, shape, weights):
    """(eager or compile, whichever is faster; seconds a step of each)."""
    seconds = {}
    for how in ("eager", "compile"):
        try:
            with torch_server(bench, how, model, shape, weights) as them:
                for _ in range(WARM[model]):
                    step(them)
                seconds[how] = statistics.median(step(them)[0] for _ in range(TRIES[model]))
        except RuntimeError as e:
            bench.note(f"PyTorch {how}: {e}")
    if not seconds:
        raise Missing("PyTorch does not run")
    print(f"  {model} {shape}: PyTorch " + ", ".join(f"{k} {v * 1e3:.1f} ms" for k, v in seconds.items()), flush=True)
    return min(seconds, key=seconds.get)


def tokens(shape):
    sequences, length = map(int, shape.split("x"))
    return sequences * length


def measure(bench, model, shape, name, memory_name=None):
    with tempfile.TemporaryDirectory(prefix="emac-bench-") as work, \
            Server(bench.program("bench_train"), "--threads", str(CORES), model, shape) as us:
        weights = os.path.join(work, "weights")
        us.ask("init " + weights)
        how = better_torch(bench, model, shape, weights)
        with torch_server(bench, how, model, shape, weights) as them:
            warm = [(step(us), step(them)) for _ in range(WARM[model])]
            check_losses([a[1] for a, _ in warm], [b[1] for _, b in warm])
            pairs = [(step(us)[0], step(them)[0]) for _ in range(PAIRS[model])]
            memory = [float(s.ask("memory")) / 1e6 for s in (us, them)]
    rate = [[tokens(shape) / s for s in side] for side in zip(*pairs)]
    bench.ratio(name, *rate, f"PyTorch {how}", f"tokens/s, {model} at {shape}", 1.25)
    if memory_name:
        bench.ratio(memory_name, memory[:1], memory[1:], f"PyTorch {how}", f"MB of the whole process, {model} at {shape}",
                    1.0, ratios=[memory[1] / memory[0]])


def measure_llmc(bench, shape, name):
    """LLMC: the path of a built train_gpt2 (CPU). It runs batches of 4 x 64 and prints "(took N ms)" a step."""
    program = os.environ.get("LLMC")
    if not program:
        raise Missing("LLMC does not name a built train_gpt2")
    env = {**os.environ, "OMP_NUM_THREADS": str(CORES)}
    with Server(bench.program("bench_train"), "--threads", str(CORES), "124m", shape) as us:
        with subprocess.Popen([program], cwd=os.path.dirname(program), env=env, text=True, stdout=subprocess.PIPE) as p:
            took = []
            for line in p.stdout:
                found = re.search(r"\(took ([0-9.]+) ms\)", line)
                if found:
                    took.append(float(found.group(1)) / 1e3)
                if len(took) == LLMC_STEPS:
                    break
            p.kill()
        ours = [step(us)[0] for _ in range(LLMC_STEPS)]
    if len(took) < LLMC_STEPS:
        raise Missing(f"'{program}' printed {len(took)} steps, {LLMC_STEPS} are needed")
    bench.ratio(name, [tokens(shape) / s for s in ours[1:]], [tokens(shape) / s for s in took[1:]], "llm.c",
                f"tokens/s, 124m at {shape}", 5.0)
