#!/usr/bin/env python3
"""Speculation over a pipeline whose links take time: answers with guesses and without, in turns.

    bench/ahead.py --exo build/dev/exo [--before OTHER_EXO] [--nodes 2] [--delay-ms 5]   # as root (namespaces, TAP)

Two clusters (three with --before, another build that is compared) of nodes with one thread each, in network namespaces
whose frames take --delay-ms one way: a hub in this program passes them on. One text repeats itself, others are chats.
Answers are compared with ==; only ratios count.
"""
import argparse
import contextlib
import ctypes
import fcntl
import heapq
import os
import pathlib
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from lib import Node, alive, wait_for  # noqa: E402

TUNSETIFF, IFF_TAP_NO_PI, CLONE_NEWNET = 0x400454CA, 0x1002, 0x40000000
REPEATS = {"prompt": "one two three four five six. " * 12, "temperature": 0}
CHATS = ["What is exo?", "Tell me a story about a dog and a boat.", "Why is the sky blue?"]


@contextlib.contextmanager
def inside(space):
    """This thread in a network namespace: sockets that are made here belong to it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as own, open(f"/run/netns/{space}") as other:
        if libc.setns(other.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"namespace {space} cannot be entered")
        try:
            yield
        finally:
            libc.setns(own.fileno(), CLONE_NEWNET)


class Hub(threading.Thread):
    """Namespaces with an address each; every frame between them takes `delay` seconds."""

    def __init__(self, spaces, delay):
        super().__init__(daemon=True)
        self.spaces, self.delay, self.taps, self.ends = spaces, delay, [], os.pipe()
        for i, space in enumerate(spaces):
            subprocess.run(["ip", "netns", "add", space], check=True)
            with inside(space):
                tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP_NO_PI))
            self.taps.append(tap)
            for command in (["addr", "add", f"10.78.0.{i + 1}/24", "brd", "+", "dev", "eth0"],
                            ["link", "set", "lo", "up"], ["link", "set", "eth0", "up"]):
                subprocess.run(["ip", "-n", space, *command], check=True)

    def run(self):
        waiting, ports, number = [], {}, 0
        while True:
            left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            ready, _, _ = select.select([*self.taps, self.ends[0]], [], [], left)
            if self.ends[0] in ready:
                return
            for tap in ready:
                frame = os.read(tap, 65536)
                ports[frame[6:12]] = tap
                number += 1
                heapq.heappush(waiting, (time.monotonic() + self.delay, number, tap, frame))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, origin, frame = heapq.heappop(waiting)
                to = ports.get(frame[:6])
                for tap in self.taps if to is None else [to]:
                    if tap != origin:
                        with contextlib.suppress(BlockingIOError):
                            os.write(tap, frame)

    def close(self):
        os.write(self.ends[1], b"x")
        self.join()
        for tap in self.taps:
            os.close(tap)
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)


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
