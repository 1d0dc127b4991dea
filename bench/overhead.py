#!/usr/bin/env python3
"""What the service adds to the engine: to the first byte of a stream, and to each token of many streams at once.

    bench/overhead.py build/release/exo             # 100 streams
    bench/overhead.py build/release/exo --streams 10

One node, the tiny model. The first byte: from a request on an open connection to the first event with text, without
what the lead says its prompt took (`timings.prompt_ms`). A token: processor time of the event loop's thread, which
reads requests, turns tokens into text and writes events, over the tokens that were generated (GET /metrics). Free, and
held to a schema.
"""
import argparse
import json
import pathlib
import re
import selectors
import socket
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))
from lib import ROOT, cluster  # noqa: E402

CHAT = "/v1/chat/completions"
END = b"data: [DONE]"
FORMS = {"free": {}, "a schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {
    "type": "object", "properties": {"name": {"type": "string"}, "notes": {"type": "array", "items": {"type": "string"}}},
    "required": ["name", "notes"], "additionalProperties": False}}}}}


def request(seed, count, form):
    body = json.dumps({"model": "exo-tiny", "messages": [{"role": "user", "content": f"Tale {seed}"}], "stream": True,
                       "max_tokens": count, "temperature": 1, "seed": seed, **FORMS[form]}).encode()
    return (f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def open_connection(node):
    connection = socket.create_connection(("127.0.0.1", node.api.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def first_bytes(node, form, count=200):
    """Of each request: milliseconds to the first event with text, and those of its prompt."""
    seen = []
    with open_connection(node) as connection:
        for seed in range(count):
            start, first, answer = time.perf_counter(), None, b""
            connection.sendall(request(seed, 4, form))
            while not (END in answer and b"\r\n0\r\n" in answer and answer.endswith(b"\r\n\r\n")):
                answer += connection.recv(1 << 16)
                if not answer.startswith(b"HTTP/1.1 200"):
                    sys.exit(answer.decode(errors="replace"))
                if first is None and b'"content":"' in answer.replace(b'"content":""', b""):
                    first = time.perf_counter()
            prompt_ms = re.search(rb'"prompt_ms":([0-9.e+-]+)', answer)
            if first is not None and prompt_ms:
                seen.append((1000 * (first - start), float(prompt_ms[1])))
    return seen


def spent(node):
    """Seconds of the event loop's thread, and tokens, since the start."""
    text = node.api.get("/metrics")[1]
    return [float(re.search(rf"^{name} (\S+)", text, re.M)[1])
            for name in ("exo_loop_turn_seconds_sum", "exo_generated_tokens_total")]


def streams(node, form, count, tokens=200):
    """Microseconds of the loop for each token of so many streams at once, tokens, and tokens per second of all."""
    selector = selectors.DefaultSelector()
    before, start = spent(node), time.monotonic()
    for seed in range(count):
        connection = open_connection(node)
        connection.sendall(request(seed, tokens, form))
        selector.register(connection, selectors.EVENT_READ, bytearray())
    while selector.get_map():
        for key, _ in selector.select(60):
            news = key.fileobj.recv(1 << 16)
            key.data[:] = key.data[-len(END):] + news
            if not news or END in key.data:
                selector.unregister(key.fileobj)
                key.fileobj.close()
    took, after = time.monotonic() - start, spent(node)
    generated = after[1] - before[1]
    return 1e6 * (after[0] - before[0]) / generated, int(generated), generated / took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exo")
    parser.add_argument("--streams", type=int, default=100)
    options = parser.parse_args()
    with cluster(options.exo, 1, environment={"EXO_MODELS": str(ROOT / "models")}) as (node,):
        for form in FORMS:
            first_bytes(node, form, 20)  # the model is loaded, the form compiled
            seen = first_bytes(node, form)
            over = sorted(total - prompt for total, prompt in seen)
            print(f"{form:10s} first byte: {statistics.median(total for total, _ in seen):.2f} ms, of them its prompt "
                  f"{statistics.median(prompt for _, prompt in seen):.2f}; the rest: median {statistics.median(over):.2f}, "
                  f"90 % {over[len(over) * 9 // 10]:.2f} ({len(seen)} requests)", flush=True)
            token, generated, rate = streams(node, form, options.streams)
            print(f"{form:10s} {options.streams} streams: {token:.1f} us of the loop a token "
                  f"({generated} tokens, {rate:.0f} tokens/s)", flush=True)


if __name__ == "__main__":
    main()
