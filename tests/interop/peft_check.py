#!/usr/bin/env python3
"""peft_check.py EMAC DIR WORK: does an adapter mean to PEFT what it means to EMAC, both ways?

DIR is an exported adapter (adapter_config.json, adapter_model.safetensors, base/). Loads it with peft on
the base as transformers reads it and compares logits with those of the model that 'emac model merge' makes,
and greedy text with 'emac generate'. Then makes an adapter with peft itself (every target, another rank,
alpha not a multiple of it), and compares what EMAC imports and merges with peft's own. Prints one PASS or
FAIL line each, with the largest difference; exits 1 when one failed."""

import json
import os
import subprocess
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-4
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROMPT = "3 times "
failed = 0


def report(name, ok, detail):
    global failed
    failed += not ok
    print(f"{'PASS' if ok else 'FAIL'} {name}: {detail}")


def emac(*args):
    out = subprocess.run([sys.argv[1], *args, "--json"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def load(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def tokens():
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (2, 40), generator=generator)


def greedy(model, n):
    ids = torch.tensor([list(PROMPT.encode())])
    with torch.no_grad():
        out = model.generate(ids, max_new_tokens=n, do_sample=False, attention_mask=torch.ones_like(ids))
    return bytes(out[0].tolist()).decode(errors="replace")


def same_logits(name, ours, theirs):
    with torch.no_grad():
        a, b = ours(tokens()).logits, theirs(tokens()).logits
    diff = (a - b).abs().max().item()
    report(name, diff <= TOLERANCE, f"largest difference {diff:.2e} at values up to {b.abs().max().item():.1f}")


def check_ours(directory, work):
    """An adapter of EMAC's on peft."""
    base = load(os.path.join(directory, "base"))
    with torch.no_grad():
        before = base(tokens()).logits
    tuned = PeftModel.from_pretrained(base, directory).eval()
    with torch.no_grad():
        moved = (tuned(tokens()).logits - before).abs().max().item()
    report("peft loads the adapter, which is not nothing", moved > 1e-3, f"logits move by {moved:.2f}")
    emac("model", "merge", directory, "-o", os.path.join(work, "merged"))
    same_logits("logits of the adapter and of the merged model", load(os.path.join(work, "merged")), tuned)
    theirs = greedy(tuned, 40)
    ours = emac("generate", directory, "-p", PROMPT, "-n", "40", "-t", "0")["text"]
    report("greedy text", ours == theirs, "40 tokens" if ours == theirs else f"{ours!r} {theirs!r}")
    merged = tuned.merge_and_unload().state_dict()
    own = load_file(os.path.join(work, "merged", "model.safetensors"))
    diff = max((own[k] - merged[k]).abs().max().item() for k in own)
    report("weights merged by peft and by EMAC", diff <= 1e-6, f"largest difference {diff:.2e}")


def check_theirs(base_dir, work):
    """An adapter of peft's in EMAC."""
    torch.manual_seed(11)
    config = LoraConfig(r=5, lora_alpha=7, target_modules=ALL, task_type="CAUSAL_LM")
    tuned = get_peft_model(load(base_dir), config)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.05)
    directory = os.path.join(work, "theirs")
    tuned.eval().save_pretrained(directory)
    base = emac("model", "import", base_dir)["cid"]
    cid = emac("model", "import", directory, "--base", base)["cid"]
    emac("model", "merge", cid, "-o", os.path.join(work, "theirs-merged"))
    same_logits("logits of an adapter that peft made", load(os.path.join(work, "theirs-merged")), tuned)
    theirs = greedy(tuned, 40)
    ours = emac("generate", cid, "-p", PROMPT, "-n", "40", "-t", "0")["text"]
    report("its greedy text", ours == theirs, "40 tokens" if ours == theirs else f"{ours!r} {theirs!r}")


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: peft_check.py EMAC DIR WORK")
    check_ours(sys.argv[2], sys.argv[3])
    check_theirs(os.path.join(sys.argv[2], "base"), sys.argv[3])
    return 1 if failed else 0


sys.exit(main())
