#!/usr/bin/python3
"""The words into which llama.cpp cuts texts, by its rule for each name of tokenizer.ggml.pre, as hashes.

    /usr/bin/python3 tests/peer/pretokenizers.py > tests/golden/pretokenizers.json

writes what src/model/pretokenizer_test.cc compares with; peer_test.py checks that it is still so.  llama.cpp shows
no words, only ids: the vocabulary here has every pair of bytes as a merge, so that nearly every boundary of words
changes an id.  BERT's words, by its options, come from a vocabulary of single characters: each has an id at the start of
a word and another one inside.  A hash is that of the ids of all texts, 32 bits each, -1 behind each text.
"""
import hashlib
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import lib  # noqa: E402
import synthetic  # noqa: E402
from llama_package import package  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = lib.ROOT / "tests" / "golden" / "pretokenizers.json"
RULES = lib.ROOT / "src" / "model" / "pretokenizer_rules.cc"
WHOLE = "xyzzy"  # a token without merges: one id where words that are tokens need none

# Ours: digits, apostrophes, scripts, marks, emoji and white space in the company that rules disagree about.
EDGES = [
    "Hello World, HELLOWorld helloWORLD HTMLParser iPhone eBay McDonald", "it's we'RE I'd They'Ll 'tis 'twas'nt o'clock''s",
    "'s't're've'm'll'd'S'T'RE'VE'M'LL'D'Sure 'word' don't", "1 12 123 1234 12345 123456 1234567 3.14159 1,000,000.00",
    "v1.2.3-rc4 0x1F 2024-01-02T03:04:05Z 50% $9.99 \u20ac20", "12\u0663\u0664567890 \u0967\u0968\u0969\u096a \u00b2\u00b3\u2168\u00bd 123abc 9a8b7",
    "a  b   c    d     e\tf\t\tg \t h", "line\nline\n\nline\n\n\nline\r\nline\r\n\r\n  indented\n\t\ttabbed  \n   \n",
    "  leading and trailing  ", "\n\n  x\n", " \u00a0 \u2003a\u3000b\u2028c\u202fd\u205fe\u1680f\u0085g\u180eh\u200bi\ufeffj",
    "\u3000\u3000\u5168\u89d2\u3000\uff11\uff12\uff13\uff21\uff22\uff43\uff01\uff1f\u3002\u3001", "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u4eca\u5929\u662f2024\u5e741\u670802\u65e5\u3002Hello\u4e16\u754c123\u4f60\u597d",
    "\u3053\u3093\u306b\u3061\u306f\u30ab\u30bf\u30ab\u30ca\u6f22\u5b57\u304b\u306a\u4ea4\u3058\u308a\u3001\u30c6\u30b9\u30c8\u3002\u30fb\u30fc", "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4 \u1112\u1161\u11ab\u3131\u314f \ud7a3\ud7ff",
    "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439 \u041c\u0418\u0420 \u0441\u043b\u043e\u0432\u043e\u0421\u043b\u043e\u0432\u043e \u0393\u03b5\u03b9\u03ac \u03a3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5", "\u00c9cole \u00e9t\u00e9 \u00df \u00c6\u00f8\u00e5 \u0130\u0131 \u01c5 \u02b0 \u1d43 e\u0301te\u0301 n\u0303o a\u0308o\u0308u\u0308",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e\u0964 \u0645\u0631\u062d\u0628\u0627\u064b\u060c \u0643\u064e\u064a\u0652\u0641\u064e \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u06d4 \u200f\u200e",
    "\u0300\u0301a\u0302 \u0303 1\u0304 .\u0305b", "\U0001f600\U0001f44d\U0001f3fd\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 #\ufe0f\u20e3 \U0001d49c\U0001d4d0 \U00020000\U0002a6df",
    "!~! ~~~ ~a ~\u00e9 a~b `code` ```py\nx = 1\n``` <b>&amp;</b> {\"k\": [1, 2]} // /* */ #!/bin/sh\n",
    "a_b-c.d/e\\f|g+h=i<j>k^l*m&n@o", "...,,,;;;!!!??? --- \u2026\u2026 \u2014 \u2018q\u2019 \u201cq\u201d \u00ab\u00bb \u00a1\u00bf \u00a3\u00a5\u00a7\u00a9\u00ae\u00b0\u00b1 \u2190\u2191 \u2211\u222b",
    "/\n//\n \n/x /\r\n/ \n", "for (int i = 0; i < 10; ++i) {\n    printf(\"%d\\n\", i);\n}\n\n\n# end", "IMGIMGABCZ <sentinel:12> IMGIMGZ",
    "don\u2019t \uff07s 'S\u017f '\u212a a's\u0301 A'LL B've", "\ue000\uf8ff\ufffd\u0378\u2fe0\u00ad\u0001\u007f\u009f x\u0000y", WHOLE, "",
]

# Where characters are assigned, but for SentencePiece's mark, with which such files write the starts of words.
CODES = [code for code in (*range(1, 0x30000), *range(0xE0000, 0xE1000)) if code not in range(0xD800, 0xE000)
         and code != 0x2581]
BERT = {"default": {}, "cased": {"lowercase": False}, "unaccented": {"lowercase": False, "strip_accents": True},
        "accented": {"lowercase": True, "strip_accents": False}}


def variations(texts):
    return [before + text for text in texts for before in ("", "x", "1")]


def symbols():
    """Every byte and every pair, and the merges of the pairs."""
    single = synthetic.byte_symbols()
    pairs = [(a, b) for a in single for b in single]
    return [*single, *(a + b for a, b in pairs), WHOLE], [f"{a} {b}" for a, b in pairs]


def string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def write_vocabulary(path, name):
    """A file without tensors whose pre-tokenizer is `name`."""
    tokens, merges = symbols()
    write_keys(path, [
        ("general.architecture", 8, string("llama")), ("tokenizer.ggml.model", 8, string("gpt2")),
        ("tokenizer.ggml.pre", 8, string(name)), *token_keys(tokens, [1] * len(tokens)),
        ("tokenizer.ggml.merges", 9, struct.pack("<IQ", 8, len(merges)) + b"".join(map(string, merges))),
        ("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 11)),
        ("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 11))])


def write_bert_vocabulary(path, options):
    """A file without tensors whose tokens are four special ones, CODES at the starts of words, CODES inside."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokens = [*special, *("\u2581" + chr(code) for code in CODES), *map(chr, CODES)]
    ids = {"unknown": 1, "bos": 2, "seperator": 3, "padding": 0, "mask": 0}
    write_keys(path, [
        ("general.architecture", 8, string("bert")), ("tokenizer.ggml.model", 8, string("bert")),
        *token_keys(tokens, [3] * len(special) + [1] * (len(tokens) - len(special))),
        *((f"tokenizer.ggml.{name}_token_id", 4, struct.pack("<I", id_)) for name, id_ in ids.items()),
        *((f"tokenizer.ggml.normalizer.{name}", 7, struct.pack("<?", value)) for name, value in options.items())])


def token_keys(tokens, types):
    return [("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, len(tokens)) + b"".join(map(string, tokens))),
            ("tokenizer.ggml.token_type", 9, struct.pack(f"<IQ{len(types)}i", 5, len(types), *types))]


def write_keys(path, keys):
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys))
    head += b"".join(string(key) + struct.pack("<I", kind) + value for key, kind, value in keys)
    path.write_bytes(head + bytes(-len(head) % 32))


def digest(ids_of_texts):
    sum_ = hashlib.sha256()
    for ids in ids_of_texts:
        sum_.update(struct.pack(f"<{len(ids) + 1}i", *ids, -1))
    return sum_.hexdigest()


def names():
    """The names in the program's table."""
    table = RULES.read_text().split("kNames = ")[1]
    return [name for name in re.findall(r'\{(?:\.name = )?"([^"]*)",', table) if name]


def shared_texts():
    lines = lib.need_shared("data", "tokenizers", "vectors", "texts.jsonl").read_text(encoding="utf-8").split("\n")
    return [line["text"] for line in sorted(map(json.loads, filter(None, lines)), key=lambda line: line["id"])]


def character_texts():
    """Every character, between letters; some to a text."""
    return [" ".join(f"a{chr(code)}b" for code in CODES[begin:begin + 4096]) for begin in range(0, len(CODES), 4096)]


def ask_llama(path, texts):
    folder, node = package()
    run = subprocess.run([node, HERE / "llama.mjs", "--pkg", folder, "--model", path], capture_output=True,
                         input=json.dumps({"vocabOnly": True, "texts": texts}), text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-1500:]
    return json.loads(run.stdout)


def ask():
    """What llama.cpp does, in the form of the golden file."""
    edges, texts, characters = variations(EDGES), shared_texts(), character_texts()
    found, bert = {}, {}
    with tempfile.TemporaryDirectory(prefix="exo-peer-") as place:
        path = pathlib.Path(place) / "vocabulary.gguf"
        for name in names():
            write_vocabulary(path, name)
            answer = ask_llama(path, edges + texts)
            ids = answer["texts"]
            found[name] = {"edges": digest(ids[:len(edges)]), "texts": digest(ids[len(edges):]),
                           "whole_words": len(ids[edges.index(WHOLE)]) == 1, "adds_bos": answer["bos"] is not None}
        for name, options in BERT.items():
            write_bert_vocabulary(path, options)
            ids = ask_llama(path, edges + characters)["texts"]
            bert[name] = {"edges": digest(ids[:len(edges)]), "characters": digest(ids[len(edges):])}
    return {"edges": EDGES, "names": found, "bert": bert}


def main():
    json.dump(ask(), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
