#!/usr/bin/env python3
"""The longest turn of a node's event loop (thread CPU time, GET /metrics) under what could hold it.

    bench/loop_turns.py build/release/exo
"""
import json
import pathlib
import re
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))
from lib import cluster  # noqa: E402

BODY = (8 << 20) - 200  # the largest body that is taken is 8 MiB
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def distinct_keys():
    parts, size = [], 0
    while size < BODY - 100:
        parts.append(f'"k{len(parts)}":1')
        size += len(parts[-1]) + 1
    return '{"model":"exo-tiny","x":{' + ",".join(parts) + "}}"


def chat(count, text, model="exo-tiny"):
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}] * count})


def ids(token):
    return json.dumps({"model": "exo-tiny", "prompt": [token] * 900_000})


CASES = [
    ("idle for a second", []),
    ("8 MiB of distinct keys", [(CHAT, distinct_keys())]),
    ("one message of 8 MiB", [(CHAT, chat(1, "word " * (BODY // 5)))]),
    ("16,000 messages", [(CHAT, chat(16_000, "w" * 400))]),
    ("200,000 messages (refused)", [(CHAT, chat(200_000, "w"))]),
    ("900,000 token ids", [(TEXT, ids(100_000)), (TEXT, ids(100))]),
    ("an unknown model", [(CHAT, chat(16_000, "w" * 400, "nope"))]),
]


def turns(node):
    """Longest turn in ms, turns over 5 ms, all turns."""
    text = node.api.get("/metrics")[1]

    def value(name):
        return float(re.search(rf"^{re.escape(name)} (\S+)", text, re.M)[1])
    count = value("exo_loop_turn_seconds_count")
    quick = value('exo_loop_turn_seconds_bucket{le="0.005"}')
    return value("exo_loop_longest_turn_seconds") * 1000, int(count - quick), int(count)


def streams(node, count):
    node.api.post("/v1/internal/load", {"model": "exo-tiny", "spread": True})

    def run(seed):
        for _ in node.api.stream(TEXT, {"model": "exo-tiny", "prompt": f"One day {seed}",
                                        "max_tokens": 60, "temperature": 1, "seed": seed}):
            pass
    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    for count in (1, 2):
        for name, calls in CASES:
            with cluster(sys.argv[1], count) as nodes:
                time.sleep(1)
                statuses = [nodes[0].api.post(path, body)[0] for path, body in calls]
                time.sleep(0.3)
                longest, over, total = turns(nodes[0])
                print(f"{count} nodes  {name:28s} longest {longest:5.2f} ms, {over} of {total} over 5 ms  {statuses}",
                      flush=True)
        with cluster(sys.argv[1], count) as nodes:
            streams(nodes[0], 200)
            longest, over, total = turns(nodes[0])
            print(f"{count} nodes  {'200 streams':28s} longest {longest:5.2f} ms, {over} of {total} over 5 ms", flush=True)


if __name__ == "__main__":
    main()
