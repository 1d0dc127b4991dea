#!/usr/bin/python3
"""Writes a checkpoint of train.py as a GGUF file (architecture "llama").

    /usr/bin/python3 tools/train/export.py --dir /tmp/train --out models/exo-tiny.gguf [--type q8_0|f32]

Matrices become Q8_0 (or F32), norms stay F32, the output matrix is the token embedding.  RoPE: training turns
the halves of a head, GGUF's llama the neighbours, so the rows of q and k are permuted.
"""
import argparse
import os
import struct

import numpy
import torch

import bpe
import model as model_code

ALIGNMENT = 32
F32, Q8_0 = 0, 8                   # ggml tensor types
FILE_TYPE = {"f32": 0, "q8_0": 7}  # general.file_type
U32, FLOAT, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5  # GGUF value types
NORMAL, CONTROL_TOKEN = 1, 3

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] in ['user', 'assistant'] %}"
    "{{ '<|' + m['role'] + '|>' + (m['content'] | trim) + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def pack_string(text):
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def pack_value(kind, value):
    if kind == STRING:
        return pack_string(value)
    return struct.pack({U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}[kind], value)


def pack_field(key, kind, value):
    """One metadata field; an array is given as kind (ARRAY, element kind)."""
    head = pack_string(key)
    if isinstance(kind, tuple):
        return (head + struct.pack("<IIQ", ARRAY, kind[1], len(value))
                + b"".join(pack_value(kind[1], v) for v in value))
    return head + struct.pack("<I", kind) + pack_value(kind, value)


def quantize_q8_0(x):
    """Blocks of 32: a float16 scale (largest magnitude / 127) and 32 signed bytes, rounded half away from 0."""
    blocks = x.reshape(-1, 32).astype(numpy.float32)
    scale = numpy.abs(blocks).max(1, keepdims=True) / numpy.float32(127)
    inverse = numpy.divide(1, scale, out=numpy.zeros_like(scale), where=scale > 0)
    scaled = blocks * inverse
    q = (numpy.sign(scaled) * numpy.floor(numpy.abs(scaled) + numpy.float32(0.5))).astype(numpy.int8)
    return numpy.concatenate([scale.astype(numpy.float16).view(numpy.uint8), q.view(numpy.uint8)], 1).tobytes()


def neighbours(w, head_dim):
    """Rows of q or k from half-split to neighbouring RoPE pairs."""
    return w.reshape(-1, 2, head_dim // 2, w.shape[-1]).swapaxes(1, 2).reshape(w.shape)


def tensors(weights, shape):
    """(name, float32 array) in file order."""
    w = {k: v.float().numpy() for k, v in weights.items()}
    yield "token_embd.weight", w["embedding"]
    names = {"attention_norm": "attn_norm", "wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output",
             "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
    for i in range(shape["layers"]):
        for ours, theirs in names.items():
            x = w[ours][i]
            yield f"blk.{i}.{theirs}.weight", neighbours(x, shape["head_dim"]) if ours in ("wq", "wk") else x
    yield "output_norm.weight", w["output_norm"]


def metadata(settings, tokenizer, file_type):
    s = settings["shape"]
    control = len(bpe.CONTROL)
    return [
        ("general.architecture", STRING, "llama"),
        ("general.type", STRING, "model"),
        ("general.name", STRING, settings["name"]),
        ("general.author", STRING, "the exo authors"),
        ("general.description", STRING, "Small demo model of exo: short stories and questions about exo"),
        ("general.license", STRING, "apache-2.0"),
        ("general.file_type", U32, FILE_TYPE[file_type]),
        ("general.quantization_version", U32, 2),
        ("llama.vocab_size", U32, settings["vocab"]),
        ("llama.context_length", U32, s["context"]),
        ("llama.embedding_length", U32, s["dim"]),
        ("llama.block_count", U32, s["layers"]),
        ("llama.feed_forward_length", U32, s["ffn"]),
        ("llama.attention.head_count", U32, s["heads"]),
        ("llama.attention.head_count_kv", U32, s["kv_heads"]),
        ("llama.attention.key_length", U32, s["head_dim"]),
        ("llama.attention.value_length", U32, s["head_dim"]),
        ("llama.attention.layer_norm_rms_epsilon", FLOAT, s["norm_eps"]),
        ("llama.rope.dimension_count", U32, s["head_dim"]),
        ("llama.rope.freq_base", FLOAT, s["rope_base"]),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "gpt-2"),
        ("tokenizer.ggml.tokens", (ARRAY, STRING), tokenizer.tokens),
        ("tokenizer.ggml.token_type", (ARRAY, I32),
         [CONTROL_TOKEN] * control + [NORMAL] * (settings["vocab"] - control)),
        ("tokenizer.ggml.merges", (ARRAY, STRING), [" ".join(m) for m in tokenizer.merges]),
        ("tokenizer.ggml.bos_token_id", U32, bpe.BOS),
        ("tokenizer.ggml.eos_token_id", U32, bpe.END),
        ("tokenizer.ggml.padding_token_id", U32, bpe.PAD),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
        ("tokenizer.chat_template", STRING, CHAT_TEMPLATE),
    ]


def write(path, settings, tokenizer, weights, file_type):
    """Writes the file beside `path` and renames it, so that a reader never sees half a model."""
    fields = metadata(settings, tokenizer, file_type)
    infos, bodies, offset = [], [], 0
    for name, x in tensors(weights, settings["shape"]):
        quantised = file_type == "q8_0" and x.ndim == 2
        body = quantize_q8_0(x) if quantised else x.astype("<f4").tobytes()
        infos.append(pack_string(name) + struct.pack(f"<I{x.ndim}QIQ", x.ndim, *reversed(x.shape),
                                                     Q8_0 if quantised else F32, offset))
        bodies.append(body + bytes(-len(body) % ALIGNMENT))
        offset += len(bodies[-1])
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(fields))
    head += b"".join(pack_field(*f) for f in fields) + b"".join(infos)
    with open(path + ".new", "wb") as f:
        f.write(head + bytes(-len(head) % ALIGNMENT))
        f.writelines(bodies)
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True, help="folder with checkpoint.pt and tokenizer.json")
    parser.add_argument("--out", required=True)
    parser.add_argument("--type", choices=list(FILE_TYPE), default="q8_0")
    args = parser.parse_args()
    state = torch.load(f"{args.dir}/checkpoint.pt", map_location="cpu")
    settings = state["settings"]
    assert set(state["model"]) == {*model_code.MATRICES, *model_code.GAINS, "embedding", "output_norm"}
    tokenizer = bpe.Tokenizer.load(f"{args.dir}/tokenizer.json")
    write(args.out, settings, tokenizer, state["model"], args.type)
    print(f"{args.out}: {os.path.getsize(args.out)} bytes, {state['tokens']} tokens seen")


if __name__ == "__main__":
    main()
