#!/usr/bin/env python3
"""Writes a random low-rank adapter of a GGUF model in llama.cpp's format (needs numpy).

    make_adapter.py MODEL OUT [--rank 8] [--alpha 16] [--type f32|f16|bf16|q8_0] [--seed 1] [--effect 0.5]
                              [--targets attn_q,ffn_down,...]

B A has `effect` times the size of the matrix that it changes, at a request's scale of 1.
"""
import argparse
import importlib.util
import os
import struct

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGETS = "attn_q,attn_k,attn_v,attn_output,ffn_gate,ffn_up,ffn_down"
TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "bf16": 30}


def reference():
    """tools/reference.py, which reads GGUF files."""
    spec = importlib.util.spec_from_file_location("reference", os.path.join(ROOT, "tools", "reference.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def encode(values, kind):
    """The bytes of a tensor [rows, columns]."""
    if kind == "f32":
        return values.astype("<f4").tobytes()
    if kind == "f16":
        return values.astype("<f2").tobytes()
    if kind == "bf16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    blocks = values.astype(np.float64).reshape(-1, 32)
    scale = (np.abs(blocks).max(1, keepdims=True) / 127).astype("<f2")
    codes = np.rint(blocks / np.maximum(scale.astype(np.float64), 1e-30)).clip(-127, 127).astype(np.int8)
    return np.concatenate([scale.view(np.uint8), codes.view(np.uint8)], 1).tobytes()


def string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def write_gguf(path, keys, tensors):
    """keys: (name, type number, value bytes); tensors: (name, shape as GGUF has it, type number, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for name, kind, value in keys:
        head += string(name) + struct.pack("<I", kind) + value
    offset = 0
    for name, shape, kind, data in tensors:
        head += string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", kind, offset)
        offset += -(-len(data) // 32) * 32
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32))
        for _, _, _, data in tensors:
            f.write(data + b"\0" * (-len(data) % 32))


def make_adapter(model, out, rank=8, alpha=16.0, kind="f32", seed=1, effect=0.5, targets=TARGETS, architecture=None):
    gguf = reference().Gguf(model)
    random = np.random.default_rng(seed)
    layers = int(gguf.meta[gguf.meta["general.architecture"] + ".block_count"])
    tensors = []
    for layer in range(layers):
        for target in targets.split(","):
            name = f"blk.{layer}.{target}.weight"
            weights = gguf.tensor(name)
            rows, columns = weights.shape
            a = random.standard_normal((rank, columns)) / np.sqrt(rank)
            b = random.standard_normal((rows, rank)) * effect * weights.std() * (rank / alpha if alpha else 1)
            tensors.append((name + ".lora_a", (columns, rank), TYPES[kind], encode(a, kind)))
            tensors.append((name + ".lora_b", (rank, rows), TYPES[kind], encode(b, kind)))
    keys = [("general.type", 8, string("adapter")), ("adapter.type", 8, string("lora")),
            ("general.architecture", 8, string(architecture or gguf.meta["general.architecture"])),
            ("general.name", 8, string(f"random {seed}")),
            ("adapter.lora.alpha", 6, struct.pack("<f", alpha))]
    write_gguf(out, keys, tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--type", default="f32", choices=TYPES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--effect", type=float, default=0.5)
    parser.add_argument("--targets", default=TARGETS)
    args = parser.parse_args()
    make_adapter(args.model, args.out, args.rank, args.alpha, args.type, args.seed, args.effect, args.targets)


if __name__ == "__main__":
    main()
