"""The peer of bench_train: the same model in PyTorch, as its user would write it well.

peer_torch.py eager|compile THREADS 124m|10m BATCHxSEQ [INIT]
INIT: the file that bench_train's command `init` wrote; without it the weights are random. Answers the
commands `step` and `memory` on standard input as bench_train does."""

import math
import resource
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MODELS = {  # vocabulary, width, feed-forward width, layers, heads
    "124m": (50304, 768, 2048, 12, 12),
    "10m": (256, 320, 864, 8, 5),
}


class Block(nn.Module):
    def __init__(self, width, inner, heads):
        super().__init__()
        linear = lambda n, m: nn.Linear(n, m, bias=False)  # noqa: E731
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.q, self.k, self.v, self.o = (linear(width, width) for _ in range(4))
        self.gate, self.up, self.down = linear(width, inner), linear(width, inner), linear(inner, width)

    def forward(self, x, cos, sin):
        b, t, d = x.shape
        h = self.norm1(x)
        q, k, v = (f(h).view(b, t, self.heads, d // self.heads).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(b, t, d))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Model(nn.Module):
    def __init__(self, vocab, width, inner, layers, heads, seq):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList(Block(width, inner, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        half = width // heads // 2
        angle = torch.arange(seq, dtype=torch.float64)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens, targets):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embed.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def parameters_by_emac_name(model):
    """In the order of bench_train's file: by name, "model.layers.10" before "model.layers.2"."""
    names = {"model.embed_tokens.weight": model.embed.weight, "model.norm.weight": model.norm.weight}
    for i, b in enumerate(model.blocks):
        for name, module in {"input_layernorm": b.norm1, "post_attention_layernorm": b.norm2,
                             "self_attn.q_proj": b.q, "self_attn.k_proj": b.k, "self_attn.v_proj": b.v,
                             "self_attn.o_proj": b.o, "mlp.gate_proj": b.gate, "mlp.up_proj": b.up,
                             "mlp.down_proj": b.down}.items():
            names[f"model.layers.{i}.{name}.weight"] = module.weight
    return [names[n] for n in sorted(names)]


def load(model, path):
    data, at = np.memmap(path, dtype="<f4", mode="r"), 0
    with torch.no_grad():
        for p in parameters_by_emac_name(model):
            p.copy_(torch.from_numpy(np.array(data[at:at + p.numel()])).view_as(p))
            at += p.numel()
    assert at == len(data)


def batch(step, sequences, seq, vocab):
    """The ids that bench_train makes up."""
    at = (step * sequences + np.arange(sequences, dtype=np.uint64))[:, None] * np.uint64(seq + 1)
    at = at + np.arange(seq + 1, dtype=np.uint64)[None, :]
    ids = (((at * np.uint64(2654435761)) & np.uint64(0xffffffff)) >> np.uint64(8)) % np.uint64(vocab)
    ids = torch.from_numpy(ids.astype(np.int64))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def main():
    how, threads, name, shape, *init = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    sequences, seq = map(int, shape.split("x"))
    vocab = MODELS[name][0]
    model = Model(*MODELS[name], seq)
    if init:
        load(model, init[0])
    matrices = [p for p in model.parameters() if p.dim() > 1]
    norms = [p for p in model.parameters() if p.dim() == 1]
    optimiser = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}],
                                  lr=6e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
    clock = time.process_time if threads == "1" else time.perf_counter  # as bench_train's
    run = torch.compile(model) if how == "compile" else model
    step = 0
    for line in sys.stdin:
        if line.strip() == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
            continue
        tokens, targets = batch(step, sequences, seq, vocab)
        step += 1
        start = clock()
        loss = run(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        value = loss.item()
        assert math.isfinite(value)
        print(f"{clock() - start:.6f} {value:.6f}", flush=True)


main()
