#!/usr/bin/env python3
"""What a flood of connections costs the answers that are running: wrk (Debian) and slow-loris, beside calm moments.

    bench/http_load.py build/release/exo [--rounds 5] [--json docs/figures/http-load.json]

One node, the tiny model, eight streams without a pause. In turns: nothing else; wrk, which makes 1,000 connections a
second, each with one GET /health; 1,000 connections that send a byte of a request head each second and never end it, and
are made anew when the node closes them. The node has one core for itself, the clients have the other, as if they were
other machines; what counts is the ratio of a round's tokens to those of the calm before and after it (median of the
rounds). Only loopback.
"""
import argparse
import contextlib
import json
import multiprocessing
import os
import pathlib
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))
from lib import ROOT, cluster  # noqa: E402

STREAMS, CONNECTIONS, WINDOW = 8, 1000, 4.0
NODE_CORE, CLIENT_CORE = "0", "1"
# Twelve connections of wrk, each with 10 ms between its requests: some 1,000 connects a second.
WRK_SCRIPT = 'request = function() return wrk.format("GET", "/health", {["Connection"] = "close"}) end\n' \
             "delay = function() return 10 end\n"


class Streams:
    """Answers that run one after the other on so many connections; counts the bytes of their events."""

    def __init__(self, port, count=STREAMS):
        self.port, self.events, self.ended, self.refusal = port, 0, False, None
        self.threads = [threading.Thread(target=self.run, args=(seed,), daemon=True) for seed in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, seed):
        while not self.ended:
            body = json.dumps({"model": "exo-tiny", "prompt": "Once", "stream": True, "max_tokens": 400, "temperature": 1,
                               "seed": seed}).encode()
            with socket.create_connection(("127.0.0.1", self.port)) as connection:
                connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                   b"Content-Length: %d\r\n\r\n" % len(body) + body)
                tail = b""
                while not self.ended:
                    news = connection.recv(1 << 16)
                    if not news:
                        break
                    if not tail and not news.startswith(b"HTTP/1.1 200"):
                        self.refusal, self.ended = news.decode(errors="replace"), True
                    self.events += news.count(b"data: ")
                    if b"[DONE]" in tail + news:
                        break
                    tail = news[-8:]

    def rate(self, seconds):
        """Events a second from now on."""
        first, start = self.events, time.monotonic()
        time.sleep(seconds)
        if self.refusal:
            raise AssertionError(self.refusal)
        return (self.events - first) / (time.monotonic() - start)

    def end(self):
        self.ended = True
        for thread in self.threads:
            thread.join(10)


HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


def slow_loris(port, ended, made, count=CONNECTIONS, ticks=20):
    """So many connections that each send one byte of a head a second, until `ended` is set."""
    selector = selectors.DefaultSelector()
    slots = [None] * count  # [connection, bytes sent]

    def connect(slot):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        made.value += 1
        slots[slot] = [connection, 0]
        selector.register(connection, selectors.EVENT_READ, slot)

    for slot in range(count):
        connect(slot)
    tick = 0
    while not ended.is_set():
        time.sleep(1 / ticks)
        for key, _ in selector.select(0):  # answered, refused or closed
            selector.unregister(key.fileobj)
            key.fileobj.close()
            connect(key.data)
        tick += 1
        for entry in slots[tick % ticks::ticks]:
            with contextlib.suppress(OSError):
                entry[0].send(HEAD[entry[1]:entry[1] + 1] or b"x")
            entry[1] += 1


@contextlib.contextmanager
def loris(port):
    """The attack in a process of its own; yields a counter of the connections that it has made."""
    ended, made = multiprocessing.Event(), multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=slow_loris, args=(port, ended, made))
    process.start()
    try:
        time.sleep(2)  # all are open, and send
        yield made
    finally:
        ended.set()
        process.join(10)
        process.kill()


@contextlib.contextmanager
def wrk(port, folder, seconds):
    script = pathlib.Path(folder) / "connects.lua"
    script.write_text(WRK_SCRIPT)
    process = subprocess.Popen(["wrk", "-t", "1", "-c", "12", "-d", f"{seconds + 2:.0f}s", "-s", script,
                                f"http://127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
    said = {}
    try:
        time.sleep(0.5)
        yield said
    finally:
        said["text"] = process.communicate(timeout=60)[0]


def one_round(node, streams, folder):
    """{what: (tokens beside it / tokens in the calm around it, what the attack did)}"""
    seen = {}
    before = streams.rate(WINDOW)
    with wrk(node.api.port, folder, WINDOW) as said:
        rate = streams.rate(WINDOW)
    after = streams.rate(WINDOW)
    connects = float(re.search(r"Requests/sec:\s+([0-9.]+)", said["text"])[1])
    seen["wrk"] = (rate / statistics.mean((before, after)), f"{connects:.0f} connects/s")
    with loris(node.api.port) as made:
        rate = streams.rate(WINDOW)
        words = f"{made.value} connections made"
    time.sleep(1)
    seen["slow-loris"] = (rate / statistics.mean((after, streams.rate(WINDOW))), words)
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="writes what tools/plots draws")
    options = parser.parse_args()
    os.sched_setaffinity(0, {int(NODE_CORE)})
    ratios = {"wrk": [], "slow-loris": []}
    with cluster(options.exo, 1, "--threads", "1", environment={"EXO_MODELS": str(ROOT / "models")}) as (node,), \
            tempfile.TemporaryDirectory() as folder:
        os.sched_setaffinity(0, {int(CLIENT_CORE)})
        streams = Streams(node.api.port)
        streams.rate(WINDOW)  # the model is loaded
        for number in range(options.rounds):
            for what, (ratio, words) in one_round(node, streams, folder).items():
                ratios[what].append(ratio)
                print(f"round {number + 1}: {what}: {ratio:.2f} of the calm ({words})", flush=True)
        streams.end()
    for what, seen in ratios.items():
        print(f"{what}: median {statistics.median(seen):.2f} ({min(seen):.2f}-{max(seen):.2f})")
    if options.json:
        options.json.write_text(json.dumps({
            "title": "Tokens of running answers, beside those of calm moments",
            "subtitle": f"Eight streams; median of {options.rounds} rounds; the dashed line is no loss", "unit": "", "mark": 1,
            "rows": [{"name": {"wrk": "1,000 connects a second", "slow-loris": "1,000 slow connections"}[what],
                      "value": round(statistics.median(seen), 3)} for what, seen in ratios.items()],
            "note": "bench/http_load.py; the node on one core, the clients on the other."}, indent=1) + "\n")


if __name__ == "__main__":
    main()
