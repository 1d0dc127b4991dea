"""Reads qa.txt: answers about exo, the patterns of their trained wordings, and held-out wordings."""
import itertools
import os
import re

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "qa.txt")
CHOICE = re.compile(r"\{([^{}]*)\}")
GREETINGS = ["Hi, ", "Hello, ", "Hey, ", "Please, ", "OK, ", "So, ", "Tell me, ", "A question: "]


def load(path=PATH):
    """A list of {name, answer, patterns, held_out}, checked: no held-out wording can be produced."""
    entries = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            line = line.rstrip("\n")
            if line.startswith("= "):
                entries.append({"name": line[2:], "answer": None, "patterns": [], "held_out": []})
            elif line.startswith("A: "):
                entries[-1]["answer"] = line[3:]
            elif line.startswith("Q: "):
                entries[-1]["patterns"].append(line[3:])
            elif line.startswith("H: "):
                entries[-1]["held_out"].append(line[3:])
            elif line and not line.startswith("#"):
                raise ValueError(f"qa.txt: cannot read the line {line!r}")
    trained = {plain(w) for e in entries for p in e["patterns"] for w in expansions(p)}
    for entry in entries:
        for wording in entry["held_out"]:
            if plain(wording) in trained:
                raise ValueError(f"qa.txt: held-out wording is also trained: {wording!r}")
    return entries


def plain(text):
    """Letters and digits only, lower case: two wordings that differ less than this are the same."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def expansions(pattern):
    """Every wording that a pattern produces."""
    parts = CHOICE.split(pattern)
    options = [p.split("|") if i % 2 else [p] for i, p in enumerate(parts)]
    return [tidy("".join(choice)) for choice in itertools.product(*options)]


def draw(entry, rng):
    """One wording: a random pattern with random choices."""
    pattern = rng.choice(entry["patterns"])
    return tidy(CHOICE.sub(lambda m: rng.choice(m.group(1).split("|")), pattern))


def tidy(text):
    """Repairs the spaces that empty choices leave behind."""
    return re.sub(r"\s+([?.!,])", r"\1", re.sub(r"\s+", " ", text)).strip()


def vary(wording, rng):
    """What a person types instead: a word left out, a slip, other case, no final mark, a word in front."""
    words = wording.split(" ")
    if len(words) > 4 and rng.random() < 0.12:
        words.pop(rng.randrange(1, len(words) - 1))
    at = rng.randrange(len(words))
    if len(words[at]) > 5 and words[at].isalpha() and rng.random() < 0.06:
        i = rng.randrange(1, len(words[at]) - 2)
        words[at] = words[at][:i] + words[at][i + 1] + words[at][i] + words[at][i + 2:]
    wording = " ".join(words)
    if rng.random() < 0.12:
        wording = rng.choice(GREETINGS) + wording[0].lower() + wording[1:]
    if rng.random() < 0.2:
        wording = wording[0].lower() + wording[1:]
    if rng.random() < 0.1:
        wording = wording.lower()
    if rng.random() < 0.2:
        wording = wording.rstrip("?.!")
    if rng.random() < 0.1:
        wording = wording.replace("exo", "Exo")
    return wording
