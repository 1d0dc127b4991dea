"""Namespaces whose frames pass a hub in this program, which lets every way take its time; needs root.

What the kernel's own shaping (tc netem) would do, where it has that module: a delay for each pair, which may change in the
middle of a test. Everything that is made is removed.
"""
import contextlib
import ctypes
import fcntl
import heapq
import os
import select
import struct
import subprocess
import threading
import time

from lib import Skip

TUNSETIFF, IFF_TAP_NO_PI, CLONE_NEWNET = 0x400454CA, 0x1002, 0x40000000


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
    """Namespaces with an address each; a frame between two takes `delay` seconds, until set_delay says otherwise."""

    def __init__(self, spaces, delay=0.0):
        super().__init__(daemon=True)
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        self.spaces, self.taps, self.ends = spaces, [], os.pipe()
        self.delays = {frozenset((a, b)): delay for a in range(len(spaces)) for b in range(a)}
        try:
            self.make()
        except (OSError, subprocess.CalledProcessError) as error:
            self.remove()
            raise Skip(f"network namespaces cannot be made here: {error}") from None

    def make(self):
        for i, space in enumerate(self.spaces):
            subprocess.run(["ip", "netns", "add", space], check=True)
            with inside(space):
                tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                self.taps.append(tap)
                fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP_NO_PI))
            for command in (["addr", "add", f"10.78.0.{i + 1}/24", "brd", "+", "dev", "eth0"],
                            ["link", "set", "lo", "up"], ["link", "set", "eth0", "up"]):
                subprocess.run(["ip", "-n", space, *command], check=True)

    def set_delay(self, a, b, delay):
        """Between spaces number a and b, from now on: seconds one way."""
        self.delays[frozenset((a, b))] = delay

    def run(self):
        waiting, ports, number = [], {}, 0
        while True:
            left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            ready, _, _ = select.select([*self.taps, self.ends[0]], [], [], left)
            if self.ends[0] in ready:
                return
            for tap in ready:
                frame, a = os.read(tap, 65536), self.taps.index(tap)
                ports[frame[6:12]] = a
                to = ports.get(frame[:6])
                for b in range(len(self.taps)) if to is None else [to]:
                    if b != a:
                        number += 1
                        heapq.heappush(waiting, (time.monotonic() + self.delays[frozenset((a, b))], number, b, frame))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, b, frame = heapq.heappop(waiting)
                with contextlib.suppress(BlockingIOError):
                    os.write(self.taps[b], frame)

    def close(self):
        os.write(self.ends[1], b"x")
        self.join()
        self.remove()

    def remove(self):
        for end in [*self.taps, *self.ends]:
            os.close(end)
        for space in self.spaces:
            with contextlib.suppress(OSError):
                subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
