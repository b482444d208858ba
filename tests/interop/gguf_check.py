"""GGUF against the package gguf (llama.cpp's own): gguf_check.py EMAC MODEL_DIR WORK

Writes the model as GGUF files the way llama.cpp's converter does, with q and k in pairs, imports
them, and compares every weight that comes out with what gguf reads; likewise as a Qwen 2, which has
biases and no pairs."""
import json
import struct
import subprocess
import sys

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

EMAC, MODEL, WORK = sys.argv[1:4]
TYPES = {n: getattr(gguf.GGMLQuantizationType, n) for n in "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q6_K".split()}
NAMES = {
    "lm_head": "output", "model.embed_tokens": "token_embd", "model.norm": "output_norm",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "mlp.down_proj": "ffn_down", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "self_attn.k_proj": "attn_k", "self_attn.o_proj": "attn_output",
    "self_attn.q_proj": "attn_q", "self_attn.v_proj": "attn_v",
}


def safetensors(path):
    data = open(path, "rb").read()
    (n,) = struct.unpack("<Q", data[:8])
    kinds = {"F32": "<f4", "U8": "u1", "BF16": "<u2"}
    return {
        k: np.frombuffer(data[8 + n + v["data_offsets"][0] : 8 + n + v["data_offsets"][1]],
                         kinds[v["dtype"]]).reshape(v["shape"])
        for k, v in json.loads(data[8 : 8 + n]).items() if k != "__metadata__"
    }


def theirs(name):
    stem, what = name.rsplit(".", 1)
    if stem in NAMES:
        return f"{NAMES[stem]}.{what}"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[rest]}.{what}"


def paired(w, heads):
    """llama.cpp's order of the rows of q and k."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(w.shape)


def heads_of(name, config):
    if "q_proj" in name:
        return config["num_attention_heads"]
    return config["num_key_value_heads"] if "k_proj" in name else 0


def write(path, config, tensors, kind, arch="llama"):
    """The rows that go in, by our names; kind None: tensors are bytes of q6_k rows already."""
    w = gguf.GGUFWriter(path, arch)
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(config["num_key_value_heads"])
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_rope_dimension_count(config["head_dim"])
    w.add_rope_freq_base(config["rope_theta"])
    w.add_token_list([f"t{i}" for i in range(config["vocab_size"])])
    w.add_token_scores([0.0] * config["vocab_size"])
    rows = {}
    for name, x in tensors.items():
        if x.ndim == 1 or (kind is None and x.dtype != np.uint8):
            q, raw = x, TYPES["F32"]
        elif kind is None:
            q, raw = x, TYPES["Q6_K"]
        else:
            q, raw = quantize(x, TYPES[kind]), TYPES[kind]
        rows[name] = (q, raw)
        heads = heads_of(name, config) if arch == "llama" else 0
        w.add_tensor(theirs(name), paired(q, heads) if heads else q, raw_dtype=raw)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return rows


def imported(path):
    subprocess.run([EMAC, "model", "import", path, WORK + "/in", "--quiet"], check=True)
    got = json.load(open(WORK + "/in/config.json"))
    for key in ("rms_norm_eps", "rope_theta", "hidden_size", "head_dim", "num_hidden_layers",
                "num_key_value_heads", "vocab_size", "tie_word_embeddings"):
        assert got[key] == config[key], (key, got[key], config[key])
    return safetensors(WORK + "/in/model.safetensors")


config = json.load(open(MODEL + "/config.json"))
model = safetensors(MODEL + "/model.safetensors")
for kind in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
    rows = write(WORK + "/x.gguf", config, model, kind)
    got = imported(WORK + "/x.gguf")
    assert got.keys() == rows.keys()
    for name, (q, raw) in rows.items():
        want = dequantize(q, raw)
        x = got[name]
        if x.dtype == np.uint8:
            assert x.tobytes() == q.tobytes(), (kind, name)
        elif x.dtype == np.uint16:
            assert (x.astype(np.uint32) << 16).view(np.float32).tobytes() == want.tobytes()
        else:
            assert x.tobytes() == want.astype(np.float32).tobytes(), (kind, name)
    print(f"{kind}: {len(rows)} tensors alike")

rng = np.random.default_rng(5)
biased = dict(model)
for name, x in model.items():
    if name.rsplit(".", 2)[-2] in ("q_proj", "k_proj", "v_proj"):
        biased[name.removesuffix("weight") + "bias"] = rng.standard_normal(x.shape[0]).astype(np.float32)
rows = write(WORK + "/x.gguf", config, biased, "Q8_0", "qwen2")
got = imported(WORK + "/x.gguf")
assert got.keys() == rows.keys() and json.load(open(WORK + "/in/config.json"))["model_type"] == "qwen2"
assert all(got[n].tobytes() == q.tobytes() for n, (q, _) in rows.items())
print(f"Qwen 2: {len(rows)} tensors alike")
subprocess.run([EMAC, "generate", WORK + "/in", "-p", "one", "-n", "4", "--quiet"], check=True)

for kind in ("q8_0", "q4_0", "q4_1", "q6_k"):
    subprocess.run([EMAC, "model", "quantise", MODEL, WORK + "/q", "--format", kind, "--quiet"],
                   check=True)
    ours = safetensors(WORK + "/q/model.safetensors")
    worst = max(float(np.abs(dequantize(q, TYPES[kind.upper()]) - model[n]).max() /
                      np.abs(model[n]).max()) for n, q in ours.items() if q.dtype == np.uint8)
    assert worst < {"q8_0": 0.005, "q4_0": 0.13, "q4_1": 0.07, "q6_k": 0.04}[kind], (kind, worst)
    print(f"{kind}: gguf reads our blocks, largest error {worst:.4f} of the largest weight")
write(WORK + "/x.gguf", config, ours, None)
got = imported(WORK + "/x.gguf")
assert all(got[n].tobytes() == ours[n].tobytes() for n in ours)
print("Q6_K: the same bytes come back")
