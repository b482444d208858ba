"""A model with words of its own, made by transformers (a trained BPE, Llama 3's stretched positions, bfloat16 or
float32), is imported, says the same, is tuned by LoRA on a text, and what comes out says the same in peft:
words_check.py EMAC TEXT WORK"""

import json
import os
import subprocess
import sys

import torch
from peft import PeftModel
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

EMAC, TEXT, WORK = sys.argv[1:4]
PROMPT = "one and two make"
SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


def emac(*args):
    done = subprocess.run([EMAC, *args, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"emac {' '.join(args)}: {done.stderr.strip()}")
    return json.loads(done.stdout.strip().split("\n")[-1])


def tokenizer_make(folder):
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train([TEXT], trainers.BpeTrainer(vocab_size=320, special_tokens=["<s>", "</s>"], show_progress=False,
                                        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", t.token_to_id("<s>"))])
    whole = PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>")
    whole.save_pretrained(folder)
    return whole


def model_make(folder, vocab, dtype):
    torch.manual_seed(7)
    config = LlamaConfig(vocab_size=vocab, hidden_size=64, intermediate_size=160, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
                         rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
                                          "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                          "original_max_position_embeddings": 16},
                         initializer_range=0.2, bos_token_id=0, eos_token_id=1, tie_word_embeddings=True)
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)


def says(model, tokenizer, count=24):
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    out = model.generate(ids, max_new_tokens=count, do_sample=False)
    return tokenizer.decode(out[0], skip_special_tokens=True)


for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
    folder = os.path.join(WORK, name)
    tokenizer = tokenizer_make(folder)
    model_make(folder, len(tokenizer), dtype)
    cid = emac("model", "import", folder)["cid"]
    ours = emac("generate", cid, "-p", PROMPT, "-n", "24", "-t", "0")["text"]
    theirs = says(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer)
    if ours != theirs:
        sys.exit(f"{name}: EMAC says {ours!r}, transformers {theirs!r}")
    job = os.path.join(WORK, name + ".yaml")
    with open(job, "w") as f:
        f.write(f"name: words\nbase: {{cid: {cid}, train: lora, rank: 4}}\ndata: {{file: {TEXT}}}\n"
                "recipe: {seq_len: 64, micro_batch: 4, micro_batches: 2, steps: 20, lr: 0.01, eval_batches: 4}\n")
    adapter = emac("train", job, "--local")["model"]
    ours = emac("generate", adapter, "-p", PROMPT, "-n", "24", "-t", "0")["text"]
    out = os.path.join(WORK, name + "-adapter")
    emac("model", "export", adapter, out)
    base = AutoModelForCausalLM.from_pretrained(os.path.join(out, "base"), dtype=torch.float32)
    theirs = says(PeftModel.from_pretrained(base, out), AutoTokenizer.from_pretrained(os.path.join(out, "base")))
    if ours != theirs:
        sys.exit(f"{name}, tuned: EMAC says {ours!r}, peft {theirs!r}")
    print(f"# {name}: {ours!r}")
