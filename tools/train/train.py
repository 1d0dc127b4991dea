#!/usr/bin/python3
"""Trains exo-tiny on the folder that data.py wrote.  Debian's python3-torch, two CPU threads.

    /usr/bin/python3 tools/train/train.py --dir /tmp/train

Constant rate after a warm-up, then a linear decay to zero.  The decay starts at (1 - decay_fraction) of the
planned tokens, or as soon as a file named "finish" appears in --dir: its text is the number of minutes that
may still pass, and the decay then follows the clock (useful on a shared machine).  Every three minutes
checkpoint.pt is replaced; --resume continues from it.  log.jsonl gets one line per report.
With the same settings and a decay by tokens the run is reproducible up to bfloat16 sums in threads.
"""
import argparse
import json
import os
import random
import time

import numpy
import torch
import torch.nn.functional as F

import model as model_code
import optimizer as optimizer_code

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKPOINT_SECONDS = 180
REPORT_STEPS = 50
HELD_OUT_STEPS = 300


class Mixer:
    """Draws training windows: documents of the mixed sources, each in its own shuffled order, back to back.

    Every window starts with a document; the last one is cut at the window's end.
    """

    def __init__(self, arrays, mix, window, seed):
        self.rng = random.Random(seed)
        self.names, self.window = list(mix), window
        self.data = {n: (arrays[f"train.{n}.ids"], arrays[f"train.{n}.starts"]) for n in mix}
        mean = {n: len(ids) / (len(starts) - 1) for n, (ids, starts) in self.data.items()}
        self.weights = [mix[n] / mean[n] for n in self.names]  # shares are of tokens, draws of documents
        self.queue = {n: [] for n in mix}

    def document(self):
        name = self.rng.choices(self.names, self.weights)[0]
        ids, starts = self.data[name]
        if not self.queue[name]:
            self.queue[name] = list(range(len(starts) - 1))
            self.rng.shuffle(self.queue[name])
        i = self.queue[name].pop()
        return ids[starts[i]:starts[i + 1]]

    def batch(self, count):
        """(ids, owner) of shape [count, window + 1]; owner tells the documents of a window apart."""
        ids = numpy.zeros((count, self.window + 1), numpy.int64)
        owner = numpy.zeros_like(ids)
        for row in range(count):
            at = number = 0
            while at <= self.window:
                part = self.document()[:self.window + 1 - at]
                ids[row, at:at + len(part)], owner[row, at:at + len(part)] = part, number
                at, number = at + len(part), number + 1
        return torch.from_numpy(ids), torch.from_numpy(owner)


def loss_of(model, ids, owner):
    """Mean loss over targets that belong to the same document as their input."""
    logits = model(ids[:, :-1], model_code.document_mask(owner[:, :-1]))
    target = ids[:, 1:].masked_fill(owner[:, 1:] != owner[:, :-1], -100)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-100)


@torch.no_grad()
def held_out_loss(model, arrays, name, window):
    """Nats per token over all held-out documents of one source (cut at the window), eight at a time."""
    ids, starts = arrays[f"test.{name}.ids"], arrays[f"test.{name}.starts"]
    documents = sorted((ids[a:b][:window + 1].astype(numpy.int64) for a, b in zip(starts, starts[1:])), key=len)
    total = count = 0
    for i in range(0, len(documents), 8):
        part = documents[i:i + 8]
        rows = numpy.zeros((len(part), len(part[-1])), numpy.int64)
        target = numpy.full_like(rows, -100)
        for row, d in enumerate(part):
            rows[row, :len(d)], target[row, :len(d) - 1] = d, d[1:]
        logits = model(torch.from_numpy(rows), model_code.document_mask(torch.zeros(rows.shape)))
        target = torch.from_numpy(target).flatten()
        total += F.cross_entropy(logits.flatten(0, 1), target, ignore_index=-100, reduction="sum").item()
        count += int((target >= 0).sum())
    return total / count


class Schedule:
    """The factor on the rates: warm-up, constant, linear decay by tokens or, once asked to finish, by clock."""

    def __init__(self, settings, finish_file):
        self.s, self.file = settings, finish_file
        self.began, self.seconds = None, None

    def factor(self, step, tokens):
        if self.began is None and os.path.exists(self.file):
            with open(self.file, encoding="utf-8") as f:
                self.began, self.seconds = time.time(), 60 * float(f.read())
        if self.began is not None:
            return max(0.0, 1 - (time.time() - self.began) / self.seconds)
        left = 1 - tokens / self.s["tokens"]
        return max(0.0, min(1.0, (step + 1) / self.s["warmup_steps"], left / self.s["decay_fraction"]))


def save(path, state):
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)


def run(args, settings):
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(settings["seed"])
    t, shape = settings["train"], settings["shape"]
    arrays = dict(numpy.load(f"{args.dir}/data.npz"))
    model = model_code.Model(shape, settings["vocab"])
    optimizer = optimizer_code.Optimizer(model, t)
    mixer = Mixer(arrays, settings["mix"], shape["context"], settings["seed"])
    schedule = Schedule(t, f"{args.dir}/finish")
    checkpoint = f"{args.dir}/checkpoint.pt"
    step = tokens = 0
    if args.resume:
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load(state["optimizer"])
        step, tokens = state["step"], state["tokens"]
        mixer.rng.setstate(state["mixer_rng"])
        mixer.queue = state["mixer_queue"]
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)

    def pack():
        return {"settings": settings, "model": model.state_dict(), "optimizer": optimizer.state(), "step": step,
                "tokens": tokens, "mixer_rng": mixer.rng.getstate(), "mixer_queue": mixer.queue}

    began = last_save = time.time()
    began_tokens, losses = tokens, []
    with open(f"{args.dir}/log.jsonl", "a", encoding="utf-8") as log:
        while (factor := schedule.factor(step, tokens)) > 0:
            ids, owner = mixer.batch(t["batch"])
            loss = loss_of(model, ids, owner)
            model.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), t["clip"])
            optimizer.step(step, factor)
            step, tokens = step + 1, tokens + t["batch"] * shape["context"]
            losses.append(loss.item())
            if time.time() - last_save > CHECKPOINT_SECONDS:
                save(checkpoint, pack())
                last_save = time.time()
            if step % REPORT_STEPS == 0:
                seconds = time.time() - began
                line = {"step": step, "tokens": tokens, "seconds": round(seconds), "factor": round(factor, 3),
                        "train": round(sum(losses) / len(losses), 4),
                        "tokens_per_s": round((tokens - began_tokens) / seconds)}
                if step % HELD_OUT_STEPS == 0:
                    line["stories"] = round(held_out_loss(model, arrays, "stories", shape["context"]), 4)
                losses = []
                print(json.dumps(line), file=log, flush=True)
        save(checkpoint, pack())
        final = {n: round(held_out_loss(model, arrays, n, shape["context"]), 4)
                 for n in ("stories", "children", "topical")}
        print(json.dumps({"step": step, "tokens": tokens, "seconds": round(time.time() - began), "final": final}),
              file=log, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True, help="folder written by data.py; checkpoints and log go there")
    parser.add_argument("--settings", default=os.path.join(HERE, "settings.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    with open(args.settings, encoding="utf-8") as f:
        run(args, json.load(f))


if __name__ == "__main__":
    main()
