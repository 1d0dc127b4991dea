#!/usr/bin/env python3
"""What several requests, and the second turn of a chat, wait for: exo beside an older exo, round after round.

    git worktree add --detach ../anchor 61e8b96 && make -C ../anchor build
    make build && bench/serving.py --anchor ../anchor/build/release/exo
    bench/serving.py --list                 # the rows
    bench/serving.py --rounds 3 turns gap   # some of them, without an anchor
    bench/serving.py gap --set EXO_TARGET_GAP=60000   # what a switch gains: beside exo with another setting

Real nodes on the loopback interface, synthetic models as in bench/compare.py (needs EXO_SHARED). Prompts are
token ids drawn at random, so nothing but what a row means to share is shared. A line for each program and row:
the median of the rounds (lowest and highest), and what the row asks of it.
"""
import argparse
import concurrent.futures
import json
import pathlib
import random
import statistics
import sys
import tempfile
import threading
import time

import compare
from lib import Node, cluster, wait_for

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
STARTED_S = 300  # the limit of any wait
SWITCHED = {}  # settings of the program that is measured, beside its defaults


def tokens(count, seed):
    draw = random.Random(seed)
    return [draw.randrange(1000, 30000) for _ in range(count)]


def says(choice):
    """Whether an event's choice brings text."""
    return bool(choice.get("text") or choice.get("delta", {}).get("content"))


class Stream:
    """One streamed completion in a thread of its own: when each token came."""

    def __init__(self, node, model, path=TEXT, **settings):
        self.times, self.failed, self.began = [], None, time.monotonic()
        self.events = node.api.stream(path, {"model": model, "temperature": 1, **settings})
        self.closing = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            for event in self.events:
                if event.get("choices") and says(event["choices"][0]):
                    self.times.append(time.monotonic())
                if self.closing:
                    break
        except Exception as error:  # told by whoever waits for it
            self.failed = error
        finally:
            self.events.close()

    def first(self):
        def came():
            if self.failed:
                raise AssertionError(f"a stream failed: {self.failed}")
            return self.times
        return wait_for("the first token", came, STARTED_S, 0.005)[0] - self.began

    def stop(self):
        self.closing = True
        self.thread.join()

    def rate(self, start, end):
        """Tokens per second between two moments."""
        return sum(start <= at < end for at in self.times) / (end - start)

    def longest_gap(self, start, end):
        """Seconds between two tokens, of which the later came after `start` and the earlier before `end`."""
        pairs = zip(self.times, self.times[1:])
        return max((b - a for a, b in pairs if b >= start and a <= end), default=0)


def ask(node, model, prompt, count=8):
    """Completes `prompt`: the milliseconds to the first token, its ids, the cached tokens."""
    answer = node.api.complete(model, prompt, max_tokens=count)
    details = answer["usage"].get("prompt_tokens_details") or {}
    return answer["exo"]["ttft_ms"], answer["exo"]["token_ids"], details.get("cached_tokens", 0)


def models(size, folder):
    """A synthetic model's name, and the environment in which a node serves it."""
    path = compare.model_file(compare.Row("tg", size, "q4_0", 2, 1))
    link = pathlib.Path(folder) / path.name
    if not link.exists():
        link.symlink_to(path)
    return path.stem, {"EXO_MODELS": folder, **SWITCHED}  # an option of `up` only since


def known(node, model):
    node.api.timeout = STARTED_S

    def listed():
        status, answer = node.api.get("/v1/models")
        return status == 200 and model in [entry["id"] for entry in answer["data"]]
    wait_for(f"{model} to be known", listed, STARTED_S)
    node.api.complete(model, [1000, 1001], max_tokens=1)


def at_depth(exo, folder, count):
    """Milliseconds in which a local engine computes so many tokens of a prompt behind 3,000 others."""
    model, _ = models("1B", folder)
    seen = json.loads(compare.run([exo, "bench", "--json", "--model", pathlib.Path(folder) / f"{model}.gguf", "--runs", 3,
                                   "--depth", 3000, "--pp", count, "--tg", 0]).splitlines()[-1])
    return 1000 * count / seen["pp_tps"]


def turns(exo, folder, nodes=1):
    """Milliseconds of turn one, of turn two, and of the new tokens of turn two: at their depth, and alone."""
    model, environment = models("1B", folder)
    story, more = tokens(3000, 1), tokens(40, 2)
    with cluster(exo, nodes, environment=environment) as members:
        known(members[0], model)
        if nodes > 1:
            members[0].api.post("/v1/internal/load", {"model": model, "spread": True})
        one, answer, _ = ask(members[0], model, story)
        two, _, cached = ask(members[0], model, story + answer + more)
        alone, _, _ = ask(members[0], model, more)
    seen = {"turn one ms": one, "turn two ms": two, "new tokens alone ms": alone, "two / alone": two / alone,
            "two / one": two / one, "cached": cached}
    if nodes == 1 and cached > 0:
        depth = at_depth(exo, folder, len(story) + len(answer) + len(more) - cached)
        seen |= {"new tokens at depth ms": depth, "two / at depth": two / depth}
    return seen


def two_stages(exo, folder):
    """The same over two nodes."""
    return turns(exo, folder, 2)


def disk(exo, folder):
    """Turn two after a restart with a prefix store, against turn two in the running node."""
    model, environment = models("1B", folder)
    story, more = tokens(3000, 1), tokens(40, 2)
    store = ("--prefix-store", "2GiB")

    def written(node):
        text = node.api.get("/metrics")[1]
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("exo_prefix_store_bytes "))
    with cluster(exo, 1, *store, environment=environment) as members:
        known(members[0], model)
        _, answer, _ = ask(members[0], model, story)
        prompt = story + answer + more
        wait_for("the pages on disk", lambda: written(members[0]) > 0, STARTED_S)
        time.sleep(3)
        size = written(members[0])
        warm, _, _ = ask(members[0], model, prompt)
        members[0].stop()
        (members[0].home / "node.json").unlink(missing_ok=True)
        members[0] = Node(exo, members[0].home.parent, members[0].secret, "n1", *store,
                          environment=environment).started()
        known(members[0], model)
        # Other new tokens: those of the warm turn are on disk as well.
        restored, _, cached = ask(members[0], model, story + answer + tokens(40, 3))
    return {"warm ms": warm, "from disk ms": restored, "from disk / warm": restored / warm, "cached": cached,
            "MB": size / 1e6}


def rates(exo, folder):
    """Tokens per second of one stream and of four."""
    model, environment = models("1B", folder)
    seen = {}
    with cluster(exo, 1, environment=environment) as members:
        known(members[0], model)
        for count in (1, 4):
            streams = [Stream(members[0], model, prompt=tokens(20, seed), max_tokens=400) for seed in range(count)]
            for stream in streams:
                stream.first()
            start = time.monotonic()
            time.sleep(6)
            seen[count] = sum(stream.rate(start, start + 6) for stream in streams)
            for stream in streams:
                stream.stop()
    return {"one tokens/s": seen[1], "four tokens/s": seen[4], "four / one": seen[4] / seen[1]}


def chats(exo, folder, **limit):
    """16 chats of a few words, without max_tokens: when the last one started, and tokens per second of all."""
    model, environment = models("1B", folder)
    with cluster(exo, 1, environment=environment) as members:
        known(members[0], model)
        streams = [Stream(members[0], model, CHAT, messages=[{"role": "user", "content": f"Tale {seed}"}], seed=seed, **limit)
                   for seed in range(16)]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            firsts = list(pool.map(Stream.first, streams))
        start = time.monotonic()
        time.sleep(6)
        rate = sum(stream.rate(start, start + 6) for stream in streams)
        for stream in streams:
            stream.stop()
    return {"last started s": max(firsts), "tokens/s": rate}


def limited_chats(exo, folder):
    """The same with max_tokens, all that an older exo could run at once."""
    return chats(exo, folder, max_tokens=300)


def gap(exo, folder, size="1B"):
    """The longest gap of four streams while a prompt of 2,900 tokens comes in, and its first token."""
    model, environment = models(size, folder)
    with cluster(exo, 1, environment=environment) as members:
        known(members[0], model)
        streams = [Stream(members[0], model, prompt=tokens(20, seed), max_tokens=1000) for seed in range(4)]
        for stream in streams:
            stream.first()
        time.sleep(4)
        start = time.monotonic()
        newcomer = Stream(members[0], model, prompt=tokens(2900, 9), max_tokens=4)
        first = newcomer.first()
        end = time.monotonic()
        time.sleep(0.5)
        for stream in [*streams, newcomer]:
            stream.stop()
        seen = {"longest gap ms": 1e3 * max(stream.longest_gap(start, end) for stream in streams),
                "newcomer's first token s": first,
                "tokens/s of four meanwhile": sum(stream.rate(start, end) for stream in streams)}
    return seen


def gap_8b(exo, folder):
    """The same with an 8B model."""
    return gap(exo, folder, "8B")


ROWS = {row.__name__: row for row in (turns, two_stages, disk, rates, chats, limited_chats, gap, gap_8b)}


def show(who, rounds):
    for name in rounds[0]:
        values = [seen[name] for seen in rounds]
        low, high = min(values), max(values)
        print(f"  {who:10s} {name:28s} {statistics.median(values):9.4g}  ({low:.4g}-{high:.4g})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="of --list; all without any")
    parser.add_argument("--exo", default=compare.ROOT / "build/release/exo", type=pathlib.Path)
    parser.add_argument("--anchor", type=pathlib.Path, help="an older exo, measured in turn with this one")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[],
                        help="a setting (EXO_...) of a second exo, measured in turn with the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", action="store_true", help="every round's values on one line")
    options = parser.parse_args()
    if options.list:
        for name, row in ROWS.items():
            print(f"{name:14s} {row.__doc__}")
        return
    if unknown := set(options.rows) - set(ROWS):
        sys.exit(f"no such row: {', '.join(sorted(unknown))}; bench/serving.py --list")
    switched = dict(pair.split("=", 1) for pair in options.set)
    programs = {"exo": options.exo.resolve(), **({"anchor": options.anchor.resolve()} if options.anchor else {}),
                **({"with --set": options.exo.resolve()} if switched else {})}
    new = {"disk", "chats"}  # what the anchor cannot do
    with tempfile.TemporaryDirectory(prefix="exo-serving-") as folder:
        for name in options.rows or ROWS:
            print(f"{name}: {ROWS[name].__doc__}", flush=True)
            seen = {who: [] for who in programs if who != "anchor" or name not in new}
            for _ in range(options.rounds):
                for who in seen:
                    (inner := pathlib.Path(folder) / ("8B" if name.endswith("8b") else "1B")).mkdir(exist_ok=True)
                    SWITCHED.clear()
                    SWITCHED.update(switched if who == "with --set" else {})
                    seen[who].append(ROWS[name](programs[who], str(inner)))
            for who, rounds in seen.items():
                show(who, rounds)
                if options.json:
                    print(json.dumps({"row": name, "who": who, "rounds": rounds}))


if __name__ == "__main__":
    main()
