"""Byte-level BPE: trains a vocabulary and encodes with it.

The pre-tokenizer is GPT-2's (llama.cpp's "gpt-2").  Python's re has no \\p{L} and \\p{N}; on the ASCII
text that data.py produces the classes below are equal to them, elsewhere they are an approximation.
Token ids: the control tokens first, then the 256 bytes in GPT-2's order, then the merges by rank.
"""
import collections
import json
import re

CONTROL = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>", "<|system|>", "<|pad|>"]
BOS, USER, ASSISTANT, END, SYSTEM, PAD = range(len(CONTROL))

PRETOKENIZE = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def byte_alphabet():
    """GPT-2's printable stand-in for each byte value, as a list indexed by byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in plain}
    spare = 256
    for b in range(256):
        if b not in table:
            table[b] = chr(spare)
            spare += 1
    return [table[b] for b in range(256)]


ALPHABET = byte_alphabet()
BYTE_OF = {c: b for b, c in enumerate(ALPHABET)}


def visible(piece):
    """The stand-in characters of the UTF-8 bytes of `piece`."""
    return "".join(ALPHABET[b] for b in piece.encode("utf-8"))


def train(texts, vocab_size):
    """Returns the merges, best first, that fill a vocabulary of vocab_size.  Ties go to the smaller pair."""
    counts = collections.Counter()
    for text in texts:
        counts.update(PRETOKENIZE.findall(text))
    words = [list(visible(w)) for w in counts]
    weight = list(counts.values())
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pairs[pair] += weight[i]
            where[pair].add(i)
    merges = []
    while len(merges) < vocab_size - 256 - len(CONTROL):
        best = max(pairs, key=lambda p: (pairs[p], [-ord(c) for c in p[0] + p[1]]))
        merges.append(best)
        for i in where.pop(best):
            old = words[i]
            new = merge_word(old, best)
            for pair in zip(old, old[1:]):
                pairs[pair] -= weight[i]
            for pair in zip(new, new[1:]):
                pairs[pair] += weight[i]
                where[pair].add(i)
            words[i] = new
        del pairs[best]
    return merges


def merge_word(word, pair):
    """`word` with every occurrence of `pair` joined, left to right."""
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and word[i] == pair[0] and word[i + 1] == pair[1]:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


class Tokenizer:
    """Text to ids and back.  Control tokens are never produced from text: add their ids yourself."""

    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.rank = {m: r for r, m in enumerate(self.merges)}
        ordered = sorted(range(256), key=lambda b: ord(ALPHABET[b]))
        self.tokens = CONTROL + [ALPHABET[b] for b in ordered] + [a + b for a, b in self.merges]
        self.id_of = {t: i for i, t in enumerate(self.tokens)}
        assert len(self.id_of) == len(self.tokens), "two merges give the same token"
        self.cache = {}

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as f:
            return cls(json.load(f)["merges"])

    def save(self, path):
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"control": CONTROL, "merges": self.merges}, f, ensure_ascii=False)

    def encode(self, text):
        ids = []
        for piece in PRETOKENIZE.findall(text):
            if piece not in self.cache:
                self.cache[piece] = self._encode_piece(piece)
            ids += self.cache[piece]
        return ids

    def _encode_piece(self, piece):
        word = list(visible(piece))
        while len(word) > 1:
            best = min(zip(word, word[1:]), key=lambda p: self.rank.get(p, len(self.rank)))
            if best not in self.rank:
                break
            word = merge_word(word, best)
        return [self.id_of[t] for t in word]

    def decode(self, ids):
        out = bytearray()
        for i in ids:
            token = self.tokens[i]
            out += token.encode() if i < len(CONTROL) else bytes(BYTE_OF[c] for c in token)
        return out.decode("utf-8", "replace")
