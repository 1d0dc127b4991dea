"""Small models with random weights for the comparison with llama.cpp: the metadata keys and tensor names of real
files of an architecture, a vocabulary of a few hundred tokens that can write any text, and weights scaled so that
attention, gates and routers are decided and logits are some units apart.
"""
import math
import struct

import numpy as np

LAYERS, WIDTH, CONTEXT, WINDOW = 7, 256, 1024, 32
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
TYPE_IDS = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}


# ---------------------------------------------------------------- weights
def encode(kind, x):
    """A matrix as the bytes of a GGUF tensor."""
    if kind in ("f32", "f16"):
        return x.astype(np.float32 if kind == "f32" else np.float16).tobytes()
    blocks = x.reshape(-1, 32).astype(np.float32)
    rows = np.arange(len(blocks))
    extreme = blocks[rows, np.abs(blocks).argmax(axis=1)]
    scale = (np.abs(extreme) / 127 if kind == "q8_0" else extreme / -8).astype(np.float16)
    inverse = np.divide(1, scale.astype(np.float32), out=np.zeros(len(blocks), np.float32), where=scale != 0)
    codes = np.rint(blocks * inverse[:, None])
    if kind == "q8_0":
        packed = np.clip(codes, -127, 127).astype(np.int8).view(np.uint8)
    else:
        nibbles = np.clip(codes + 8, 0, 15).astype(np.uint8)
        packed = nibbles[:, :16] | nibbles[:, 16:] << 4
    return np.concatenate([scale.view(np.uint8).reshape(-1, 2), packed], axis=1).tobytes()


class Weights:
    """Tensors in the order of the file; names ending in a type's key of `kinds` get that type."""

    def __init__(self, kinds, seed):
        self.kinds, self.rng, self.tensors = kinds, np.random.default_rng(seed), []

    def kind_of(self, name):
        return next((k for part, k in self.kinds.items() if part in name), self.kinds[""])

    def matrix(self, name, rows, cols, gain=1.0, count=None, kind=None):
        kind = kind or self.kind_of(name)
        x = self.rng.standard_normal((count or 1, rows, cols)) * (gain / math.sqrt(cols))
        dims = [cols, rows] + ([count] if count else [])
        self.tensors.append((f"{name}.weight", dims, kind, encode(kind, x)))

    def vector(self, name, size, middle=1.0, spread=0.2):
        # Few bits, so that a checkpoint can keep a norm less 1.
        x = np.float16(middle + spread * self.rng.standard_normal(size))
        self.tensors.append((name, [size], "f32", encode("f32", x)))


# ---------------------------------------------------------------- vocabularies
def byte_symbols():
    """The printable stand-ins for bytes in a byte-level vocabulary."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in keep]
    return [chr(b) if b in keep else chr(256 + others.index(b)) for b in range(256)]


WORDS = ["the", "and", "was", "she", "day", "her", "they", "little", "said", "to", "in", "he", "it", "ed", "ing"]


def byte_level(control):
    tokens, merges = byte_symbols(), []
    space = tokens[32]
    for word in WORDS:
        whole = space
        for letter in word:
            if whole + letter not in tokens:
                tokens.append(whole + letter)
                merges.append(f"{whole} {letter}")
            whole += letter
    types = [1] * len(tokens) + [3] * len(control)
    first = len(tokens)
    return [("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "qwen2"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens + control)),
            ("tokenizer.ggml.token_type", ARRAY, (I32, types)), ("tokenizer.ggml.merges", ARRAY, (STRING, merges)),
            ("tokenizer.ggml.eos_token_id", U32, first + control.index("<|im_end|>")),
            ("tokenizer.ggml.padding_token_id", U32, first), ("tokenizer.ggml.bos_token_id", U32, first),
            ("tokenizer.ggml.add_bos_token", BOOL, False)], first + len(control)


def sentence_piece():
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    types = [3, 3, 3, 2, 3, 3]
    for byte in range(256):
        tokens.append(f"<0x{byte:02X}>")
        types.append(6)
    pieces = {}
    for word in WORDS:
        for end in range(1, len(word) + 1):
            pieces.setdefault("\u2581" + word[:end])
            pieces.setdefault(word[:end])
    for piece in ["\u2581", *"abcdefghijklmnopqrstuvwxyz.,\n", *pieces]:
        if piece not in tokens:
            tokens.append(piece)
            types.append(1)
    scores = [0.0 if t != 1 else -float(i) for i, t in enumerate(types)]
    return [("tokenizer.ggml.model", STRING, "llama"), ("tokenizer.ggml.pre", STRING, "default"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)), ("tokenizer.ggml.scores", ARRAY, (F32, scores)),
            ("tokenizer.ggml.token_type", ARRAY, (I32, types)), ("tokenizer.ggml.bos_token_id", U32, 2),
            ("tokenizer.ggml.eos_token_id", U32, 1), ("tokenizer.ggml.unknown_token_id", U32, 3),
            ("tokenizer.ggml.padding_token_id", U32, 0), ("tokenizer.ggml.add_bos_token", BOOL, True),
            ("tokenizer.ggml.add_eos_token", BOOL, False),
            ("tokenizer.ggml.add_space_prefix", BOOL, False)], len(tokens)


# ---------------------------------------------------------------- architectures
def attention(weights, i, heads, kv_heads, dim, bias=False, norms=False):
    b = f"blk.{i}."
    weights.vector(b + "attn_norm.weight", WIDTH)
    for name, rows, gain in (("q", heads * dim, 1.5), ("k", kv_heads * dim, 1.5), ("v", kv_heads * dim, 1.0)):
        weights.matrix(b + "attn_" + name, rows, WIDTH, gain)
        if bias:
            weights.vector(b + f"attn_{name}.bias", rows, 0.0, 0.3)
    if norms:
        weights.vector(b + "attn_q_norm.weight", dim, 1.2)
        weights.vector(b + "attn_k_norm.weight", dim, 1.2)
    weights.matrix(b + "attn_output", WIDTH, heads * dim)
    weights.vector(b + "ffn_norm.weight", WIDTH)


def gated(weights, i, ffn, suffix="", count=None):
    for name, rows, cols in (("gate", ffn, WIDTH), ("up", ffn, WIDTH), ("down", WIDTH, ffn)):
        weights.matrix(f"blk.{i}.ffn_{name}{suffix}", rows, cols, 1.5, count)


def keys(heads, kv_heads, base, ffn):
    return [("block_count", U32, LAYERS), ("context_length", U32, CONTEXT), ("embedding_length", U32, WIDTH),
            ("feed_forward_length", U32, ffn), ("attention.head_count", U32, heads),
            ("attention.head_count_kv", U32, kv_heads), ("rope.freq_base", F32, base),
            ("attention.layer_norm_rms_epsilon", F32, 1e-6)]


def experts(weights, count, used, ffn):
    for i in range(LAYERS):
        weights.matrix(f"blk.{i}.ffn_gate_inp", count, WIDTH, 2.0, kind="f32")
        gated(weights, i, ffn, "_exps", count)
    return [("expert_count", U32, count), ("expert_used_count", U32, used), ("expert_feed_forward_length", U32, ffn)]


def llama(weights):
    """With biases, also on attention's output, which some models of this architecture have."""
    tokens, vocab = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    weights.matrix("token_embd", vocab, WIDTH, 16.0)
    for i in range(LAYERS):
        attention(weights, i, 4, 2, 64, bias=True)
        weights.vector(f"blk.{i}.attn_output.bias", WIDTH, 0.0, 0.3)
        gated(weights, i, 384)
    weights.vector("output_norm.weight", WIDTH)
    weights.matrix("output", vocab, WIDTH, 4.0)
    return keys(4, 2, 1e4, 384), tokens


def qwen2moe(weights):
    tokens, vocab = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    weights.matrix("token_embd", vocab, WIDTH, 16.0)
    for i in range(LAYERS):
        attention(weights, i, 4, 2, 64, bias=True)
        # One row, which files keep as a vector.
        weights.vector(f"blk.{i}.ffn_gate_inp_shexp.weight", WIDTH, 0.0, 0.1)
        gated(weights, i, 160, "_shexp")
    mixture = experts(weights, 8, 3, 96)
    weights.vector("output_norm.weight", WIDTH)
    weights.matrix("output", vocab, WIDTH, 4.0)
    return keys(4, 2, 1e6, 160) + mixture + [("expert_shared_feed_forward_length", U32, 160)], tokens


def qwen3moe(weights):
    tokens, vocab = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    weights.matrix("token_embd", vocab, WIDTH, 16.0)
    for i in range(LAYERS):
        attention(weights, i, 6, 2, 64, norms=True)
    mixture = experts(weights, 16, 4, 96)
    weights.vector("output_norm.weight", WIDTH)
    weights.matrix("output", vocab, WIDTH, 4.0)
    return keys(6, 2, 1e6, 384) + mixture + [("attention.key_length", U32, 64),
                                             ("attention.value_length", U32, 64)], tokens


def gemma3(weights):
    tokens, vocab = sentence_piece()
    weights.matrix("token_embd", vocab, WIDTH, 3.0)
    for i in range(LAYERS):
        attention(weights, i, 4, 2, 96, norms=True)
        weights.vector(f"blk.{i}.post_attention_norm.weight", WIDTH, 1.5)
        gated(weights, i, 384)
        weights.vector(f"blk.{i}.post_ffw_norm.weight", WIDTH, 1.5)
    weights.vector("output_norm.weight", WIDTH)
    return keys(4, 2, 1e6, 384) + [
        ("attention.key_length", U32, 96), ("attention.value_length", U32, 96),
        ("attention.sliding_window", U32, WINDOW), ("rope.scaling.type", STRING, "linear"),
        ("rope.scaling.factor", F32, 8.0)], tokens


# ---------------------------------------------------------------- the file
def text(s):
    data = s.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == STRING:
        return text(v)
    if kind == ARRAY:
        kind, items = v
        return struct.pack("<IQ", kind, len(items)) + b"".join(value(kind, item) for item in items)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def write(path, architecture, kinds, seed=1, more=()):
    """A model of `architecture` ("qwen2moe", ...); kinds: {part of a name: type}, "" for all others.

    more: further metadata of the architecture, as (key, type, value)."""
    weights = Weights(kinds, seed)
    config, tokenizer = globals()[architecture](weights)
    metadata = [("general.architecture", STRING, architecture), ("general.name", STRING, f"synthetic {architecture}"),
                *((f"{architecture}.{key}", kind, v) for key, kind, v in (*config, *more)), *tokenizer]
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(weights.tensors), len(metadata))
    for key, kind, v in metadata:
        head += text(key) + struct.pack("<I", kind) + value(kind, v)
    body = b""
    for name, dims, kind, data in weights.tensors:
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TYPE_IDS[kind], len(body))
        body += data + bytes(-len(data) % 32)
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % 32) + body)
