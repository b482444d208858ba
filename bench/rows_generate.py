"""generate_124m: tokens a second of a 124M model in f32 on all cores, one at a time after a prompt of 64 (decode) and a
prompt of 512 at once (prefill), against transformers on PyTorch with the same weights and threads. Both take the
likeliest token; whether they are the same ones is said.

generate_124m_x8: tokens a second in all of eight answers at once, in one step each time, against the same eight one
after another, and against transformers with a batch of eight."""

import os
import tempfile

from harness import CORES, ROOT, Server, numeric_env

PROMPT, DECODED, PREFILLED = 64, 32, 512
ROUNDS = 7


def ask(server, line):
    seconds, token = server.ask(line).split()
    return float(seconds), int(token)


def pair(us, them, line, tokens):
    (a, ours), (b, theirs) = ask(us, line), ask(them, line)
    return tokens / a, tokens / b, ours == theirs


def compare(bench, name, us, them, peer, form="f32", differ="near ties"):
    prefills, decodes = [], []
    for _ in range(ROUNDS + 1):  # the first does not count
        prefills.append(pair(us, them, f"prefill {PREFILLED}", PREFILLED))
        pair(us, them, f"prefill {PROMPT}", PROMPT)
        decodes.append(pair(us, them, f"decode {DECODED}", DECODED))
    if not all(p[2] for p in prefills + decodes):
        bench.note(f"{name}: the likeliest tokens differ, which {differ} may do")
    for what, pairs, how in (("decode", decodes, "one at a time"), ("prefill", prefills, f"{PREFILLED} at once")):
        bench.ratio(f"{name}_{what}", [p[0] for p in pairs[1:]], [p[1] for p in pairs[1:]], peer,
                    f"tokens/s, 124m {form}, {how}", 1.0)


def measure(bench, name):
    python = bench.python("torch", "transformers")
    with tempfile.TemporaryDirectory(prefix="emac-bench-") as folder, \
            Server(bench.program("bench_generate"), "--threads", str(CORES), "124m") as us:
        us.ask("save " + folder)
        peer = (python, os.path.join(ROOT, "bench", "peer_generate.py"), str(CORES), folder)
        with Server(*peer, env=numeric_env(CORES)) as them:
            compare(bench, name, us, them, "transformers")


TOGETHER = 8


def measure_together(bench, name):
    python = bench.python("torch", "transformers")
    tokens = TOGETHER * DECODED
    with tempfile.TemporaryDirectory(prefix="emac-bench-") as folder, \
            Server(bench.program("bench_generate"), "--threads", str(CORES), "124m") as us:
        us.ask("save " + folder)
        peer = (python, os.path.join(ROOT, "bench", "peer_generate.py"), str(CORES), folder)
        with Server(*peer, env=numeric_env(CORES)) as them:
            alone, batches, same = [], [], True
            for _ in range(ROUNDS + 1):  # the first does not count
                one, _ = ask(us, f"together 1 {DECODED}")
                ours, theirs, equal = pair(us, them, f"together {TOGETHER} {DECODED}", tokens)
                alone.append((ours, DECODED / one))
                batches.append((ours, theirs))
                same = same and equal
    if not same:
        bench.note(f"{name}: the likeliest tokens differ, which near ties may do")
    what = f"tokens/s, 124m f32, {TOGETHER} answers at once"
    bench.ratio(f"{name}_over_1", [a[0] for a in alone[1:]], [a[1] for a in alone[1:]], "one at a time", what, 2.0)
    bench.ratio(name, [b[0] for b in batches[1:]], [b[1] for b in batches[1:]], "transformers", what, 1.0)
