"""Devices of any speed and memory on one machine: control groups of the kernel (v1 or v2) with a limit; need root."""
import contextlib
import os
import pathlib

from lib import Skip


def prefix_for(group):
    """What a command begins with so that its process lives in a group."""
    return ("/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$0" "$@"')


class MemoryGroup:
    """A cgroup with so many bytes of memory; a process started through `prefix` lives in it."""

    def __init__(self, name, limit):
        v1, v2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
        try:
            if (v1 / "cgroup.procs").exists():
                self.path, file = v1 / name, "memory.limit_in_bytes"
            elif (v2 / "cgroup.controllers").exists() and "memory" in (v2 / "cgroup.controllers").read_text().split():
                (v2 / "cgroup.subtree_control").write_text("+memory")
                self.path, file = v2 / name, "memory.max"
            else:
                raise Skip("no memory cgroup controller")
            self.path.mkdir()
            (self.path / file).write_text(str(limit))
        except OSError as error:
            raise Skip(f"memory cgroups cannot be made: {error}")
        self.prefix = prefix_for(self.path)

    def remove(self):
        with contextlib.suppress(OSError):
            self.path.rmdir()


class CpuGroup:
    """A cgroup with a share of one core in periods of so many microseconds; a process started through `prefix` lives in it.

    weight: what it gets beside other programs, who have 100 each.
    """

    def __init__(self, name, percent, period=10000, weight=100):
        quota = period * percent // 100
        v1, v2 = pathlib.Path("/sys/fs/cgroup/cpu"), pathlib.Path("/sys/fs/cgroup")
        try:
            if (v1 / "cpu.cfs_quota_us").exists() or (v1 / "cgroup.procs").exists():
                self.path = v1 / name
                self.path.mkdir()
                (self.path / "cpu.cfs_period_us").write_text(str(period))
                (self.path / "cpu.cfs_quota_us").write_text(str(quota))
                (self.path / "cpu.shares").write_text(str(weight * 1024 // 100))
            elif (v2 / "cgroup.controllers").exists() and "cpu" in (v2 / "cgroup.controllers").read_text().split():
                (v2 / "cgroup.subtree_control").write_text("+cpu")
                self.path = v2 / name
                self.path.mkdir()
                (self.path / "cpu.max").write_text(f"{quota} {period}")
                (self.path / "cpu.weight").write_text(str(weight))
            else:
                raise Skip("no cpu cgroup controller")
        except OSError as error:
            raise Skip(f"cpu cgroups cannot be made: {error}")
        self.period = period
        self.prefix = prefix_for(self.path)

    def set_share(self, percent):
        """Another quota from now on, also for processes that are in it."""
        quota = self.period * percent // 100
        v1 = self.path / "cpu.cfs_quota_us"
        if v1.exists():
            v1.write_text(str(quota))
        else:
            (self.path / "cpu.max").write_text(f"{quota} {self.period}")

    @contextlib.contextmanager
    def entered(self):
        """This process in it."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (self.path.parent / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        with contextlib.suppress(OSError):
            self.path.rmdir()
