"""Models with words of their own, made by transformers (a Llama with Llama 3's stretched positions and a Qwen 2; a
trained BPE; bfloat16 in one file or float32 in parts), are imported, say the same, are cut into parts that transformers
reads, are tuned by LoRA on a text, and what comes out says the same in peft: words_check.py EMAC TEXT WORK"""

import json
import os
import re
import subprocess
import sys

import torch
from peft import PeftModel
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast,
                          Qwen2Config, Qwen2ForCausalLM)

EMAC, TEXT, WORK = sys.argv[1:4]
PROMPT = "one and two make"
SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


def emac(*args):
    done = subprocess.run([EMAC, *args, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"emac {' '.join(args)}: {done.stderr.strip()}")
    return json.loads(done.stdout.strip().split("\n")[-1])


def tokenizer_make(folder, qwen):
    t = Tokenizer(models.BPE(ignore_merges=not qwen))
    split = SPLIT.replace(r"\p{N}{1,3}", r"\p{N}") if qwen else SPLIT
    if qwen:
        t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    first, last = ("<|endoftext|>", "<|im_end|>") if qwen else ("<s>", "</s>")
    t.train([TEXT], trainers.BpeTrainer(vocab_size=320, special_tokens=[first, last], show_progress=False,
                                        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    if not qwen:
        t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", t.token_to_id("<s>"))])
    whole = PreTrainedTokenizerFast(tokenizer_object=t, bos_token=None if qwen else first, eos_token=last)
    whole.save_pretrained(folder)
    return whole


def qwen_make(folder, vocab, dtype, part):
    torch.manual_seed(8)
    config = Qwen2Config(vocab_size=vocab, hidden_size=64, intermediate_size=160, num_hidden_layers=3,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
                         rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, initializer_range=0.2,
                         bos_token_id=0, eos_token_id=1, tie_word_embeddings=part != "1GB")
    model = Qwen2ForCausalLM(config)
    for name, p in model.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(p, std=0.5)
    model.to(dtype).save_pretrained(folder, max_shard_size=part)


def model_make(folder, vocab, dtype, part):
    torch.manual_seed(7)
    config = LlamaConfig(vocab_size=vocab, hidden_size=64, intermediate_size=160, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
                         rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
                                          "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                          "original_max_position_embeddings": 16},
                         initializer_range=0.2, bos_token_id=0, eos_token_id=1, tie_word_embeddings=True)
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder, max_shard_size=part)


def plain(text):
    """EMAC writes U+FFFD for each byte that is no character, tokenizers' decoder one for several."""
    return re.sub("\ufffd+", "\ufffd", text)


def speaks(name):
    return plain(emac("generate", name, "-p", PROMPT, "-n", "24", "-t", "0")["text"])


def says(model, tokenizer, count=24):
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    out = model.generate(ids, max_new_tokens=count, do_sample=False)
    return plain(tokenizer.decode(out[0], skip_special_tokens=True))


def parts_of(folder):
    return sorted(f for f in os.listdir(folder) if f.startswith("model-"))


for name, make, dtype, part in (("float32", model_make, torch.float32, "100KB"),
                                ("bfloat16", model_make, torch.bfloat16, "1GB"),
                                ("qwen-float32", qwen_make, torch.float32, "100KB"),
                                ("qwen-bfloat16", qwen_make, torch.bfloat16, "1GB")):
    folder = os.path.join(WORK, name)
    tokenizer = tokenizer_make(folder, make is qwen_make)
    make(folder, len(tokenizer), dtype, part)
    if (len(parts_of(folder)) > 2) != (part == "100KB"):
        sys.exit(f"{name}: transformers wrote {parts_of(folder)}")
    cid = emac("model", "import", folder)["cid"]
    ours = speaks(cid)
    theirs = says(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer)
    if ours != theirs:
        sys.exit(f"{name}: EMAC says {ours!r}, transformers {theirs!r}")
    cut = os.path.join(WORK, name + "-cut")
    emac("model", "export", cid, cut, "--part-size", "50K")
    if len(parts_of(cut)) < 3 or says(AutoModelForCausalLM.from_pretrained(cut, dtype=torch.float32), tokenizer) != ours:
        sys.exit(f"{name}: transformers does not read the parts {parts_of(cut)}")
    job = os.path.join(WORK, name + ".yaml")
    with open(job, "w") as f:
        f.write(f"name: words\nbase: {{cid: {cid}, train: lora, rank: 4}}\ndata: {{file: {TEXT}}}\n"
                "recipe: {seq_len: 64, micro_batch: 4, micro_batches: 2, steps: 20, lr: 0.01, eval_batches: 4}\n")
    adapter = emac("train", job, "--local")["model"]
    ours = speaks(adapter)
    out = os.path.join(WORK, name + "-adapter")
    emac("model", "export", adapter, out)
    base = AutoModelForCausalLM.from_pretrained(os.path.join(out, "base"), dtype=torch.float32)
    theirs = says(PeftModel.from_pretrained(base, out), AutoTokenizer.from_pretrained(os.path.join(out, "base")))
    if ours != theirs:
        sys.exit(f"{name}, tuned: EMAC says {ours!r}, peft {theirs!r}")
    print(f"# {name}: {ours!r}")
