"""tokenizer_encode: the King James Bible into ids on one thread, verse by verse, by a byte-level BPE of 8192 tokens
trained on it with Llama 3's expression, against the package tokenizers, which gives the same ids. And tokenizer_train:
making that tokenizer."""

import os
import subprocess
import tempfile
import time

from harness import ROOT, Server, bible

ROUNDS = 7


def measure(bench):
    python = bench.python("tokenizers")
    with tempfile.TemporaryDirectory() as work:
        text, words = work + "/text", work + "/words"
        bible(text)
        start = time.monotonic()
        subprocess.run([bench.emac, "tokenizer", "train", text, "--vocab", "8192", "--out", words, "--quiet"], check=True)
        bench.figure("tokenizer_train", round(time.monotonic() - start, 2), "s, 4.3 MB, 8192 tokens")
        names = words + "/tokenizer.json", text
        size = os.path.getsize(text)
        with Server(python, os.path.join(ROOT, "bench", "peer_tokenizer.py"), *names) as peer, \
                Server(bench.program("bench_tokenizer"), *names) as us:
            rates = []
            for _ in range(ROUNDS):
                (a, n), (b, m) = us.ask("lines").split(), peer.ask("lines").split()
                assert n == m, f"{n} ids here, {m} there"
                rates.append((size / float(a) / 1e6, size / float(b) / 1e6))
            bench.ratio("tokenizer_encode", *map(list, zip(*rates)), "tokenizers (PyPI)", "MB/s, 8192 tokens, 1 thread", 1.0)
