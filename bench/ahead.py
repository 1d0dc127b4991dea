#!/usr/bin/env python3
"""Speculation over a pipeline whose links take time: answers with guesses and without, in turns.

    bench/ahead.py --exo build/dev/exo [--before OTHER_EXO] [--nodes 2] [--delay-ms 5]   # as root (namespaces, TAP)

Two clusters (three with --before, another build that is compared) of nodes with one thread each, in network namespaces
whose frames take --delay-ms one way: a hub in this program passes them on. One text repeats itself, others are chats.
Answers are compared with ==; only ratios count.
"""
import argparse
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from lib import Node, alive, wait_for  # noqa: E402
from shaped_net import Hub, inside  # noqa: E402

REPEATS = {"prompt": "one two three four five six. " * 12, "temperature": 0}
CHATS = ["What is exo?", "Tell me a story about a dog and a boat.", "Why is the sky blue?"]


class Cluster:
    """A model over all of its nodes; the first one is asked."""

    def __init__(self, exo, folder, name, model, count, delay, speculation):
        self.hub = Hub([f"exo{os.getpid()}{name}{i}" for i in range(count)], delay)
        self.hub.start()
        self.nodes, self.model = [], model.stem
        secret = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
        environment = {"EXO_MODELS": str(model.parent), "EXO_SPECULATION": speculation}
        for i, space in enumerate(self.hub.spaces):
            self.nodes.append(Node(exo, folder, secret, f"{name}{i}", "--threads", "1", loopback=False,
                                   prefix=("ip", "netns", "exec", space), environment=environment))
        with inside(self.hub.spaces[0]):
            lead = self.nodes[0].started(60)
            wait_for("all nodes", lambda: len(alive(lead)) == count, 60)
            status, plan = lead.api.post("/v1/internal/load", {"model": self.model, "spread": True})
        assert status == 200 and len(plan["stages"]) == count, plan

    def ask(self, body):
        with inside(self.hub.spaces[0]):
            return self.nodes[0].api.complete(self.model, **body)

    def close(self):
        for node in self.nodes:
            node.kill()
            node.process.wait()
        self.hub.close()


def texts(tokens):
    yield "a text that repeats", {**REPEATS, "max_tokens": tokens}
    for i, chat in enumerate(CHATS):
        prompt = f"<|im_start|>user\n{chat}<|im_end|>\n<|im_start|>assistant\n"
        yield f"chat {i + 1}", {"prompt": prompt, "temperature": 0.7, "seed": i, "max_tokens": tokens}


def measure(clusters, rounds, tokens):
    for name, body in texts(tokens):
        speeds = {kind: [] for kind in clusters}
        for _ in range(rounds):
            answers = {}
            for kind, cluster in clusters.items():
                answers[kind] = cluster.ask(body)
                speeds[kind].append(answers[kind]["timings"]["predicted_per_second"])
            said = [answer["choices"][0]["text"] for answer in answers.values()]
            assert all(text == said[0] for text in said), said
        plain = statistics.median(speeds["plain"])
        for kind, all_of_kind in speeds.items():
            timings = answers[kind]["timings"]
            ratios = [a / b for a, b in zip(all_of_kind, speeds["plain"])]
            print(f"{name:20s} {kind:8s} {statistics.median(all_of_kind):8.1f} tokens/s, "
                  f"{statistics.median(all_of_kind) / plain:.2f} x ({min(ratios):.2f}-{max(ratios):.2f}), "
                  f"{timings['draft_n']} drafted, {timings['draft_n_accepted']} right", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exo", default=str(ROOT / "build/release/exo"))
    parser.add_argument("--before", help="another build, with speculation")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/exo-tiny.gguf")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--delay-ms", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=120)
    options = parser.parse_args()
    kinds = {"plain": (options.exo, "false"), "ahead": (options.exo, "true")}
    if options.before:
        kinds["before"] = (options.before, "true")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="exo-ahead-"))
        clusters = {}
        for kind, (exo, speculation) in kinds.items():
            clusters[kind] = Cluster(exo, folder, kind[0], options.model, options.nodes, options.delay_ms / 1000,
                                     speculation)
            stack.callback(clusters[kind].close)
        measure(clusters, options.rounds, options.tokens)


if __name__ == "__main__":
    main()
