#!/usr/bin/env python3
"""float64 reference of a GGUF language model: the ground truth that the tests compare the engine with.

It reads the GGUF itself, dequantizes every weight exactly and computes the forward pass in float64 with
plain numpy.  No activation is quantized and no cache is rounded, so it says what the *weights* mean; it is
not bit-exact with the engine's float32 arithmetic and is not meant to be.

Architectures  llama, qwen2, qwen3 (biases on q/k/v, per-head q/k norms, rope_freqs.weight, linear RoPE
               scaling, tied and untied output)
Tensor types   F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, MXFP4, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS
Files          single files and split files (give the first part)
Memory         8 bytes a weight.  Speed: about one small model; use it on ids, not on books.

    reference.py logits     MODEL --ids 1,403,407 [--out L.f32] [--hidden H.f32]
    reference.py greedy     MODEL --ids 1,403,407 --steps 32       what the model itself would say
    reference.py greedy     MODEL --ids 1,403,407 --forced 432,383 the same table along given ids
    reference.py perplexity MODEL --ids 1,403,407,261 --ids 1,5,9  one list each, scored separately

With --lora FILE[:SCALE] (repeatable) the model computes with low-rank adapters in llama.cpp's GGUF format.

Instead of --ids every mode takes --text "..." (tokenizers "gpt2" with pre "gpt-2" only; BOS is put in front
where the file asks for it) or --in FILE.json with {"ids": [...]} or {"lists": [[...], ...]} ("-" reads
stdin).  The answer is JSON on stdout or in --json FILE.

logits      {"ids", "shape": [positions, vocab], "logits_file", "hidden_file", "hidden_shape", "last_top"}
            L.f32 is raw little-endian float32; H.f32 is [layers + 2, positions, dim]: the embedding, the
            output of every block, the normed output.
greedy      {"ids", "steps": [{"id", "best", "second", "margin", "logit"}, ...], "greedy_ids"}: `margin` is
            best - second logit; `id` is the token taken (differs from `best` only when forced).
perplexity  {"tokens", "mean_nll", "perplexity", "lists": [{"tokens", "nll_sum", "nll"}, ...]}: natural
            logarithm, nll[t] = -log p(ids[t + 1] | ids[..t]), sums in float64.
"""
import argparse
import json
import math
import mmap
import re
import struct
import sys
import unicodedata

import numpy as np

ARCHITECTURES = ("llama", "qwen2", "qwen3")


# --- GGUF ---------------------------------------------------------------------------------------------

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9


class Reader:
    """Reads little-endian values one after another."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def string(self):
        size = self.take("<Q")
        self.at += size
        return self.data[self.at - size:self.at].decode("utf-8", "replace")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, count = self.take("<I"), self.take("<Q")
            return [self.value(element) for _ in range(count)]
        return self.take(SCALARS[kind])


class Gguf:
    """Metadata and tensors of one GGUF model, which may be split over several files."""

    def __init__(self, path):
        self.meta, self.where, self.cache = {}, {}, {}
        self.open(path)
        parts = self.meta.get("split.count", 1)
        for part in range(2, parts + 1):
            self.open(re.sub(r"-00001-of-", f"-{part:05d}-of-", path))

    def open(self, path):
        with open(path, "rb") as f:
            data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        reader = Reader(data)
        if data[:4] != b"GGUF":
            raise SystemExit(f"{path}: not a GGUF file")
        reader.at = 4
        version = reader.take("<I")
        if version not in (2, 3):
            raise SystemExit(f"{path}: GGUF version {version} is not supported")
        tensors, fields = reader.take("<Q"), reader.take("<Q")
        for _ in range(fields):
            key = reader.string()
            self.meta.setdefault(key, reader.value(reader.take("<I")))
        infos = []
        for _ in range(tensors):
            name = reader.string()
            shape = [reader.take("<Q") for _ in range(reader.take("<I"))]
            infos.append((name, shape[::-1], reader.take("<I"), reader.take("<Q")))
        alignment = self.meta.get("general.alignment", 32)
        base = -(-reader.at // alignment) * alignment
        for name, shape, kind, offset in infos:
            self.where[name] = (data, base + offset, shape, kind)

    def __contains__(self, name):
        return name in self.where

    def tensor(self, name):
        """float64 weights [rows, columns] or [columns], dequantized exactly."""
        if name not in self.cache:
            if name not in self.where:
                raise SystemExit(f"the file has no tensor {name}")
            data, start, shape, kind = self.where[name]
            if kind not in DEQUANTIZE:
                raise SystemExit(f"{name}: tensor type {kind} is not supported")
            per_block, block_bytes, decode = DEQUANTIZE[kind]
            blocks = math.prod(shape) // per_block
            raw = np.frombuffer(data, np.uint8, blocks * block_bytes, start).reshape(blocks, block_bytes)
            self.cache[name] = decode(raw).reshape(shape)
        return self.cache[name]


def half(raw):
    """float16 bytes [..., 2] as float64 [..., 1]."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float64)


def decode_f32(raw):
    return raw.view("<f4").astype(np.float64)


def decode_f16(raw):
    return half(raw)


def decode_bf16(raw):
    return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def decode_q8_0(raw):
    """Scale (f16), 32 signed bytes."""
    return half(raw[:, :2]) * raw[:, 2:].view(np.int8)


def decode_q4_0(raw):
    """Scale (f16), 16 bytes: low nibbles are weights 0-15, high nibbles 16-31, both minus 8."""
    q = raw[:, 2:]
    return half(raw[:, :2]) * (np.concatenate([q & 15, q >> 4], 1).astype(np.float64) - 8)


def decode_q6_k(raw):
    """256 weights: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 scales (i8), scale (f16)."""
    low, high = raw[:, :128].reshape(-1, 2, 2, 32), raw[:, 128:192].reshape(-1, 2, 1, 32)
    nibbles = np.concatenate([low & 15, low >> 4], 2)                            # [blocks, 2, 4, 32]
    pairs = (high >> np.array([0, 2, 4, 6], np.uint8)[:, None]) & 3
    q = (nibbles | pairs << 4).astype(np.float64).reshape(-1, 16, 16) - 32
    return half(raw[:, 208:210])[:, :, None] * raw[:, 192:208].view(np.int8)[:, :, None] * q


def nibbles(q):
    """Low nibbles, then high ones: the order of blocks of 32."""
    return np.concatenate([q & 15, q >> 4], -1)


def bits(raw):
    """The bits of each byte [..., n] as [..., n, 8], lowest first."""
    return (raw[..., None] >> np.arange(8, dtype=np.uint8)) & 1


def decode_q4_1(raw):
    """Scale, minimum (f16), nibbles."""
    return half(raw[:, :2]) * nibbles(raw[:, 4:]) + half(raw[:, 2:4])


def decode_q5(raw, minimum):
    """Scale, minimum where there is one (f16), 32 high bits, nibbles."""
    start = 4 if minimum else 2
    q = nibbles(raw[:, start + 4:]) | bits(raw[:, start:start + 4]).reshape(-1, 32) << 4
    return half(raw[:, :2]) * q + half(raw[:, 2:4]) if minimum else half(raw[:, :2]) * (q.astype(np.float64) - 16)


def decode_q5_0(raw):
    return decode_q5(raw, False)


def decode_q5_1(raw):
    return decode_q5(raw, True)


IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float64)
E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, 0, -.5, -1, -1.5, -2, -3, -4, -6])


def decode_iq4_nl(raw):
    return half(raw[:, :2]) * IQ4[nibbles(raw[:, 2:])]


def decode_mxfp4(raw):
    """Power of two (biased by 127), nibbles of e2m1."""
    return np.ldexp(E2M1[nibbles(raw[:, 1:])], raw[:, :1].astype(np.int64) - 127)


def pairs_of_bits(raw):
    """2-bit parts [..., 64] as [..., 256]: per half of 128 values 32 bytes, lowest bits first."""
    parts = raw.reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]
    return (parts & 3).reshape(-1, 256)


def bits_of_32(raw):
    """[..., 32] bytes as [..., 256]: bit t of byte i belongs to value 32 t + i."""
    return bits(raw).transpose(0, 2, 1).reshape(-1, 256)


def per_value(subs):
    """Sub-block values [blocks, n] repeated for their 256 values."""
    return np.repeat(subs.astype(np.float64), 256 // subs.shape[1], axis=1)


def decode_q2_k(raw):
    """16 bytes of scale (low) and minimum (high nibble), 2-bit parts, scale and minimum (f16)."""
    scaled = half(raw[:, 80:82]) * (per_value(raw[:, :16] & 15) * pairs_of_bits(raw[:, 16:80]))
    return scaled - half(raw[:, 82:84]) * per_value(raw[:, :16] >> 4)


def decode_q3_k(raw):
    """32 bytes of third bits (unset: 4 less), 2-bit parts, 16 scales of 6 bits (minus 32), scale (f16)."""
    packed = raw[:, 96:108]
    low = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], 1)
    high = np.concatenate([packed[:, 8:] >> shift & 3 for shift in (0, 2, 4, 6)], 1)
    scales = (low | high << 4).astype(np.float64) - 32
    q = pairs_of_bits(raw[:, 32:96]).astype(np.float64) + 4 * bits_of_32(raw[:, :32]) - 4
    return half(raw[:, 108:110]) * (per_value(scales) * q)


def decode_q45_k(raw, fifth):
    """Scale, minimum (f16), 8 scales and 8 minima of 6 bits, fifth bits, nibbles (32 low, 32 high)."""
    packed = raw[:, 4:16]
    scales = np.concatenate([packed[:, :4] & 63, packed[:, 8:] & 15 | packed[:, :4] >> 6 << 4], 1)
    minima = np.concatenate([packed[:, 4:8] & 63, packed[:, 8:] >> 4 | packed[:, 4:8] >> 6 << 4], 1)
    q = nibbles(raw[:, 48 if fifth else 16:].reshape(-1, 4, 32)).reshape(-1, 256)
    q = q | bits_of_32(raw[:, 16:48]) << 4 if fifth else q
    return half(raw[:, :2]) * (per_value(scales) * q) - half(raw[:, 2:4]) * per_value(minima)


def decode_q4_k(raw):
    return decode_q45_k(raw, False)


def decode_q5_k(raw):
    return decode_q45_k(raw, True)


def decode_iq4_xs(raw):
    """Scale (f16), 8 scales of 6 bits (minus 32): high bits first, nibbles (16 low, 16 high)."""
    high = (raw[:, 2:4, None] >> np.array([0, 2, 4, 6], np.uint8) & 3).reshape(-1, 8)
    low = np.stack([raw[:, 4:8] & 15, raw[:, 4:8] >> 4], -1).reshape(-1, 8)
    q = IQ4[nibbles(raw[:, 8:].reshape(-1, 8, 16)).reshape(-1, 256)]
    return half(raw[:, :2]) * (per_value((low | high << 4).astype(np.float64) - 32) * q)


# By number: values and bytes of a block, and its decoder.
DEQUANTIZE = {0: (1, 4, decode_f32), 1: (1, 2, decode_f16), 30: (1, 2, decode_bf16), 2: (32, 18, decode_q4_0),
              3: (32, 20, decode_q4_1), 6: (32, 22, decode_q5_0), 7: (32, 24, decode_q5_1), 8: (32, 34, decode_q8_0),
              10: (256, 84, decode_q2_k), 11: (256, 110, decode_q3_k), 12: (256, 144, decode_q4_k),
              13: (256, 176, decode_q5_k), 14: (256, 210, decode_q6_k), 20: (32, 18, decode_iq4_nl),
              23: (256, 136, decode_iq4_xs), 39: (32, 17, decode_mxfp4)}


# --- the model ----------------------------------------------------------------------------------------

class Model:

    def __init__(self, gguf, adapters=()):
        self.g = gguf
        self.adapters = adapters  # (Gguf, scale) each
        self.arch = gguf.meta["general.architecture"]
        if self.arch not in ARCHITECTURES:
            raise SystemExit(f"architecture {self.arch} is not supported (only {', '.join(ARCHITECTURES)})")
        self.dim, self.layers = self.field("embedding_length"), self.field("block_count")
        self.heads = self.field("attention.head_count")
        self.kv_heads = self.field("attention.head_count_kv", self.heads)
        self.key = self.field("attention.key_length", self.dim // self.heads)
        self.value = self.field("attention.value_length", self.dim // self.heads)
        self.eps = self.field("attention.layer_norm_rms_epsilon")
        self.frequencies, self.position_scale = self.rope()
        self.vocab = gguf.where["token_embd.weight"][2][0]

    def field(self, name, default=None):
        value = self.g.meta.get(f"{self.arch}.{name}", default)
        if value is None:
            raise SystemExit(f"the file has no {self.arch}.{name}")
        return value

    def rope(self):
        """(angle per position for each pair, factor on the position)."""
        count = self.field("rope.dimension_count", self.key)
        base = self.field("rope.freq_base", 10000.0)
        frequencies = float(base) ** (-np.arange(0, count, 2) / count)
        if "rope_freqs.weight" in self.g:
            frequencies = frequencies / self.g.tensor("rope_freqs.weight")
        kind = self.field("rope.scaling.type", "linear" if self.g.meta.get(f"{self.arch}.rope.scale_linear") else "none")
        if kind not in ("none", "linear"):
            raise SystemExit(f"RoPE scaling {kind} is not supported")
        factor = self.field("rope.scaling.factor", self.field("rope.scale_linear", 1.0)) if kind == "linear" else 1.0
        return frequencies, 1.0 / (factor or 1.0)

    def rotate(self, x, position):
        """RoPE on x [positions, heads, key]: llama turns neighbors, the qwen family the two halves."""
        angle = np.outer(position * self.position_scale, self.frequencies)[:, None, :]
        cosine, sine = np.cos(angle), np.sin(angle)
        n = len(self.frequencies)
        first, second = (slice(0, 2 * n, 2), slice(1, 2 * n, 2)) if self.arch == "llama" else (slice(0, n), slice(n, 2 * n))
        out = x.copy()
        out[..., first] = x[..., first] * cosine - x[..., second] * sine
        out[..., second] = x[..., second] * cosine + x[..., first] * sine
        return out

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.g.tensor(name)

    def project(self, x, name):
        out = x @ self.g.tensor(name + ".weight").T
        for adapter, scale in self.adapters:
            if name + ".weight.lora_a" not in adapter:
                continue
            a, b = adapter.tensor(name + ".weight.lora_a"), adapter.tensor(name + ".weight.lora_b")
            alpha = adapter.meta["adapter.lora.alpha"]
            out = out + scale * (alpha / len(a) if alpha else 1) * (x @ a.T @ b.T)
        return out + self.g.tensor(name + ".bias") if name + ".bias" in self.g else out

    def attention(self, x, block, position, cache):
        count = len(position)
        q = self.project(x, block + "attn_q").reshape(count, self.heads, self.key)
        k = self.project(x, block + "attn_k").reshape(count, self.kv_heads, self.key)
        v = self.project(x, block + "attn_v").reshape(count, self.kv_heads, self.value)
        if block + "attn_q_norm.weight" in self.g:
            q, k = self.norm(q, block + "attn_q_norm.weight"), self.norm(k, block + "attn_k_norm.weight")
        q, k = self.rotate(q, position), self.rotate(k, position)
        keys, values = cache.get(block, (k[:0], v[:0]))
        keys, values = cache[block] = np.concatenate([keys, k]), np.concatenate([values, v])
        future = np.arange(len(keys)) > position[:, None]
        out = np.empty((count, self.heads, self.value))
        for head in range(self.heads):
            shared = head * self.kv_heads // self.heads
            scores = q[:, head] @ keys[:, shared].T / math.sqrt(self.key)
            scores[future] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = weights / weights.sum(-1, keepdims=True) @ values[:, shared]
        return self.project(out.reshape(count, -1), block + "attn_output")

    def feed_forward(self, x, block):
        gate = self.project(x, block + "ffn_gate")
        gate = gate / (1 + np.exp(-gate)) * self.project(x, block + "ffn_up")
        return self.project(gate, block + "ffn_down")

    def forward(self, ids, cache=None):
        """(logits [positions, vocab], hidden [layers + 2, positions, dim]); `cache` carries earlier ids."""
        cache = {} if cache is None else cache
        start = len(cache["blk.0."][0]) if cache else 0
        position = np.arange(start, start + len(ids))
        x = self.g.tensor("token_embd.weight")[list(ids)]
        hidden = [x]
        for layer in range(self.layers):
            block = f"blk.{layer}."
            x = x + self.attention(self.norm(x, block + "attn_norm.weight"), block, position, cache)
            x = x + self.feed_forward(self.norm(x, block + "ffn_norm.weight"), block)
            hidden.append(x)
        x = self.norm(x, "output_norm.weight")
        output = "output" if "output.weight" in self.g else "token_embd"
        return self.project(x, output), np.stack(hidden + [x])


# --- text (GPT-2 byte-level BPE) ----------------------------------------------------------------------

def category_class(letter):
    """A regular expression class body with every character whose Unicode category starts with `letter`."""
    spans, last = [], -2
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code))[0] == letter:
            if code != last + 1:
                spans.append([code, code])
            spans[-1][1] = last = code
    return "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in spans)


def byte_alphabet():
    """GPT-2's printable stand-in for each byte value."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(b if b in plain else next(spare)) for b in range(256)]


class Tokenizer:

    def __init__(self, meta):
        kind = (meta.get("tokenizer.ggml.model"), meta.get("tokenizer.ggml.pre"))
        if kind != ("gpt2", "gpt-2"):
            raise SystemExit(f"--text cannot use the tokenizer {kind}: give ids")
        self.ids = {t: i for i, t in enumerate(meta["tokenizer.ggml.tokens"])}
        self.rank = {tuple(m.split(" ")): r for r, m in enumerate(meta["tokenizer.ggml.merges"])}
        self.head = [meta["tokenizer.ggml.bos_token_id"]] if meta.get("tokenizer.ggml.add_bos_token") else []
        letter, number = category_class("L"), category_class("N")
        self.pieces = re.compile(rf"'s|'t|'re|'ve|'m|'ll|'d| ?[{letter}]+| ?[{number}]+| ?[^\s{letter}{number}]+"
                                 r"|\s+(?!\S)|\s+")
        self.alphabet = byte_alphabet()

    def encode(self, text):
        """BOS where the file asks for it, then the text; control tokens in the text stay text."""
        return self.head + [i for piece in self.pieces.findall(text) for i in self.piece(piece)]

    def piece(self, piece):
        word = [self.alphabet[b] for b in piece.encode("utf-8")]
        while len(word) > 1:
            ranks = [self.rank.get(pair, math.inf) for pair in zip(word, word[1:])]
            at = ranks.index(min(ranks))
            if ranks[at] == math.inf:
                break
            word[at:at + 2] = [word[at] + word[at + 1]]
        return [self.ids[t] for t in word]


# --- modes --------------------------------------------------------------------------------------------

def log_probabilities(logits):
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def best_two(row):
    order = np.argpartition(row, -2)[-2:]
    return sorted(order.tolist(), key=lambda i: (-row[i], i))


def logits_mode(model, lists, args):
    ids = only(lists)
    logits, hidden = model.forward(ids)
    answer = {"ids": ids, "shape": list(logits.shape)}
    if args.out:
        logits.astype("<f4").tofile(args.out)
        answer["logits_file"] = args.out
    if args.hidden:
        hidden.astype("<f4").tofile(args.hidden)
        answer |= {"hidden_file": args.hidden, "hidden_shape": list(hidden.shape)}
    last = log_probabilities(logits[-1])
    top = np.argsort(-last, kind="stable")[:10].tolist()
    answer["last_top"] = [{"id": i, "logit": logits[-1, i], "logprob": last[i]} for i in top]
    return answer


def greedy_mode(model, lists, args):
    ids = only(lists)
    forced = parse_ids(args.forced) if args.forced else None
    steps, cache = [], {}
    row = model.forward(ids, cache)[0][-1]
    for step in range(len(forced) if forced else args.steps):
        best, second = best_two(row)
        taken = forced[step] if forced else best
        steps.append({"id": taken, "best": best, "second": second, "margin": row[best] - row[second], "logit": row[best]})
        row = model.forward([taken], cache)[0][-1]
    return {"ids": ids, "greedy_ids": [s["best"] for s in steps], "steps": steps}


def perplexity_mode(model, lists, args):
    rows = []
    for ids in lists:
        if len(ids) < 2:
            raise SystemExit("perplexity needs at least two ids in a list")
        logprob = log_probabilities(model.forward(ids[:-1])[0])
        nll = -logprob[np.arange(len(ids) - 1), ids[1:]]
        rows.append({"tokens": len(nll), "nll_sum": nll.sum(), "nll": nll.tolist()})
    tokens, total = sum(r["tokens"] for r in rows), math.fsum(r["nll_sum"] for r in rows)
    return {"tokens": tokens, "mean_nll": total / tokens, "perplexity": math.exp(total / tokens), "lists": rows}


def only(lists):
    if len(lists) != 1:
        raise SystemExit("this mode takes one list of ids")
    return lists[0]


def parse_ids(text):
    return [int(part) for part in re.split(r"[,\s]+", text.strip())]


def read_adapter(text):
    path, _, scale = text.rpartition(":")
    try:
        return Gguf(path), float(scale)
    except (ValueError, OSError):
        return Gguf(text), 1.0


def read_lists(args, gguf):
    lists = [parse_ids(text) for text in args.ids]
    if args.text:
        tokenizer = Tokenizer(gguf.meta)
        lists += [tokenizer.encode(text) for text in args.text]
    if args.input:
        with open(0 if args.input == "-" else args.input, encoding="utf-8") as f:
            request = json.load(f)
        lists += request.get("lists", []) + ([request["ids"]] if "ids" in request else [])
    if not lists:
        raise SystemExit("give --ids, --text or --in")
    return lists


MODES = {"logits": logits_mode, "greedy": greedy_mode, "perplexity": perplexity_mode}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("model", help="GGUF file (the first one of a split model)")
    parser.add_argument("--ids", action="append", default=[], help="comma-separated token ids, BOS included")
    parser.add_argument("--text", action="append", default=[], help="text instead of ids")
    parser.add_argument("--in", dest="input", help="JSON request file, - for stdin")
    parser.add_argument("--json", help="write the JSON answer here instead of to stdout")
    parser.add_argument("--out", help="logits: raw float32 file")
    parser.add_argument("--hidden", help="logits: raw float32 file of the hidden states")
    parser.add_argument("--steps", type=int, default=32, help="greedy: tokens to generate")
    parser.add_argument("--forced", help="greedy: ids to follow instead of the best ones")
    parser.add_argument("--lora", action="append", default=[], help="FILE[:SCALE] of a low-rank adapter")
    args = parser.parse_args()
    gguf = Gguf(args.model)
    model = Model(gguf, [read_adapter(text) for text in args.lora])
    lists = read_lists(args, gguf)
    wrong = [i for ids in lists for i in ids if not 0 <= i < model.vocab]
    if wrong:
        raise SystemExit(f"token id {wrong[0]} is outside the vocabulary of {model.vocab}")
    answer = {"model": args.model, "architecture": model.arch, "vocab": model.vocab} | MODES[args.mode](model, lists, args)
    text = json.dumps(answer)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            f.write(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
