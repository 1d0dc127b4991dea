#!/usr/bin/env python3
"""A model of 1.5 times the memory (cgroup limit) from disk, beside the bound: the disk's bandwidth over the bytes of a token.

    make bench-cluster ROWS=disk   # as root (cgroups)

The bound is what a plain loop reads of the same file, 2 MiB at a time past the cache, right before and right after the answer
(the median of the pieces' speeds would hide pauses: bytes over time), divided by the bytes of the layers that are not held.
Synthetic 1.1B model (needs EXO_SHARED). Only ratios count.
"""
import argparse
import mmap
import os
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests" / "e2e")]

from from_disk_test import NAME, Small, ask, large_model, new_secret, nodes, peak  # noqa: E402
from lib import Skip  # noqa: E402

PIECE = 2 << 20
READ_S = 1.5
# tinyllama-1.1b: attention and feed-forward weights of a layer, 18 bytes for 32 of them.
LAYER_BYTES = (2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 5632) * 18 // 32


def disk_speed(path):
    """Bytes per second of a plain loop."""
    piece = mmap.mmap(-1, PIECE)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        size, read, at, begin = os.fstat(handle).st_size // PIECE * PIECE, 0, 0, time.monotonic()
        while time.monotonic() - begin < READ_S:
            read += os.preadv(handle, [piece], at)
            at = (at + PIECE) % size
        return read / (time.monotonic() - begin)
    finally:
        os.close(handle)


def measure(exo, rounds):
    with large_model() as model, nodes() as running:
        running.append(Small(exo, model, new_secret(exo), "small"))
        node = running[0].node
        told = running[0].disk()
        status, plan = node.api.post("/v1/internal/plan", {"model": NAME})
        assert status == 200, plan
        read = len(plan["stages"][0]["layers_from_disk"])
        print(f"{read} of {plan['layers']} layers of {LAYER_BYTES / 1e6:.1f} MB are read; the node has measured {told:.2f} GB/s and "
              f"predicts {plan['predicted_tokens_per_second']:.2f} tokens/s")
        parts = []
        ask(node)  # loads it
        for _ in range(rounds):
            before = disk_speed(model)
            speed = ask(node)["exo"]["tokens_per_second"]
            bound = (before + disk_speed(model)) / 2 / (read * LAYER_BYTES)
            parts.append(speed / bound)
            print(f"  {speed:.2f} tokens/s, bound {bound:.2f}: {parts[-1]:.2f}")
        assert node.process.poll() is None, "the node was killed"
        print(f"from disk: {statistics.median(parts):.2f} of the bound ({min(parts):.2f} to {max(parts):.2f}), peak "
              f"{peak(running[0].group) / 1e6:.0f} of {running[0].limit / 1e6:.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exo", default=str(HERE.parent / "build" / "release" / "exo"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    try:
        measure(options.exo, options.rounds)
    except Skip as skip:
        print(f"skipped: {skip}")


if __name__ == "__main__":
    main()
