"""Runs a program under the filter of system calls and socket families of a systemd unit, without systemd:

    python3 seccomp_run.py UNIT PROGRAM ARGUMENTS...

The sets (@system-service and others) are those of the systemd that is installed; the filter is made by libseccomp, as
systemd does. A forbidden call ends the program with SIGSYS, as it ends the service.
"""
import ctypes
import os
import socket
import subprocess
import sys

KILL_PROCESS, ALLOW, ERRNO_EAFNOSUPPORT = 0x80000000, 0x7FFF0000, 0x00050000 | 97
EQUAL = 4


class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def settings_of(path):
    """The lines of a unit as {key: [values]}."""
    settings = {}
    for line in open(path, encoding="utf-8"):
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            settings.setdefault(key, []).append(value)
    return settings


def calls_of(name):
    """The system calls of a set, with those of the sets inside it; the name itself if it is none."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in text.splitlines()[1:]]
    return set().union(*(calls_of(line) for line in lines if line and not line.startswith("#")))


def allowed_calls(unit):
    """What SystemCallFilter= leaves. What systemd adds of itself (execve, exit, ...) is in @default and @process."""
    allowed = set()
    for value in unit["SystemCallFilter"]:
        names = set().union(*(calls_of(name) for name in value.removeprefix("~").split()))
        allowed = allowed - names if value.startswith("~") else allowed | names
    return allowed


def load_filter(unit):
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(KILL_PROCESS)))

    def add(action, number, *comparisons):
        array = (Comparison * len(comparisons))(*comparisons)
        error = library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(comparisons), array)
        assert error == 0, f"seccomp_rule_add: {os.strerror(-error)}"

    families = [getattr(socket, name) for name in unit["RestrictAddressFamilies"][0].split()]
    for name in sorted(allowed_calls(unit)):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue  # of another processor
        if name != "socket":
            add(ALLOW, number)
            continue
        for family in range(1, 46):
            add(ALLOW if family in families else ERRNO_EAFNOSUPPORT, number, Comparison(0, EQUAL, family, 0))
    assert library.seccomp_load(context) == 0, "seccomp_load"


def main():
    load_filter(settings_of(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
