"""generate_124m_llamacpp: as generate_124m, against llama.cpp with the model that `emac model export` writes: in f32 and as
q8_0, on all cores and (..._1t) with one thread in processor time. llama.cpp is npm's node-llama-cpp, which
`tests/interop/run BUILD llamacpp` installs."""

import json
import os
import subprocess
import tempfile

from harness import ROOT, Missing, Server
from rows_generate import compare

END = "<|endoftext|>"


def tokenizer_put(folder, vocab):
    """Some tokenizer for the model to be exported with: the 256 bytes, and an end."""
    plain = [b for b in range(256) if 33 <= b <= 126 or (b >= 161 and b != 173)]
    rest = [b for b in range(256) if b not in plain]
    symbols = [chr(b) for b in plain] + [chr(256 + i) for i in range(len(rest))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    texts = {"tokenizer.json": {"added_tokens": [{"id": vocab - 1, "content": END, "special": True}],
                                "pre_tokenizer": level, "decoder": level,
                                "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate(symbols)}, "merges": []}},
             "tokenizer_config.json": {"eos_token": END}}
    for name, text in texts.items():
        with open(os.path.join(folder, name), "w") as f:
            json.dump(text, f)


def exported(bench, folder, form):
    with open(os.path.join(folder, "config.json")) as f:
        tokenizer_put(folder, json.load(f)["vocab_size"])
    path = os.path.join(folder, "model.gguf")
    subprocess.run([bench.emac, "model", "export", folder, path, "--quiet", *(["--format", form] if form else [])],
                   check=True)
    return path


def measure(bench, name, threads, form):
    packages = os.path.join(bench.build, "interop", "llamacpp")
    if not os.path.isdir(os.path.join(packages, "node_modules", "node-llama-cpp")):
        raise Missing("llama.cpp is not there: 'tests/interop/run BUILD llamacpp' installs it")
    ours = (bench.program("bench_generate"), "--threads", str(threads), "124m", *([form] if form else []))
    with tempfile.TemporaryDirectory(prefix="emac-bench-") as folder:
        with Server(bench.program("bench_generate"), "124m") as plain:
            plain.ask("save " + folder)
        peer = ("node", os.path.join(ROOT, "bench", "peer_llamacpp.mjs"), packages, str(threads),
                exported(bench, folder, form))
        with Server(*ours) as us, Server(*peer) as them:
            compare(bench, name, us, them, "llama.cpp", form or "f32", "near ties and blocks")
