"""Tokenizers of GGUF files: tokenizer_gguf_check.py EMAC PEER WORK

A SentencePiece model (the package sentencepiece trains it) and byte-level ones (the package tokenizers)
are written into GGUF files by the package gguf, as llama.cpp's converter does; what `emac model import`
makes of them must give the ids of the package that they come from."""
import io
import json
import random
import subprocess
import sys

import gguf
import numpy as np
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

EMAC, PEER, WORK = sys.argv[1:4]
sys.argv = ["tokenizer_check.py", PEER, WORK]
import importlib.util

spec = importlib.util.spec_from_file_location("tokenizer_check", __file__.replace("gguf_check", "check"))
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)

LAYERS, WIDE = 1, 32


def write(path, tokens, types, model, pre=None, scores=None, merges=None, **ids):
    """A model of one small layer with this tokenizer."""
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(64)
    w.add_embedding_length(WIDE)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(WIDE)
    w.add_head_count(2)
    w.add_head_count_kv(2)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(WIDE // 2)
    w.add_tokenizer_model(model)
    if pre:
        w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(types)
    if scores is not None:
        w.add_token_scores(scores)
    if merges is not None:
        w.add_token_merges(merges)
    for key, value in ids.items():
        getattr(w, "add_" + key)(value)
    one = np.ones(WIDE, dtype=np.float32)
    square = np.zeros((WIDE, WIDE), dtype=np.float32)
    w.add_tensor("token_embd.weight", np.zeros((len(tokens), WIDE), dtype=np.float32))
    w.add_tensor("output_norm.weight", one)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        w.add_tensor(f"blk.0.{name}.weight", square)
    for name in ("attn_norm", "ffn_norm"):
        w.add_tensor(f"blk.0.{name}.weight", one)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def imported(path):
    subprocess.run([EMAC, "model", "import", path, WORK + "/in", "--quiet"], check=True)
    config = json.load(open(WORK + "/in/tokenizer_config.json"))
    return check.Ours(WORK + "/in/tokenizer.json"), config


def sentencepiece_check(texts):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=check.corpus(), model_writer=out, vocab_size=1500, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, minloglevel=2,
        allow_whitespace_only_pieces=True)
    sp = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    n = sp.vocab_size()
    kinds = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1 for i in range(n)]
    write(WORK + "/t.gguf", [sp.id_to_piece(i) for i in range(n)], kinds, "llama",
          scores=[sp.get_score(i) for i in range(n)], bos_token_id=sp.bos_id(), eos_token_id=sp.eos_id(),
          unk_token_id=sp.unk_id(), add_bos_token=True)
    ours, config = imported(WORK + "/t.gguf")
    assert config["bos_token"] == "<s>" and config["eos_token"] == "</s>", config
    for s in texts:
        s = s.replace("\0", "")
        want = sp.encode(s)
        got, back = ours.ask(s, False)
        assert got == want, (s, [sp.id_to_piece(i) for i in want], [sp.id_to_piece(i) for i in got])
        assert ours.ask("a", True)[0] == [sp.bos_id()] + sp.encode("a")
        assert back.decode() == s.replace("\u2581", " "), (s, back)
    ours.close()
    print(f"sentencepiece: {len(texts)} texts, the same ids")


def bytes_check(name, pre, model_pre, ignore, normalizer, texts):
    t = Tokenizer(models.BPE(ignore_merges=ignore))
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(check.corpus(), trainers.BpeTrainer(
        vocab_size=900, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken("<|end|>", special=True, normalized=False)]))
    t.add_tokens([AddedToken("<tool>", normalized=False)])
    model = json.loads(t.to_str())["model"]
    n = t.get_vocab_size(True)
    kinds = [{"<|end|>": 3, "<tool>": 4}.get(t.id_to_token(i), 1) for i in range(n)]
    write(WORK + "/t.gguf", [t.id_to_token(i) for i in range(n)], kinds, "gpt2", pre=model_pre,
          merges=[m if isinstance(m, str) else " ".join(m) for m in model["merges"]], eos_token_id=0, bos_token_id=0,
          add_bos_token=False)
    ours, config = imported(WORK + "/t.gguf")
    assert config["eos_token"] == "<|end|>"
    for s in texts + ["a<tool>b <|end|> c"]:
        for special in (False, True):
            want, text = check.theirs(t, s, special)
            got, _ = ours.ask(s, special)
            assert got == want, (name, s, want, got)
    ours.close()
    print(f"{name}: {2 * len(texts)} texts, the same ids")


def main():
    rng = random.Random(5)
    texts = [check.text(rng, ["<tool>"]) for _ in range(1000)]
    ByteLevel = pre_tokenizers.ByteLevel

    def cut(pattern):
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), ByteLevel(False, use_regex=False)])

    sentencepiece_check(texts)
    bytes_check("gpt-2", ByteLevel(False), "gpt-2", False, None, texts)
    bytes_check("llama-bpe", cut(check.LLAMA3), "llama-bpe", True, None, texts)
    bytes_check("qwen2", cut(check.QWEN2), "qwen2", False, normalizers.NFC(), texts)
    bytes_check("smollm", pre_tokenizers.Sequence([pre_tokenizers.Digits(True), ByteLevel(False)]), "smollm", False, None, texts)


main()
