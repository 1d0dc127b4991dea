#!/usr/bin/python3
"""Measures a GGUF of exo-tiny with the float64 arithmetic of tools/reference.py (numpy only, minutes of one core).

    /usr/bin/python3 tools/train/evaluate.py --dir /tmp/train --model models/exo-tiny.gguf [--out eval.json]

Held-out loss: every held-out document of data.py on its own, its first 512 predictions, <|end|> included; bits
per byte divide by the bytes of the text so scored.  Questions: greedy answers compared exactly, for three drawn
trained wordings and the held-out wordings of every entry of qa.txt.  Samples: a fixed list of prompts.
"""
import argparse
import json
import math
import os
import random
import sys

import numpy

import bpe
import qa

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import reference  # noqa: E402  (found through the path above)

TRAINED_WORDINGS = 3
ANSWER_TOKENS, STORY_TOKENS = 60, 220
TEMPERATURE, TOP_K = 0.7, 40
GREEDY = ["What is exo?", "how do i add my laptop to exo", "Is my data private?", "Do I need a graphics card?",
          "Which port does the API use?", "Hello! How are you today?", "What is the capital of Sweden?",
          "Can a tablet help to run a model?"]
SAMPLED = ["Once upon a time", "Tell me a story about a cat named Max.", "One day, Tom and his dog",
           "Tell me a story about a robot."]


def held_out(model, tokenizer, arrays, name):
    """Nats per token and bits per byte over the held-out documents of one source."""
    ids, starts = arrays[f"test.{name}.ids"], arrays[f"test.{name}.starts"]
    window = model.field("context_length")
    nats = tokens = size = 0
    for a, b in zip(starts, starts[1:]):
        document = ids[a:b][:window + 1].tolist()
        logprob = reference.log_probabilities(model.forward(document[:-1])[0])
        nats -= logprob[numpy.arange(len(document) - 1), document[1:]].sum()
        tokens += len(document) - 1
        size += len(tokenizer.decode([i for i in document if i >= len(bpe.CONTROL)]).encode())
    return {"documents": len(starts) - 1, "tokens": tokens, "bytes": size, "nats": nats / tokens,
            "perplexity": math.exp(nats / tokens), "bits_per_byte": nats / math.log(2) / size}


def pick(logits, rng):
    """The best id, or one drawn from the TOP_K best at TEMPERATURE when an rng is given."""
    if rng is None:
        return int(logits.argmax())
    best = numpy.argsort(-logits)[:TOP_K]
    weights = numpy.exp((logits[best] - logits[best[0]]) / TEMPERATURE)
    return int(rng.choices(best, weights)[0])


def answer(model, tokenizer, question, limit, rng=None):
    """(text, stopped): the answer to one question in the chat format."""
    ids = [bpe.BOS, bpe.USER, *tokenizer.encode(question), bpe.END, bpe.ASSISTANT]
    cache, out = {}, []
    logits = model.forward(ids, cache)[0][-1]
    while len(out) < limit:
        token = pick(logits, rng)
        if token == bpe.END:
            return tokenizer.decode(out), True
        out.append(token)
        logits = model.forward([token], cache)[0][-1]
    return tokenizer.decode(out), False


def questions(model, tokenizer):
    """Exact matches on trained and unseen wordings, with every miss."""
    rng = random.Random(7)
    result = {}
    entries = qa.load()
    trained = [(e, qa.draw(e, rng)) for e in entries for _ in range(TRAINED_WORDINGS)]
    unseen = [(e, w) for e in entries for w in e["held_out"]]
    for kind, pairs in (("trained", trained), ("unseen", unseen)):
        right, stops, misses = 0, 0, []
        for entry, wording in pairs:
            text, stopped = answer(model, tokenizer, wording, ANSWER_TOKENS)
            right += text == entry["answer"]
            stops += stopped
            if text != entry["answer"]:
                misses.append({"entry": entry["name"], "question": wording, "answer": text})
        result[kind] = {"questions": len(pairs), "exact": right / len(pairs), "stopped": stops / len(pairs),
                        "misses": misses}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True, help="folder written by data.py")
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", help="write JSON here instead of to stdout")
    parser.add_argument("--only-loss", action="store_true", help="skip questions and samples")
    args = parser.parse_args()
    model = reference.Model(reference.Gguf(args.model))
    tokenizer = bpe.Tokenizer.load(f"{args.dir}/tokenizer.json")
    arrays = numpy.load(f"{args.dir}/data.npz")
    result = {"held_out": {n: held_out(model, tokenizer, arrays, n) for n in ("stories", "children", "topical")}}
    if not args.only_loss:
        result["questions"] = questions(model, tokenizer)
        rng = random.Random(1)
        result["samples"] = (
            [{"prompt": p, "greedy": True, "text": answer(model, tokenizer, p, ANSWER_TOKENS)[0]} for p in GREEDY]
            + [{"prompt": p, "greedy": False, "text": answer(model, tokenizer, p, STORY_TOKENS, rng)[0]} for p in SAMPLED])
    text = json.dumps(result, indent=1)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            f.write(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
