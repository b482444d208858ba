#!/usr/bin/env python3
"""hf_check.py DIR: does a model directory mean to transformers and PyTorch what it means to EMAC?

Loads DIR with LlamaForCausalLM and AutoTokenizer. When DIR holds expected.safetensors (dump-model
writes it), compares logits, loss, the gradient of every parameter and a greedy continuation. Prints
one PASS or FAIL line each, with the largest difference; exits 1 when one failed."""

import os
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-4
failed = 0


def report(name, ok, detail):
    global failed
    failed += not ok
    print(f"{'PASS' if ok else 'FAIL'} {name}: {detail}")


def check_tokenizer(directory):
    tok = AutoTokenizer.from_pretrained(directory)
    texts = ["", "one and two", "  leading,\ttabs\n\nlines  ", "Grüße, 世界 🙂", "\x00\x01\x7f\x80\xad",
             "".join(chr(c) for c in range(0x250)), "don't 12345 <s></s><|endoftext|>[PAD]"]
    bad = [t for t in texts if tok(t).input_ids != list(t.encode("utf-8"))]
    report("token ids are the bytes", not bad, f"{len(texts)} texts" if not bad else repr(bad[0]))
    bad = [t for t in texts if tok.decode(tok(t).input_ids) != t]
    report("decoding gives the text back", not bad, f"{len(texts)} texts" if not bad else repr(bad[0]))
    report("vocabulary", len(tok) == 256, f"{len(tok)} symbols")


def relative(ours, theirs):
    """Largest difference as a part of the largest element."""
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30)).item()


def check_gradients(model, want):
    worst, where = 0.0, ""
    names = dict(model.named_parameters())
    grads = {k[len("grad."):] for k in want if k.startswith("grad.")}
    report("parameters have the same names", grads == set(names), f"{len(grads)} tensors")
    for name in sorted(grads & set(names)):
        diff = relative(want["grad." + name], names[name].grad)
        if not diff <= worst:
            worst, where = diff, name
    report("gradients", worst <= TOLERANCE, f"largest relative difference {worst:.2e} ({where})")


def check_expected(model, want):
    tokens, targets = want["tokens"].long(), want["targets"].long()
    logits = model(tokens).logits
    diff = (logits.reshape(-1, logits.shape[-1]) - want["logits"]).abs().max().item()
    report("logits", diff <= TOLERANCE,
           f"largest difference {diff:.2e} at values up to {want['logits'].abs().max().item():.1f}")
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
    diff = abs(loss.item() - want["loss"].item())
    report("loss", diff <= TOLERANCE, f"{want['loss'].item():.6f}, difference {diff:.2e}")
    model.zero_grad()
    loss.backward()
    check_gradients(model, want)
    with torch.no_grad():
        n = want["generated"].shape[1]
        out = model.generate(want["prompt"].long(), max_new_tokens=n, do_sample=False,
                             attention_mask=torch.ones_like(want["prompt"].long()))
    ours, theirs = want["generated"][0].tolist(), out[0, want["prompt"].shape[1]:].tolist()
    report("greedy continuation", ours == theirs, f"{n} tokens" if ours == theirs else f"{ours} {theirs}")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: hf_check.py DIR")
    directory = sys.argv[1]
    torch.manual_seed(0)
    model, info = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32,
                                                       output_loading_info=True)
    odd = {k: v for k, v in info.items() if v}
    report("transformers loads the model", not odd,
           f"{sum(p.numel() for p in model.parameters())} weights" if not odd else str(odd))
    if model.config.model_type == "llama":  # for a Qwen 2 transformers takes a tokenizer with symbols of its own
        check_tokenizer(directory)
    expected = os.path.join(directory, "expected.safetensors")
    if os.path.exists(expected):
        check_expected(model, load_file(expected))
    return 1 if failed else 0


sys.exit(main())
