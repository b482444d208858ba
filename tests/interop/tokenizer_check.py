"""Token ids and decoded texts against the package tokenizers: tokenizer_check.py PEER WORK [TEXTS [SEED]]

Tokenizers of every form that docs/tokenizers.md names are trained there, saved, read by our half (PEER)
and compared on TEXTS random texts each, and on some long ones. A difference prints the tokenizer's
name, the text and both answers."""
import json
import random
import struct
import subprocess
import sys
import unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

PEER, WORK = sys.argv[1:3]
TEXTS = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else 1

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
          r"|\s*[\r\n]|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
DEEPSEEK_CODER = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"]

# -- texts ---------------------------------------------------------------------------------------

SPACES = " \t\n\r\v\f\x85\xa0\u1680\u180e\u2003\u2028\u2029\u200b\u202f\u205f\u3000\ufeff"
MARKS = "\u0300\u0301\u0308\u0323\u0327\u093c\u094d\u0e33\u20dd\u3099\u0591\u064b"
ODD = "'\u2019\u017f\u212a\u00df\u0130\u0131\u01c5\u02b0\u00b2\u2167\u0967\u24b6\u1f130\ufb01\u2581\u0120\u200d\u203f\u1e9b\uff21\uff11\u4e00\u3042\u30a2\uac00\u1100\u1161\u11a8\U0001f600\U0001f468\U0001d400\u00e9\u00c5\u2126"
WORDS = ("the of and In IN beginning God's we'll I'VE they're 'S don't 1 12 123 1234 12345 3.14 foo_bar fooBar "
         "HTTPServer http://a.b/c?d=e <tag> </s> <s> <unk> <|end|> <|begin|> [MASK] <0x41> <0x0A> hello world "
         "  __init__ ==>  ... !? -- \u00fcber na\u00efve caf\u00e9 cafe\u0301 \u0410\u0411\u0412 \u03b1\u03b2 \u05d0\u05d1 \u0627\u0644 \u0e44\u0e17\u0e22 \u4f60\u597d \u3053\u3093 "
         "\ud55c\uad6d \U0001f600\U0001f3fd word WORD Word").split(" ") + [" ", "  ", "    ", "\n\n", "\r\n", "\t\t", " \n "]


def known(c):
    """Assigned long ago: peers differ in the version of Unicode that they know."""
    return unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co") and unicodedata.ucd_3_2_0.category(chr(c)) != "Cn"


POINTS = [c for c in range(0x80, 0x30000) if known(c)]


def text(rng, added):
    parts = []
    for _ in range(rng.randrange(1, 24)):
        kind = rng.randrange(12)
        if kind < 5:
            parts.append(rng.choice(WORDS))
        elif kind == 5:
            parts.append(rng.choice(SPACES) * rng.randrange(1, 4))
        elif kind == 6:
            parts.append("".join(rng.choice(MARKS + ODD) for _ in range(rng.randrange(1, 5))))
        elif kind == 7:
            parts.append("".join(chr(rng.choice(POINTS)) for _ in range(rng.randrange(1, 6))))
        elif kind == 8:
            parts.append("".join(chr(rng.randrange(0, 0x80)) for _ in range(rng.randrange(1, 8))))
        elif kind == 9 and added:
            parts.append(rng.choice(added))
        elif kind == 10:
            parts.append("".join(rng.choice("abcde") for _ in range(rng.randrange(1, 12))))
        else:
            parts.append(" ")
    return "".join(parts)


def corpus():
    rng = random.Random(7)
    words = [w for w in WORDS if not w.startswith("<")]
    for _ in range(3000):
        yield "".join(rng.choice(words) + rng.choice(["", " ", " ", " "]) for _ in range(30))


# -- tokenizers ------------------------------------------------------------------------------------

def trained(pre, normalizer=None, special=(), alphabet=None, vocab=900, decoder=None, **model):
    t = Tokenizer(models.BPE(**model))
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    t.decoder = decoder or decoders.ByteLevel()
    if alphabet is None:
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=alphabet, show_progress=False,
                                                       special_tokens=list(special)))
    return t


def edited(t, edit):
    o = json.loads(t.to_str())
    edit(o)
    return Tokenizer.from_str(json.dumps(o))


def split(*patterns, behavior="isolated", invert=False):
    steps = [pre_tokenizers.Split(Regex(p), behavior, invert) for p in patterns]
    return pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def template(t, bos, eos=None):
    names = [bos] + ([eos] if eos else [])
    t.post_processor = processors.TemplateProcessing(single=f"{bos} $A" + (f" {eos}" if eos else ""), pair=None,
                                                     special_tokens=[(n, t.token_to_id(n)) for n in names])
    return t


BYTES = [f"<0x{b:02X}>" for b in range(256)]
LLAMA_DECODER = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])


def llama2(edit, fallback=True, fuse=True, vocab=1200):
    """Trained on words with a visible space; then the form is what `edit` makes of it."""
    t = trained(pre_tokenizers.Metaspace(), special=["<unk>", "<s>", "</s>"] + BYTES, alphabet=["\u2581"], vocab=vocab,
                decoder=LLAMA_DECODER, unk_token="<unk>", fuse_unk=fuse)

    def all_of_it(o):
        o["added_tokens"] = o["added_tokens"][:3]
        o["model"]["byte_fallback"] = fallback
        edit(o)
    return template(edited(t, all_of_it), "<s>")


def legacy(o):
    o["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    o["pre_tokenizer"] = None


def metaspace(scheme, cut):
    def edit(o):
        o["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}
        o["decoder"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}
    return edit


def half_bytes(o):
    """Some bytes lack a token, so characters of them are unknown between bytes that are not."""
    for b in range(0xe0, 0xe8):
        o["model"]["vocab"].pop(f"<0x{b:02X}>")
    kept = sorted(o["model"]["vocab"].items(), key=lambda kv: kv[1])
    o["model"]["vocab"] = {k: i for i, (k, _) in enumerate(kept)}
    legacy(o)


def pairs_of(o):
    o["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in o["model"]["merges"]]


def with_added(t, **how):
    t.add_special_tokens([AddedToken("<|end|>", special=True, normalized=False, **how)])
    t.add_tokens([AddedToken("[MASK]", normalized=how.get("single_word", False), **how), AddedToken("word", **how),
                  AddedToken("    ", normalized=False), AddedToken("hello world", normalized=True),
                  AddedToken("ab", normalized=False, **how), AddedToken("abc", normalized=False, **how)])
    return t


def tokenizers():
    byte = pre_tokenizers.ByteLevel
    nfc, gpt2 = normalizers.NFC, lambda prefix=False: byte(add_prefix_space=prefix)
    yield "gpt2", lambda: trained(gpt2(), special=["<|end|>"])
    yield "gpt2 with a space in front", lambda: trained(gpt2(True), special=["<|end|>"])
    yield "gpt2, merges as texts", lambda: edited(trained(gpt2()), pairs_of)
    yield "bytes alone", lambda: trained(byte(add_prefix_space=False, use_regex=False), vocab=257)
    yield "llama3", lambda: template(edited(trained(split(LLAMA3), special=["<|begin|>", "<|end|>"]),
                                            lambda o: o["model"].update(ignore_merges=True)), "<|begin|>")
    yield "qwen2", lambda: trained(split(QWEN2), normalizer=nfc(), special=["<|end|>"])
    yield "cl100k", lambda: trained(split(CL100K), special=["<|end|>"])
    yield "cl100k, what is between", lambda: trained(split(CL100K, behavior="removed", invert=True), special=["<|end|>"])
    yield "o200k", lambda: template(trained(split(O200K), special=["<|begin|>", "<|end|>"]), "<|begin|>", "<|end|>")
    yield "deepseek", lambda: trained(split(*DEEPSEEK))
    yield "deepseek coder", lambda: trained(split(*DEEPSEEK_CODER))
    yield "starcoder", lambda: trained(pre_tokenizers.Sequence([pre_tokenizers.Digits(True), gpt2()]))
    yield "falcon", lambda: trained(pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), gpt2(), pre_tokenizers.Digits(False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]))
    yield "llama2", lambda: llama2(legacy)
    yield "llama2 without bytes", lambda: llama2(legacy, fallback=False)
    yield "llama2, each unknown by itself", lambda: llama2(legacy, fallback=False, fuse=False)
    yield "llama2 with some bytes", lambda: llama2(half_bytes)
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            yield f"metaspace {scheme} {cut}", lambda s=scheme, c=cut: llama2(metaspace(s, c))
    yield "nfkc, words", lambda: trained(pre_tokenizers.Whitespace(), normalizer=normalizers.NFKC(), alphabet=[],
                                         unk_token="<unk>", special=["<unk>"], decoder=decoders.Fuse())
    yield "nfd, white space", lambda: trained(pre_tokenizers.WhitespaceSplit(), normalizer=normalizers.NFD(), alphabet=[],
                                              decoder=decoders.Fuse())
    yield "nfkd, trimmed", lambda: trained(
        gpt2(), normalizer=normalizers.Sequence([normalizers.NFKD(), normalizers.Strip(), normalizers.Replace(Regex(r"\s+"), " ")]))
    yield "no decoder", lambda: edited(trained(pre_tokenizers.CharDelimiterSplit(" "), alphabet=[]), lambda o: o.update(decoder=None))
    for behavior in ("isolated", "removed", "contiguous", "merged_with_previous", "merged_with_next"):
        for invert in (False, True):
            yield f"{behavior} {invert}", lambda b=behavior, i=invert: trained(split(r"[aeiou\s]|\d+$|^x|\bw", behavior=b, invert=i))
        yield f"punctuation {behavior}", lambda b=behavior: trained(pre_tokenizers.Sequence([pre_tokenizers.Punctuation(b), gpt2()]))
    yield "empty matches", lambda: trained(split(r"[0-9]*", r"(?=[A-Z])"))
    yield "each character", lambda: trained(pre_tokenizers.Sequence([
        pre_tokenizers.Split("", "isolated"), byte(add_prefix_space=False, use_regex=False)]))
    yield "words of \\w", lambda: trained(split(r"\w+|\W", r"\p{Han}+|\p{^L}|[\w\d_-]+", behavior="isolated"))
    for how in ({}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"single_word": True}):
        yield f"added {how}", lambda h=how: with_added(trained(gpt2(), special=["<s>"]), **h)
        yield f"added {how}, llama2", lambda h=how: with_added(llama2(legacy), **h)
        yield f"added {how}, metaspace", lambda h=how: with_added(llama2(metaspace("first", False)), **h)


# -- both sides -------------------------------------------------------------------------------------

class Ours:
    def __init__(self, path):
        self.p = subprocess.Popen([PEER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, s, special):
        b = s.encode()
        self.p.stdin.write(struct.pack("<IB", len(b), special) + b)
        self.p.stdin.flush()
        (n,) = struct.unpack("<I", self.read(4))
        ids = None if n == 0xffffffff else list(struct.unpack(f"<{n}i", self.read(4 * n)))
        (n,) = struct.unpack("<I", self.read(4))
        return ids, self.read(n)

    def read(self, n):
        b = self.p.stdout.read(n)
        if len(b) != n:
            sys.exit("our half has ended")
        return b

    def close(self):
        self.p.stdin.close()
        if self.p.wait() != 0:
            sys.exit("our half has failed")


def theirs(t, s, special):
    t.encode_special_tokens = not special
    ids = t.encode(s, add_special_tokens=special).ids
    return ids, t.decode(ids, skip_special_tokens=True)


def lossy(t, ids):
    """Is what they decode not what the bytes say? A token's text is normalised, or bytes are no UTF-8."""
    return any("\ufffd" in t.decode([i]) for i in ids)


def compare(name, t, ours, s, special):
    want, text_back = theirs(t, s, special)
    got, bytes_back = ours.ask(s, special)
    if got != want:
        sys.exit(f"{name}: special {special}, text {s!r}\ntheirs {want}\nours   {got}\n"
                 f"{t.encode(s, add_special_tokens=special).tokens}\n{[t.id_to_token(i) for i in got or []]}")
    if bytes_back.decode("utf-8", "replace") != text_back:
        if "\ufffd" in text_back and "\ufffd" not in s:
            return False
        sys.exit(f"{name}: ids {want} of {s!r}\ndecode theirs {text_back!r}\nours   {bytes_back!r}")
    return True


def main():
    only = sys.argv[5] if len(sys.argv) > 5 else ""
    total = forms = odd = 0
    for name, make in tokenizers():
        if only not in name:
            continue
        t = make()
        path = f"{WORK}/tokenizer.json"
        t.save(path)
        added = [a.content for a in t.get_added_tokens_decoder().values()]
        ours = Ours(path)
        rng = random.Random(f"{SEED} {name}")
        texts = [text(rng, added) for _ in range(TEXTS)] + ["", " ", "a", "\u2581", "".join(text(rng, added) for _ in range(200))]
        for s in texts:
            for special in (False, True):
                odd += not compare(name, t, ours, s, special)
        ours.close()
        total += 2 * len(texts)
        forms += 1
    print(f"{forms} forms of tokenizers, {total} texts: the same ids and the same text back"
          + (f" ({odd} with bytes that are no UTF-8, not compared)" if odd else ""))


if __name__ == "__main__":
    main()
