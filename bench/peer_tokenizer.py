"""The package tokenizers on one thread: peer_tokenizer.py TOKENIZER.json TEXT. Answers as bench_tokenizer does."""
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402

t = Tokenizer.from_file(sys.argv[1])
text = open(sys.argv[2], encoding="utf-8", newline="").read()
lines = text.split("\n")
for line in sys.stdin:
    start = time.process_time()
    if line.startswith("l"):
        n = sum(len(e.ids) for e in t.encode_batch_fast(lines, add_special_tokens=False))
    else:
        n = len(t.encode(text, add_special_tokens=False).ids)
    print(time.process_time() - start, n, flush=True)
