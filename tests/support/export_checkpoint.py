"""Writes a GGUF model of floats as a folder of safetensors, as Hugging Face or (quantized) MLX keep it (needs numpy).

    folder(model, out)                       floats as they are
    folder(model, out, shards=3)             over several files, with an index
    folder(model, out, bits=4, group=64)     MLX's affine codes; what the codes mean comes back, to compare with
"""
import json
import pathlib
import struct

import make_adapter
import numpy as np

reference = make_adapter.reference()
NAMES = {
    "attn_norm.weight": "input_layernorm.weight", "attn_output": "self_attn.o_proj", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k_norm.weight": "self_attn.k_norm.weight", "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate", "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj", "ffn_down_shexp": "mlp.shared_expert.down_proj",
    "post_attention_norm.weight": "post_attention_layernorm.weight", "post_ffw_norm.weight": "post_feedforward_layernorm.weight",
}
TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
       "output.weight": "lm_head.weight"}
TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe",
         "gemma3": "gemma3_text"}
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
SPACE = "\u2581"


# ---------------------------------------------------------------- weights
def halves(x, heads):
    """Rows of q or k with the rotated pairs as halves of a head: GGUF's llama has them side by side."""
    rows = x.shape[0] // heads
    return x.reshape(heads, rows // 2, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def pairs(x, heads):
    """The inverse of halves."""
    rows = x.shape[0] // heads
    return x.reshape(heads, 2, rows // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def name_of(name, gemma):
    """The name in a checkpoint; of experts, with {} for the number or for MLX's one tensor of all."""
    if name in TOP:
        return TOP[name]
    _, layer, rest = name.split(".", 2)
    if gemma and rest == "ffn_norm.weight":
        rest = "pre_feedforward_layernorm.weight"
    if rest.endswith("_exps.weight"):
        return f"model.layers.{layer}.mlp.{{}}." + rest.removeprefix("ffn_").replace("_exps", "_proj")
    stem, _, end = rest.rpartition(".")
    return f"model.layers.{layer}." + (NAMES[rest] if rest in NAMES else f"{NAMES[stem]}.{end}" if stem in NAMES else rest)


def affine(x, bits, group, dtype):
    """MLX's codes, scales and biases of a matrix, and the floats that they mean."""
    most = (1 << bits) - 1
    blocks = x.astype(np.float64).reshape(*x.shape[:-1], -1, group)
    low, high = blocks.min(-1, keepdims=True), blocks.max(-1, keepdims=True)
    scale = np.maximum((high - low) / most, 2.0**-14).astype(dtype)
    bias = low.astype(dtype)
    codes = np.rint((blocks - bias) / scale.astype(np.float64)).clip(0, most).astype(np.uint32)
    means = (scale.astype(np.float64) * codes + bias).astype(np.float32).reshape(x.shape)
    per_word = 32 // bits
    words = codes.reshape(*x.shape[:-1], -1, per_word) << (np.arange(per_word, dtype=np.uint32) * bits)
    return np.bitwise_or.reduce(words, -1).astype("<u4"), scale[..., 0], bias[..., 0], means, codes.reshape(x.shape)


def q4_1(codes, scale, bias, group):
    """The same codes as GGUF's blocks."""
    blocks = codes.reshape(-1, 32).astype(np.uint8)
    packed = blocks[:, :16] | blocks[:, 16:] << 4
    repeated = [np.repeat(v.reshape(-1), group // 32).astype("<f2").view(np.uint8).reshape(-1, 2) for v in (scale, bias)]
    return np.concatenate([*repeated, packed], 1).tobytes()


def safetensors(path, tensors):
    """tensors: (name, type, array)."""
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, kind, x in tensors:
        head[name] = {"dtype": kind, "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(x.tobytes() for _, _, x in tensors))


# ---------------------------------------------------------------- documents
def config(meta, tensors):
    architecture = meta["general.architecture"]

    def field(key, default=None):
        return meta.get(f"{architecture}.{key}", default)

    heads = field("attention.head_count")
    found = {"model_type": TYPES[architecture], "num_hidden_layers": field("block_count"), "num_attention_heads": heads,
             "num_key_value_heads": field("attention.head_count_kv", heads), "hidden_size": field("embedding_length"),
             "head_dim": field("attention.key_length", field("embedding_length") // heads),
             "intermediate_size": field("feed_forward_length"), "max_position_embeddings": field("context_length"),
             "rms_norm_eps": field("attention.layer_norm_rms_epsilon"), "rope_theta": field("rope.freq_base", 10000.0),
             "tie_word_embeddings": "output.weight" not in tensors, "bos_token_id": meta.get("tokenizer.ggml.bos_token_id"),
             "eos_token_id": meta.get("tokenizer.ggml.eos_token_id")}
    if field("rope.scaling.type") == "linear":
        found["rope_scaling"] = {"rope_type": "linear", "factor": field("rope.scaling.factor")}
    if field("expert_count"):
        found |= {"num_experts": field("expert_count"), "num_experts_per_tok": field("expert_used_count"),
                  "moe_intermediate_size": field("expert_feed_forward_length"),
                  "norm_topk_prob": architecture == "qwen3moe"}
    if architecture == "qwen2moe":
        found["shared_expert_intermediate_size"] = field("expert_shared_feed_forward_length")
    if architecture == "gemma3":
        found |= {"sliding_window": field("attention.sliding_window"), "hidden_activation": "gelu_pytorch_tanh"}
    return found


def tokenizer(meta):
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    added = [{"id": i, "content": t, "special": True} for i, (t, kind) in enumerate(zip(tokens, types)) if kind in (2, 3)]
    found = {"added_tokens": added, "normalizer": None, "pre_tokenizer": None, "post_processor": None}
    vocab = {t: i for i, (t, kind) in enumerate(zip(tokens, types)) if kind not in (2, 3)}
    if meta["tokenizer.ggml.model"] == "llama":
        scores = meta["tokenizer.ggml.scores"]
        merges = [(-scores[i], t[:k], t[k:]) for t, i in vocab.items() if types[i] == 1 for k in range(1, len(t))
                  if t[:k] in vocab and t[k:] in vocab]
        steps = [{"type": "Prepend", "prepend": SPACE}] if meta.get("tokenizer.ggml.add_space_prefix", True) else []
        steps.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
        found["normalizer"] = {"type": "Sequence", "normalizers": steps}
        found["model"] = {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "vocab": vocab,
                          "merges": [[a, b] for _, a, b in sorted(merges)]}
        return found
    pre = meta["tokenizer.ggml.pre"]
    split = {"type": "Split", "behavior": "Isolated", "pattern": {
        "Regex": LLAMA3 if pre == "llama-bpe" else LLAMA3.replace("{1,3}", "")}}
    steps = [{"type": "ByteLevel", "add_prefix_space": False}] if pre == "gpt-2" else [
        split, {"type": "ByteLevel", "use_regex": False}]
    found["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    found["model"] = {"type": "BPE", "byte_fallback": False, "ignore_merges": pre == "llama-bpe", "vocab": vocab,
                      "merges": meta["tokenizer.ggml.merges"]}
    return found


# ---------------------------------------------------------------- the folder
def folder(model, out, bits=0, group=64, dtype=np.float16, shards=1):
    """Writes the folder; {GGUF name: (type number, bytes)} of the tensors that became codes."""
    gguf = reference.Gguf(str(model))
    meta, out = gguf.meta, pathlib.Path(out)
    out.mkdir()
    architecture = meta["general.architecture"]
    settings = config(meta, gguf)
    stored, meanings = [], {}

    def store(name, x):
        stored.append((name, "F32", x.astype("<f4")))

    def store_codes(name, to, x, heads):
        words, scale, bias, means, codes = affine(x, bits, group, dtype)
        kind, module = {np.float16: "F16", np.float32: "F32"}[dtype], to.removesuffix(".weight")
        stored.extend([(to, "U32", words), (f"{module}.scales", kind, scale), (f"{module}.biases", kind, bias)])
        if heads:
            means, codes, scale, bias = (pairs(v, heads) for v in (means, codes, scale, bias))
        exact = bits == 4 and dtype == np.float16
        meanings[name] = (3, q4_1(codes, scale, bias, group)) if exact else (0, means.tobytes())

    for name in gguf.where:
        x = gguf.tensor(name).astype(np.float32)
        to = name_of(name, architecture == "gemma3")
        if architecture == "gemma3" and "norm" in name:
            x = (x.astype(np.float64) - 1).astype(np.float32)
        matrix = name.split(".")[2] if name.startswith("blk.") else ""
        heads = 0
        if architecture == "llama" and matrix in ("attn_q", "attn_k"):
            heads = settings["num_attention_heads" if matrix == "attn_q" else "num_key_value_heads"]
            x = halves(x, heads)
        if matrix == "ffn_gate_inp_shexp":
            x = x.reshape(1, -1)
        if bits and x.ndim > 1 and x.shape[-1] % group == 0 and not matrix.startswith("ffn_gate_inp"):
            store_codes(name, to.format("switch_mlp"), x, heads)
        elif matrix.endswith("_exps"):
            for expert, one in enumerate(x):
                store(to.format(f"experts.{expert}"), one)
        else:
            store(to, x)
    if bits:
        settings["quantization"] = {"group_size": group, "bits": bits}
    files = [out / "model.safetensors"] if shards == 1 else [
        out / f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    for i, path in enumerate(files):
        safetensors(path, stored[i::shards])
    if shards > 1:
        index = {name: files[i].name for i in range(shards) for name, _, _ in stored[i::shards]}
        (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (out / "config.json").write_text(json.dumps(settings))
    (out / "tokenizer.json").write_text(json.dumps(tokenizer(meta)))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "add_bos_token": bool(meta.get("tokenizer.ggml.add_bos_token", False))} | (
            {"chat_template": meta["tokenizer.chat_template"]} if "tokenizer.chat_template" in meta else {})))
    return meanings
