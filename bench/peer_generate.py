"""The peer of bench_generate, transformers on PyTorch: peer_generate.py THREADS DIR

DIR is what the command `save` of bench_generate wrote. Answers the commands `prefill N`, `decode N` and `together M N`
on standard input as bench_generate does."""

import json
import os
import sys
import time

import torch
from transformers import AutoModelForCausalLM


PROMPT = 64


class Transformers:
    def __init__(self, threads, folder):
        torch.set_num_threads(threads)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def feed_rows(self, rows, anew):
        with torch.inference_mode():
            out = self.model(input_ids=torch.tensor(rows), past_key_values=None if anew else self.cache,
                             use_cache=True, logits_to_keep=1)
        self.cache = out.past_key_values
        return out.logits[:, -1].argmax(-1).tolist()

    def feed(self, ids, anew):
        return self.feed_rows([ids], anew)[0]


def main():
    threads, folder = int(sys.argv[1]), sys.argv[2]
    peer, token = Transformers(threads, folder), 0
    clock = time.process_time if threads == 1 else time.monotonic  # as bench_time of bench.h
    vocab = json.load(open(os.path.join(folder, "config.json")))["vocab_size"]
    for line in sys.stdin:
        what, *numbers, n = line.split()
        if what == "together":
            tokens = peer.feed_rows([[(k * 7919 + 17 + i * 101) % vocab for k in range(PROMPT)]
                                     for i in range(int(numbers[0]))], True)
        start = clock()
        if what == "together":
            for _ in range(int(n)):
                tokens = peer.feed_rows([[t] for t in tokens], False)
            token = tokens[-1]
        elif what == "prefill":
            token = peer.feed([(i * 7919 + 17) % vocab for i in range(int(n))], True)
        else:
            for _ in range(int(n)):
                token = peer.feed([token], False)
        print(f"{clock() - start:.9f} {token}", flush=True)


main()
