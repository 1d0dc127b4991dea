#!/usr/bin/env python3
"""What the planner says beside what is measured, on devices of any speed: nodes with a part of a core each.

    bench/planner.py                            # the first two tables, as root (cgroups)
    bench/planner.py --trials 20 --layers 16    # as docs/performance.md has it
    bench/planner.py clusters --rounds 3        # predicted beside measured, plans and their rivals

Three tables. `predicted`: one node with each share of a core alone: tokens per second that `exo plan` predicts when the
node has just measured itself, those that an answer then comes with, and the prediction after it has worked for a
while. `chosen`: clusters of fresh nodes with the shares of --shares, in another order each time: which one the plan
takes, and whether that is the fastest. `clusters`: of each cluster of CLUSTERS the plan
that exo makes by itself and its rivals, as predicted and as measured, in turns; what was measured is a line of --results
and is not measured again. Links are this machine's loopback, or a hub in this program that takes its time. Synthetic 1B
model (needs EXO_SHARED). Only ratios count.
"""
import argparse
import contextlib
import itertools
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import compare
from cpu_group import CpuGroup
from lib import Node, Skip, alive, wait_for
from shaped_net import Hub, inside

PERIODS = (10000, 100000)  # microseconds of a quota: what Docker takes, and a tenth of it
WEIGHT = 10000  # other programs of this machine hardly take part
STARTED_S = 60
# Shares of a core of each node, the model's format, the prompt's tokens, milliseconds of each link there and back (0: loopback).
CLUSTERS = ([(shares, kind, prompt, 0) for shares in ((100,), (50, 50), (100, 50), (100, 50, 25))
             for kind in ("q4_0", "q8_0", "q4_k_m") for prompt in (16, 512)] +
            [(shares, kind, prompt, rtt) for shares in ((50, 50), (100, 50)) for rtt in (2, 10)
             for kind in ("q4_0", "q8_0") for prompt in (16, 512)])
WAYS = ("auto", "layer", "tensor")  # the plan by itself, and what it is compared with
SETTLED_S = 6  # longer than the quiet that a node waits for before it measures
LINKS_S = 20  # by then nodes have measured their links a second time, in a quiet moment
PREDICTED_PROMPT = 512  # tokens of the prompt that a plan's time to the first token is about


@contextlib.contextmanager
def client():
    """This process in a group as heavy as the nodes' are: it asks when it wants to, not when they have nothing to do."""
    group = CpuGroup(f"exo-{os.getpid()}-client", 100 * os.cpu_count(), PERIODS[1], WEIGHT)
    try:
        with group.entered():
            yield
    finally:
        group.remove()


class Device:
    """A node of one thread with a share of one core, or of several threads on all of them."""

    def __init__(self, exo, folder, secret, model, name, percent, period=PERIODS[1], core=0, threads=1, space=None):
        self.percent, self.space = percent, space
        self.group = CpuGroup(f"exo-{os.getpid()}-{name}", percent, period, WEIGHT)
        pinned = ("taskset", "-c", str(core)) if threads == 1 else ()
        # Not `ip netns exec`, which mounts another /sys: a node could not read its quota there.
        entered = ("nsenter", f"--net=/run/netns/{space}") if space else ()
        self.node = Node(exo, folder, secret, name, "--threads", str(threads), prefix=(*self.group.prefix, *entered, *pinned),
                         environment={"EXO_MODELS": str(model.parent)}, loopback=not space)
        self.model = model.stem

    def reach(self):
        """This thread where the node's interface is."""
        return inside(self.space) if self.space else contextlib.nullcontext()

    def post(self, path, body):
        with self.reach():
            status, answer = self.node.api.post(path, body)
        assert status == 200, answer
        return answer

    def speed(self):
        with self.reach():
            return next(n for n in self.node.api.cluster()["nodes"] if n["state"] == "self")["decode_gbps"]

    def ready(self):
        with self.reach():
            self.node.started(STARTED_S).api.timeout = 300
            wait_for("the model", lambda: self.node.api.get("/v1/models")[1]["data"], STARTED_S)

    def settled(self):
        """Measured while nothing else was done. The first figure comes while files are hashed: another one follows."""
        quiet = time.monotonic()
        while time.monotonic() - quiet < SETTLED_S or self.speed() == 0:
            before = self.cpu_seconds()
            time.sleep(0.5)
            if self.cpu_seconds() - before > 0.05:
                quiet = time.monotonic()

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.node.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def plan(self):
        return self.post("/v1/internal/plan", {"model": self.model})

    def load(self, way="auto", **wishes):
        """Loads it so; the plan."""
        return self.post("/v1/internal/load", {"model": self.model, "split": way, **wishes})

    def unload(self):
        self.post("/v1/internal/unload", {"model": self.model})

    def timed(self, prompt, tokens):
        """Seconds to the first token of a prompt of so many, and tokens per second from there on."""
        words = [random.randrange(1000, 30000) for _ in range(prompt)]
        begin = time.monotonic()
        with self.reach():
            times = [time.monotonic() for event in self.node.api.stream(
                "/v1/completions", {"model": self.model, "prompt": words, "max_tokens": tokens, "temperature": 0})
                if event.get("choices")]
        return times[0] - begin, (len(times) - 2) / (times[-2] - times[0])

    def predicted(self):
        return self.plan()["predicted_tokens_per_second"]

    def answer(self, tokens):
        """Tokens per second of an answer, from its first token on."""
        prompt = [random.randrange(1000, 30000) for _ in range(16)]
        with self.reach():
            times = [time.monotonic() for event in self.node.api.stream(
                "/v1/completions", {"model": self.model, "prompt": prompt, "max_tokens": tokens, "temperature": 1})
                if event.get("choices")]
        return (len(times) - 2) / (times[-2] - times[0])  # the last event says why it ends

    def end(self):
        self.node.kill()
        self.node.process.wait()
        self.group.remove()


@contextlib.contextmanager
def devices(exo, model, shares, period=PERIODS[1], rtt_ms=0):
    """A cluster of fresh nodes, each on the core that has most left."""
    folder = tempfile.mkdtemp(prefix="exo-planner-")
    made, hub = [], None
    try:
        secret = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
        if rtt_ms > 0:
            hub = Hub([f"exo{os.getpid()}p{i}" for i in range(len(shares))], rtt_ms / 2000)
            hub.start()
        cores = [0] * os.cpu_count()  # percent that is taken
        for i, percent in sorted(enumerate(shares), key=lambda one: -one[1]):
            core = cores.index(min(cores))
            cores[core] += percent
            made.append(Device(exo, folder, secret, model, f"n{i + 1}", percent, period, core,
                               space=hub.spaces[i] if hub else None))
        made.sort(key=lambda device: device.node.name)
        for device in made:
            device.ready()
        ready = time.monotonic()
        for device in made:
            device.settled()
        for device in made:
            with device.reach():
                wait_for("all devices", lambda: len(alive(device.node)) == len(made), STARTED_S)  # noqa: B023
        if len(made) > 1:
            time.sleep(max(0, ready + LINKS_S - time.monotonic()))
        yield made
    finally:
        for device in made:
            device.end()
        if hub:
            hub.close()
        shutil.rmtree(folder, ignore_errors=True)


def measure_predictions(exo, model, shares, seconds):
    print("| share of a core, quota period | predicted tokens/s | measured | predicted / measured | after work |\n|---|---|---|---|---|")
    errors = []
    for percent in shares:
        for period in PERIODS:
            with devices(exo, model, [percent], period) as [device]:
                first = device.predicted()
                device.answer(4)  # loads
                seen, end = [], time.monotonic() + seconds
                while len(seen) < 2 or time.monotonic() < end:
                    seen.append(device.answer(24))
                measured, later = statistics.median(seen), device.predicted()
            errors.append(later / measured)
            print(f"| {percent} %, {period // 1000} ms | {first:.1f} | {measured:.1f} | {first / measured:.2f} | {later / measured:.2f} |", flush=True)
    print(f"\nafter work off by {max(abs(e - 1) for e in errors):.0%} at most")


def measure_choices(exo, model, shares, trials):
    right, draw = 0, random.Random(1)
    for trial in range(trials):
        order = draw.sample(shares, len(shares))
        with devices(exo, model, order) as made:
            # Each knows the others' speed when it has their records.
            known = lambda device: all(n["decode_gbps"] > 0 for n in device.node.api.cluster()["nodes"])  # noqa: E731
            asked = draw.choice(made)
            wait_for("everybody's speed", lambda: known(asked), STARTED_S)
            stages = [stage["node"] for stage in asked.plan()["stages"]]
            chosen = [device.percent for device in made if device.node.name in stages]
            speeds = ", ".join(f"{d.percent} %: {d.speed():.1f} GB/s" for d in made)
        right += chosen == [max(shares)]
        print(f"  {trial + 1:2d}: {speeds}; asked {asked.percent} %, chosen {', '.join(map(str, chosen))} %", flush=True)
    print(f"the fastest of {', '.join(map(str, shares))} % was chosen in {right} of {trials}")
    return right == trials


def measure_way(asked, way, prompt, tokens, line):
    """Loads the model so and asks twice: a round of a line."""
    plan = asked.load(way)
    asked.timed(4, 4)  # caches are warm, links open
    first, rate = asked.timed(prompt, tokens)
    for name, value in (("stages", len(plan["stages"])), ("predicted", plan["predicted_tokens_per_second"]), ("measured", rate),
                        ("predicted_first", plan["predicted_ttft_ms"] / 1000), ("first_token", first)):
        line.setdefault(name, []).append(value)
    asked.unload()


def measure_cluster(options, made, kind, prompt):
    """What was predicted and measured, by the way to divide the model; the ways in turns."""
    asked, lines = made[0], {}
    asked.model = compare.model_file(compare.Row("tg", "1B", kind, 1, 0), options.layers).stem
    for _ in range(options.rounds):
        for way in WAYS if len(made) > 1 else WAYS[:1]:
            measure_way(asked, way, prompt, options.tokens, lines.setdefault(way, {}))
    return lines


def off(name, ratios):
    """How far predictions are from what was measured."""
    errors = [abs(ratio - 1) for ratio in ratios]
    print(f"{name}: median off by {statistics.median(errors):.0%}, worst {max(errors):.0%}, too good "
          f"{sum(ratio > 1 for ratio in ratios)} of {len(ratios)}")


def summarize(results):
    """How far predictions are off, and whether the plan was the best of what was measured, within the rounds' spread."""
    speeds, firsts, right = [], [], 0
    print("| shares, format, prompt | way, stages | predicted tokens/s | measured | predicted / measured | first token, s: predicted | measured |\n"
          "|---|---|---|---|---|---|---|")
    for key, lines in results.items():
        rates = {way: statistics.median(line["measured"]) for way, line in lines.items()}
        best = max(rates, key=rates.get)
        right += rates["auto"] >= 0.95 * rates[best] or max(lines["auto"]["measured"]) >= min(lines[best]["measured"])
        for way, line in lines.items():
            first, predicted, predicted_first = (statistics.median(line[name]) for name in ("first_token", "predicted", "predicted_first"))
            stages = "/".join(map(str, sorted(set(line["stages"]))))  # a plan may change between rounds
            speeds.append(predicted / rates[way])
            expected = "-"
            if f" {PREDICTED_PROMPT}," in key:
                firsts.append(predicted_first / first)
                expected = f"{predicted_first:.2f}"
            print(f"| {key} | {way}, {stages} | {predicted:.1f} | {rates[way]:.1f} | {speeds[-1]:.2f} | {expected} | {first:.2f} |")
    print()
    off("tokens per second", speeds)
    if firsts:
        off(f"first token behind {PREDICTED_PROMPT}", firsts)
    print(f"plans within 5 % of the best: {right} of {len(results)}")


def measure_clusters(exo, options):
    """Clusters of the same devices and links are one set of nodes, which have all models."""
    file = pathlib.Path(options.results)
    done = map(json.loads, file.read_text().splitlines()) if file.exists() else []
    results = {line["key"]: line["ways"] for line in done}
    chosen = CLUSTERS[options.first:options.first + options.clusters]
    # Made before the nodes look for them.
    models = [compare.model_file(compare.Row("tg", "1B", kind, 1, 0), options.layers) for kind in sorted({c[1] for c in chosen})]
    for (shares, rtt_ms), group in itertools.groupby(chosen, lambda c: (c[0], c[3])):
        keys = {f"{'+'.join(map(str, shares))} {kind} {prompt}, {options.layers} layers" + (f", {rtt_ms} ms" if rtt_ms else ""): (kind, prompt)
                for _, kind, prompt, _ in group}
        missing = {key: what for key, what in keys.items() if key not in results}
        if not missing:
            continue
        with devices(exo, models[0], shares, rtt_ms=rtt_ms) as made:
            for key, (kind, prompt) in missing.items():
                results[key] = measure_cluster(options, made, kind, prompt)
                with file.open("a") as out:
                    out.write(json.dumps({"key": key, "ways": results[key]}) + "\n")
                print(f"{key}: " + ", ".join(f"{way} {statistics.median(line['predicted']):.1f} / {statistics.median(line['measured']):.1f}"
                                             for way, line in results[key].items()), flush=True)
    summarize(results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[[], "predicted", "chosen", "clusters"],
                        help="the first two without any")
    parser.add_argument("--exo", default=str(compare.ROOT / "build/release/exo"))
    parser.add_argument("--shares", type=int, nargs="+", default=[100, 50, 25], help="percent of a core, no two alike")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--layers", type=int, default=4, help="of the model's 16")
    parser.add_argument("--first", type=int, default=0, help="cluster of the list")
    parser.add_argument("--clusters", type=int, default=len(CLUSTERS), help="of the list, from the first one on")
    parser.add_argument("--rounds", type=int, default=1, help="measurements of each way of a cluster")
    parser.add_argument("--tokens", type=int, default=32, help="of each answer")
    parser.add_argument("--results", default="build/planner.jsonl", help="what was measured of clusters")
    parser.add_argument("--seconds", type=float, default=8, help="of work behind a node's first prediction")
    options = parser.parse_args()
    exo = os.path.abspath(options.exo)
    model = compare.model_file(compare.Row("tg", "1B", "q4_0", 1, 0), options.layers)
    wanted = options.what or ["predicted", "chosen"]
    try:
        with client():
            if "clusters" in wanted:
                measure_clusters(exo, options)
            if "predicted" in wanted:
                measure_predictions(exo, model, options.shares, options.seconds)
            if "chosen" in wanted and not measure_choices(exo, model, options.shares, options.trials):
                sys.exit(1)
    except Skip as reason:
        sys.exit(f"planner: {reason}")


if __name__ == "__main__":
    main()
