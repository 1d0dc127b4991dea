#!/usr/bin/python3
"""Prepares the training data of exo-tiny: cleans, splits, tokenizes, writes everything to one folder.

    /usr/bin/python3 tools/train/data.py --data ../shared/data --out /tmp/train

Writes tokenizer.json, data.npz (per source: all ids in one uint16 array and the document starts),
held_out.json (texts of the held-out stories) and report.json (documents, bytes, tokens per source).
The held-out split is by a hash of the text, so it is the same whatever the seed; a held-out story is also
left out of the story requests.  Sources and licences: models/README.md.  Nothing of the text is kept in
the repository.
"""
import argparse
import collections
import hashlib
import json
import lzma
import os
import random
import re
import unicodedata

import numpy
import yaml

import bpe
import qa

HERE = os.path.dirname(os.path.abspath(__file__))
SMALLTALK = ["computers", "conversations", "emotion", "food", "greetings", "health", "humor",
             "literature", "movies", "psychology", "science", "sports"]
PIECE_TOKENS = 480  # long books are cut into documents of about this many tokens
OPENING = re.compile(r"(?<=[^\n])\n(?=(?:Once|One (?:\w+ )?(?:day|night|morning)|There (?:was|were|lived)"
                     r"|It was a|The (?:little|sun|owl|old)|[A-Z][a-z]+ (?:and|was|is|liked|likes|loved|had) ))")
SPEAKER = r'(?<=[!?]" )(?:He|She|They|The|His|Her)(?= (?:\w+ ){0,2}(?:said|asked|replied|shouted|cried|yelled|exclaimed)\b)'
TO_ASCII = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...",
                          "\u00a0": " ", "\u2028": "\n", "\u2029": "\n"})


# UTF-8 once read as Windows-1252, as it stands in the TinyStories files; the last one lost its third byte.
MOJIBAKE = [("\u00e2\u20ac\u2122", "'"), ("\u00e2\u20ac\u02dc", "'"), ("\u00e2\u20ac\u0153", '"'), ("\u00e2\u20ac\u201c", "-"),
            ("\u00e2\u20ac\u201d", "-"), ("\u00e2\u20ac\u00a6", "..."), ("\u00e2\u20ac\u009d", '"'), ("\u00e2\u20ac", '"')]


def clean(text):
    """ASCII punctuation and letters, no trailing spaces, paragraphs separated by one newline."""
    for broken, meant in MOJIBAKE:
        text = text.replace(broken, meant)
    text = unicodedata.normalize("NFKD", text.translate(TO_ASCII)).encode("ascii", "ignore").decode()
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def read_xz(path):
    with lzma.open(path, "rt", encoding="utf-8", newline="") as f:
        return f.read().replace("\r\n", "\n")


def fingerprint(text):
    return hashlib.sha1(" ".join(re.findall(r"[a-z]+", text.lower())).encode()).hexdigest()


def held_out(text):
    """True for one story in sixty."""
    return int(fingerprint(text), 16) % 60 == 0


# --- stories ------------------------------------------------------------------------------------------

def split_at_openings(text):
    """Splits text without separators; a new story starts on a single newline before a typical opening."""
    parts, start = [], 0
    for match in OPENING.finditer(text):
        if match.start() - start >= 250:
            parts.append(text[start:match.start()])
            start = match.end()
    parts.append(text[start:])
    return parts


class Recaser:
    """Gives lower-cased stories their capitals back: sentence starts, "I", and names learned from `cased`."""

    def __init__(self, cased):
        lower, upper = collections.Counter(), collections.Counter()
        for text in cased:
            lower.update(re.findall(r"\b[a-z]+\b", text))
            upper.update(w.lower() for w in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+\b", text))
        self.common = {w for w, n in lower.items() if n >= 2}
        self.names = {w for w, n in upper.items() if n >= 3 and lower[w] <= 0.02 * n}

    def learn_named(self, text):
        """Adds X of "named X" when X is never an ordinary word of the cased stories."""
        for name in re.findall(r"\b(?:named|called) ([a-z]{3,})\b", text):
            if name not in self.common:
                self.names.add(name)

    def __call__(self, text):
        text = re.sub(r"\bi\b", "I", text)
        text = re.sub(r"\b[a-z]+\b", lambda m: m.group().capitalize() if m.group() in self.names
                      else m.group(), text)
        text = re.sub(r'((?:^|[.!?]["\']?\s+|(?:^|\s)")\s*"?)([a-z])',
                      lambda m: m.group(1) + m.group(2).upper(), text, flags=re.M)
        return re.sub(SPEAKER, lambda m: m.group().lower(), text)


def openings_of(cased_text, lower_text):
    """The lower-cased file split like the cased one, by the same rule on capitalised line starts."""
    capital = re.sub(r"^[a-z]", lambda m: m.group().upper(), lower_text, flags=re.M)
    return split_at_openings(capital[len(cased_text):])


def stories(folder):
    """All TinyStories texts, cleaned, without duplicates, in a fixed order."""
    cased_text = read_xz(f"{folder}/hf-order-first-cased.txt.xz")
    lower_text = read_xz(f"{folder}/hf-order-first-lowercase.txt.xz")
    separated = read_xz(f"{folder}/train-file-first-1600.txt.xz").split("<|endoftext|>")
    cased = [clean(t) for t in separated + split_at_openings(cased_text)[:-1]]
    recase = Recaser(cased)
    lowered = [clean(t) for t in openings_of(cased_text, lower_text)[1:-1]]
    for text in lowered:
        recase.learn_named(text.lower())
    found, seen = [], set()
    for text in cased + [recase(t) for t in lowered]:
        key = fingerprint(text)
        if 200 <= len(text) <= 4000 and key not in seen:
            seen.add(key)
            found.append(text)
    return found


# --- conversations ------------------------------------------------------------------------------------

def story_request(story, rng):
    """A (question, story) pair: an opening to continue, or a wish that fits the story."""
    opening = re.match(r"[^.!?]*", story).group()
    subject = re.search(r"\b(?:a|an) ((?:\w+ )?(\w+)) (?:named|called) ([A-Z][a-z]+)", story[:300])
    words = story.split()
    kind = rng.random()
    if kind < 0.35:
        return " ".join(words[:rng.randint(2, min(14, len(words)))]), story
    if kind < 0.42 and story.startswith("Once upon a time"):
        return rng.choice(["Once upon a time", "Once upon a time", "once upon a time", "Once upon a time..."]), story
    if kind < 0.5 and len(opening) < 120:
        return rng.choice(["Continue this story: ", "Go on: ", "What happens next? "]) + opening + ".", story
    if subject and kind < 0.9:
        wish = rng.choice(["Tell me a story about a {0} named {1}", "Tell me a story about a {0} called {1}",
                           "Write a story about a {0} named {1}", "A story about a {0} named {1}, please",
                           "Can you tell me a story about {1} the {0}", "I want a story about {1} the {0}",
                           "Tell me a story about a {0}", "Tell me a short story about {1}"])
        return wish.format(rng.choice([subject.group(1), subject.group(2)]), subject.group(3)) + rng.choice([".", "", "!"]), story
    return rng.choice(["Tell me a story.", "Tell me a story", "tell me a story", "A story, please.",
                       "Please tell me a story.", "Can you tell me a story?", "Write a story.",
                       "I want to hear a story.", "Tell me another story.", "Make up a little story.",
                       "Tell me a bedtime story."]), story


def topical_windows(folder):
    """Windows of four short turns out of Topical-Chat, not overlapping."""
    chats = []
    for name in ["test_freq", "valid_freq", "valid_rare"]:
        for line in read_xz(f"{folder}/{name}.jsonl.xz").split("\n"):
            if not line:
                continue
            turns = [clean(t[1]) for t in json.loads(line)["turns"]]
            for i in range(0, len(turns) - 3, 4):
                window = turns[i:i + 4]
                if all(0 < len(t) < 130 for t in window):
                    chats.append(window)
    return chats


def smalltalk(folder):
    """ChatterBot exchanges as [question, answer, ...], an even number of turns each."""
    chats = []
    for name in SMALLTALK:
        with open(f"{folder}/{name}.yml", encoding="utf-8") as f:
            for turns in yaml.safe_load(f)["conversations"]:
                turns = [clean(str(t)) for t in turns]
                turns = turns[:len(turns) // 2 * 2]
                if turns and all(0 < len(t) < 200 for t in turns):
                    chats.append(turns)
    return chats


def off_topic(path):
    """The instruction set's own questions: asked of this model, they get the "I do not know" answer."""
    with open(path, encoding="utf-8") as f:
        rows = json.load(f)
    return [clean((r["instruction"] + " " + r["input"]).strip()) for r in rows]


def qa_chats(entries, extra_unknown, count, rng):
    """`count` chats of one to three question-answer pairs, every entry equally often except "unknown"."""
    unknown = next(e for e in entries if e["name"] == "unknown")
    chats = []
    while len(chats) < count:
        turns = []
        for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
            if rng.random() < 0.15:
                question = rng.choice(extra_unknown) if rng.random() < 0.4 else qa.draw(unknown, rng)
                turns += [qa.vary(question, rng), unknown["answer"]]
            else:
                entry = rng.choice(entries)
                turns += [qa.vary(qa.draw(entry, rng), rng), entry["answer"]]
        chats.append(turns)
    return chats


# --- books --------------------------------------------------------------------------------------------

def children(path):
    """Picture books whose licence is CC BY or public domain."""
    rows = [json.loads(line) for line in read_xz(path).split("\n") if line]
    return [clean(r["text"]) for r in rows if r["licence"] in ("CC-BY", "Public Domain")]


def fairy_tales(path):
    """The book, paragraph by paragraph: hard line ends are joined."""
    blocks = re.split(r"\n\s*\n", read_xz(path))
    return [clean(b.replace("\n", " ")) for b in blocks]


def pieces(paragraphs, tokenizer):
    """Joins paragraphs into documents of at most about PIECE_TOKENS tokens."""
    out, block, size = [], [], 0
    for paragraph in paragraphs:
        n = len(tokenizer.encode(paragraph)) + 1
        if block and size + n > PIECE_TOKENS:
            out.append("\n".join(block))
            block, size = [], 0
        block.append(paragraph)
        size += n
    return out + ["\n".join(block)] if block else out


# --- documents to ids ---------------------------------------------------------------------------------

def text_ids(tokenizer, text):
    return [bpe.BOS, *tokenizer.encode(text), bpe.END]


def chat_ids(tokenizer, turns):
    """BOS, then <|user|>question<|end|><|assistant|>answer<|end|> for each pair."""
    ids = [bpe.BOS]
    for i, turn in enumerate(turns):
        ids += [bpe.ASSISTANT if i % 2 else bpe.USER, *tokenizer.encode(turn), bpe.END]
    return ids


def build(data, settings):
    """Returns (tokenizer, {source: list of id lists}, {held-out name: list of id lists}, held-out texts)."""
    rng = random.Random(settings["seed"])
    entries = qa.load()
    every_story = stories(f"{data}/text/tinystories")
    kept = [s for s in every_story if not held_out(s)]
    held = [s for s in every_story if held_out(s)]
    books = children(f"{data}/text/childrens-stories/stories-en.jsonl.xz")
    fairy = fairy_tales(f"{data}/text/public-domain/fairy-tales.txt.xz")
    topical = topical_windows(f"{data}/chat-data/topical-chat")
    small = smalltalk(f"{data}/chat-data/chatterbot")
    unknown = off_topic(f"{data}/chat-data/instructions/instruction-data.json")
    chats = qa_chats(entries, [q for q in unknown if len(q) < 160], settings["qa_documents"], rng)

    sample = kept + books + fairy + [t for c in topical[::4] + small + chats[:4000] for t in c]
    tokenizer = bpe.Tokenizer(bpe.train(sample, settings["vocab"]))

    def texts(items):
        return [text_ids(tokenizer, t) for t in items]

    def talks(items):
        return [chat_ids(tokenizer, t) for t in items]

    cut_books = [p for b in books for p in pieces(b.split("\n"), tokenizer)]
    train = {
        "stories": texts(kept),
        "requests": talks([story_request(s, rng) for s in kept for _ in range(3)]),
        "children": texts([t for t in cut_books if not held_out(t)]),
        "fairy": texts([t for t in pieces(fairy, tokenizer) if not held_out(t)]),
        "topical": talks([c for c in topical if not held_out(c[0])]),
        "smalltalk": talks(small),
        "qa": talks(chats),
    }
    test = {
        "stories": texts(held),
        "children": texts([t for t in cut_books if held_out(t)]),
        "topical": talks([c for c in topical if held_out(c[0])]),
    }
    return tokenizer, train, test, held


def flat(documents):
    """(ids, starts): all documents in one array; document i is ids[starts[i]:starts[i + 1]]."""
    starts = numpy.cumsum([0] + [len(d) for d in documents])
    return numpy.concatenate([numpy.array(d, numpy.uint16) for d in documents]), starts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.path.join(os.environ.get("EXO_SHARED", "../shared"), "data"))
    parser.add_argument("--settings", default=os.path.join(HERE, "settings.json"))
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    with open(args.settings, encoding="utf-8") as f:
        settings = json.load(f)
    tokenizer, train, test, held = build(args.data, settings)
    os.makedirs(args.out, exist_ok=True)
    tokenizer.save(f"{args.out}/tokenizer.json")
    arrays, report = {}, {}
    for kind, sources in (("train", train), ("test", test)):
        for name, documents in sources.items():
            ids, starts = flat(documents)
            arrays[f"{kind}.{name}.ids"], arrays[f"{kind}.{name}.starts"] = ids, starts
            size = sum(len(tokenizer.decode(d[1:-1]).encode()) for d in documents) if kind == "test" else None
            report[f"{kind}.{name}"] = {"documents": len(documents), "tokens": len(ids), "bytes": size}
    numpy.savez(f"{args.out}/data.npz", **arrays)
    with open(f"{args.out}/held_out.json", "w", encoding="utf-8") as f:
        json.dump(held, f)
    with open(f"{args.out}/report.json", "w", encoding="utf-8") as f:
        json.dump(report, f, indent=1)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
