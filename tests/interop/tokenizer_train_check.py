"""Training against the package tokenizers: tokenizer_train_check.py EMAC TEXT WORK [SIZES]

Our tokenizer.json must have the vocabulary and the merges that BpeTrainer makes of the same text; the
package and transformers must load it and give our ids and the text back."""
import json
import random
import subprocess
import sys
import time

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

EMAC, TEXT, WORK = sys.argv[1:4]
SIZES = [int(n) for n in sys.argv[4:]] or [300, 2000, 8192]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
ByteLevel = pre_tokenizers.ByteLevel
PATTERNS = {
    "gpt2": lambda: ByteLevel(add_prefix_space=False),
    "llama3": lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                               ByteLevel(add_prefix_space=False, use_regex=False)]),
    "bytes": lambda: pre_tokenizers.Sequence([pre_tokenizers.Split("\n", "merged_with_previous"),
                                              ByteLevel(add_prefix_space=False, use_regex=False)]),
}


def odd_texts():
    """Long runs and few letters: tokens that come about in two ways, words with overlapping pairs."""
    rng = random.Random(3)
    for letters in ("ab", "abc", "a", "aab \n"):
        yield "".join("".join(rng.choice(letters) for _ in range(rng.randrange(1, 30))) + rng.choice(" \n") for _ in range(2000))


def check(name, text, path, size):
    start = time.monotonic()
    subprocess.run([EMAC, "tokenizer", "train", path, "--vocab", str(size), "--pattern", name, "--out", WORK + "/ours",
                    "--quiet"], check=True)
    ours_s = time.monotonic() - start
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = PATTERNS[name]()
    t.decoder = decoders.ByteLevel()
    start = time.monotonic()
    t.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, initial_alphabet=ByteLevel.alphabet(),
        special_tokens=[AddedToken("<|endoftext|>", special=True, normalized=False)]))
    theirs_s = time.monotonic() - start
    want = json.loads(t.to_str())["model"]
    got = json.load(open(WORK + "/ours/tokenizer.json"))["model"]
    for i, (a, b) in enumerate(zip(want["merges"], got["merges"])):
        assert a == b, f"{name} {size}: merge {i} is {b}, theirs {a}"
    assert len(want["merges"]) == len(got["merges"]), (name, size, len(want["merges"]), len(got["merges"]))
    assert want["vocab"] == got["vocab"], (name, size)
    return len(got["merges"]), ours_s, theirs_s


def main():
    text = open(TEXT, encoding="utf-8", newline="").read()
    for name in PATTERNS:
        for size in SIZES:
            n, ours_s, theirs_s = check(name, text, TEXT, size)
            print(f"{name}, {size} tokens: {n} merges alike; {ours_s:.2f} s here, {theirs_s:.2f} s there")
    for i, odd in enumerate(odd_texts()):
        with open(WORK + "/odd", "w", newline="") as f:
            f.write(odd)
        for name in PATTERNS:
            check(name, odd, WORK + "/odd", 700)
    print("odd texts: the same merges")
    try:
        from transformers import AutoTokenizer
    except ImportError:
        sys.exit("transformers is not there")
    hf = AutoTokenizer.from_pretrained(WORK + "/ours")
    assert hf.eos_token == "<|endoftext|>" and hf.eos_token_id == 0
    sample = text[:20000] + "\u00e9\u4f60\U0001f600"
    with open(WORK + "/sample", "w", newline="") as f:
        f.write(sample)
    out = subprocess.run([EMAC, "tokenizer", "encode", WORK + "/ours", WORK + "/sample"], check=True, capture_output=True)
    ids = [int(v) for v in out.stdout.split()]
    assert ids == hf(sample).input_ids, "transformers gives other ids"
    assert hf.decode(ids) == sample
    print(f"transformers loads it: {len(ids)} ids alike")


main()
