#!/usr/bin/env python3
"""What several devices gain, and whether the planner knew: clusters beside one device, in turns.

    make bench-cluster                            # the short form of all rows, as root (cgroups, namespaces)
    bench/cluster.py --list                       # the rows
    bench/cluster.py three requests --rounds 5    # some of them
    bench/cluster.py three --layers 16 --rounds 20

Nodes of one thread each, of which a control group gives a part of a core, on this machine's loopback with TLS; the
synthetic 1B model in Q4_0 (needs EXO_SHARED), of whose 16 layers --layers are there. What is compared runs in turns in
one run and only one at a time. A line for each figure: the median of the rounds' ratios (lowest and highest), what was
measured, and what it should reach; nothing fails, since a shared machine decides too.
"""
import argparse
import concurrent.futures
import contextlib
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
import planner
from lib import Skip

LONG_PROMPT = 2000
ROWS = {}


def row(function):
    ROWS[function.__name__] = function
    return function


class Bench:
    """The program and the model that are measured, and how often."""

    def __init__(self, options):
        self.exo, self.rounds, self.tokens, self.layers = os.path.abspath(options.exo), options.rounds, options.tokens, options.layers
        self.model = compare.model_file(compare.Row("tg", "1B", "q4_0", 1, 0), options.layers)

    def cluster(self, shares):
        return planner.devices(self.exo, self.model, shares)

    @contextlib.contextmanager
    def alone(self, percent, threads=1):
        """One device that knows no other."""
        folder = tempfile.mkdtemp(prefix="exo-cluster-")
        secret = subprocess.run([self.exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
        device = planner.Device(self.exo, folder, secret, self.model, "alone", percent, threads=threads)
        try:
            device.ready()
            device.settled()
            device.load("auto")
            yield device
        finally:
            device.end()
            shutil.rmtree(folder, ignore_errors=True)


def tell(name, unit, ours, theirs, reach):
    """The ratios of the rounds, and what they are of."""
    ratios = [a / b for a, b in zip(ours, theirs)]
    print(f"{name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
          f"{statistics.median(ours):.1f} beside {statistics.median(theirs):.1f} {unit}; {reach}", flush=True)


def prompt_rate(device, tokens):
    """Tokens per second of a prompt that nobody has seen."""
    seconds, _ = device.timed(tokens, 4)
    return tokens / seconds


def decode_rate(device, tokens):
    return device.timed(16, tokens)[1]


def all_ready(device):
    """Waits until every replica of the model is there: a load answers with the first."""
    def states():
        with device.reach():
            return [one["state"] for one in device.node.api.cluster()["instances"]]
    planner.wait_for("all replicas", lambda: set(states()) == {"ready"}, 120)


def together(device, users, tokens, prompt=16):
    """Tokens per second of so many answers at once, of their short prompts too."""
    def ask(_):
        words = [random.randrange(1000, 30000) for _ in range(prompt)]
        return device.node.api.complete(device.model, prompt=words, max_tokens=tokens, temperature=1)["usage"]["completion_tokens"]

    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(users) as pool:
        said = sum(pool.map(ask, range(users)))
    return said / (time.monotonic() - begin)


@row
def sums(bench):
    """An exchange of partial sums beside the same bytes through blocking sockets."""
    build = compare.ROOT / "build/bench"
    subprocess.run(["cmake", "-S", compare.ROOT, "-B", build, "-G", "Ninja", "-DCMAKE_CXX_COMPILER=" + os.environ.get("CXX", "clang++-19"),
                    "-DCMAKE_BUILD_TYPE=Release", "-DEXO_TESTS=ON"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", build, "--target", "net_test"], check=True, stdout=subprocess.DEVNULL)
    said = subprocess.run([build / "net_test", "--gtest_filter=DataLinkBench.AllReduce"], check=True, capture_output=True,
                          text=True, env={**os.environ, "EXO_BENCH": "1"}).stdout
    for line in said.splitlines():
        if " members, " in line:
            print(f"sums: {line}; at most 1.5", flush=True)


@row
def tensor(bench):
    """Each layer over two nodes of a core, beside one process of two threads."""
    with bench.cluster([100, 100]) as [lead, _], bench.alone(200, threads=2) as one:
        lead.load("tensor")
        rates = {"decode": ([], []), "prompts": ([], [])}
        for _ in range(bench.rounds):
            for device, at in ((lead, 0), (one, 1)):
                rates["decode"][at].append(decode_rate(device, bench.tokens))
                rates["prompts"][at].append(prompt_rate(device, 512))
        for what, (ours, theirs) in rates.items():
            tell(f"tensor split, {what}", "tokens/s", ours, theirs, "at least 0.8")


@row
def uneven(bench):
    """Each layer over a core and half a core, beside the half alone."""
    with bench.cluster([100, 50]) as [lead, _], bench.alone(50) as slow:
        lead.load("tensor")
        ours, theirs = [], []
        for _ in range(bench.rounds):
            ours.append(decode_rate(lead, bench.tokens))
            theirs.append(decode_rate(slow, bench.tokens))
        tell("uneven tensor split, decode", "tokens/s", ours, theirs, "at least 2.2")


@row
def pipeline(bench):
    """A long prompt through three equal stages, beside one of these nodes."""
    with bench.cluster([50, 50, 50]) as made, bench.alone(50) as one:
        plan = made[0].load("layer")
        layers = [stage["layer_end"] - stage["layer_begin"] for stage in plan["stages"]]
        chunks = -(-LONG_PROMPT // 256)
        reach = 0.9 * chunks / (1 + (chunks - 1) * max(layers) / sum(layers))
        ours, theirs = [], []
        for _ in range(bench.rounds):
            ours.append(prompt_rate(made[0], LONG_PROMPT))
            theirs.append(prompt_rate(one, LONG_PROMPT))
        tell(f"pipeline of {len(layers)} stages ({', '.join(map(str, layers))} layers), prompts", "tokens/s", ours, theirs,
             f"at least {reach:.2f}")


@row
def three(bench):
    """The plan that exo chooses for three unequal nodes, beside the fastest alone; a prompt's plan; 16 requests."""
    with bench.cluster([100, 50, 25]) as [asked, *_], bench.alone(100) as fastest:
        for name, wish, rate, reach in (
                ("one answer", {}, lambda d: decode_rate(d, bench.tokens), "every round at least 0.97, median 1.0"),
                ("long prompts", {"for": "prompts"}, lambda d: prompt_rate(d, LONG_PROMPT), "at least 1.2"),
                ("16 requests", {"for": "throughput", "users": 16}, lambda d: together(d, 16, bench.tokens), "at least 1.3")):
            plan = asked.load(**wish)
            all_ready(asked)
            ours, theirs = [], []
            for _ in range(bench.rounds):
                ours.append(rate(asked))
                theirs.append(rate(fastest))
            tell(f"three unequal nodes, {name} (over {len(plan['stages'])})", "tokens/s", ours, theirs, reach)
            asked.unload()


@row
def requests(bench):
    """Two and six requests over two nodes of a core, beside one process of two threads."""
    with bench.cluster([100, 100]) as [lead, _], bench.alone(200, threads=2) as one:
        for users in (2, 6):
            plan = lead.load(**{"for": "throughput", "users": users})
            all_ready(lead)
            ours, theirs = [], []
            for _ in range(bench.rounds):
                ours.append(together(lead, users, bench.tokens))
                theirs.append(together(one, users, bench.tokens))
            tell(f"{users} requests over two nodes (stages: {len(plan['stages'])})", "tokens/s", ours, theirs, "at least 0.85")
            lead.unload()


@row
def ahead(bench):
    """Speculation over links of 5 ms (bench/ahead.py)."""
    subprocess.run([sys.executable, compare.ROOT / "bench/ahead.py", "--exo", bench.exo, "--rounds", str(bench.rounds)], check=True)


@row
def disk(bench):
    """A model of 1.5 times the memory that a device may use (bench/from_disk.py)."""
    subprocess.run([sys.executable, compare.ROOT / "bench/from_disk.py", "--exo", bench.exo], check=True)


@row
def predictions(bench):
    """What the planner says beside what is measured (bench/planner.py clusters)."""
    subprocess.run([sys.executable, compare.ROOT / "bench/planner.py", "clusters", "--exo", bench.exo, "--layers", str(bench.layers),
                    "--rounds", str(bench.rounds)], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="of --list; all without any")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--exo", default=str(compare.ROOT / "build/release/exo"))
    parser.add_argument("--layers", type=int, default=4, help="of the model's 16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    options = parser.parse_args()
    if options.list:
        for name, function in ROWS.items():
            print(f"{name:12s} {function.__doc__}")
        return
    for unknown in set(options.rows) - set(ROWS):
        parser.error(f"no row '{unknown}': {', '.join(ROWS)}")
    try:
        bench = Bench(options)
        with planner.client():
            for name in options.rows or ROWS:
                ROWS[name](bench)
    except Skip as reason:
        sys.exit(f"cluster: {reason}")


if __name__ == "__main__":
    main()
