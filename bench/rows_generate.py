"""generate_124m: tokens a second of a 124M model in f32 on all cores, one at a time after a prompt of 64 (decode) and a
prompt of 512 at once (prefill), against transformers on PyTorch with the same weights and threads. Both take the
likeliest token; whether they are the same ones is said."""

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


def measure(bench, name):
    python = bench.python("torch", "transformers")
    with tempfile.TemporaryDirectory(prefix="emac-bench-") as folder, \
            Server(bench.program("bench_generate"), "--threads", str(CORES), "124m") as us:
        us.ask("save " + folder)
        peer = (python, os.path.join(ROOT, "bench", "peer_generate.py"), str(CORES), folder)
        with Server(*peer, env=numeric_env(CORES)) as them:
            prefills, decodes = [], []
            for _ in range(ROUNDS + 1):  # the first does not count
                prefills.append(pair(us, them, f"prefill {PREFILLED}", PREFILLED))
                pair(us, them, f"prefill {PROMPT}", PROMPT)
                decodes.append(pair(us, them, f"decode {DECODED}", DECODED))
    if not all(p[2] for p in prefills + decodes):
        bench.note(f"{name}: the likeliest tokens differ, which near ties may do")
    for what, pairs, how in (("decode", decodes, "one at a time"), ("prefill", prefills, f"{PREFILLED} at once")):
        bench.ratio(f"{name}_{what}", [p[0] for p in pairs[1:]], [p[1] for p in pairs[1:]], "transformers",
                    f"tokens/s, 124m f32, {how}", 1.0)
