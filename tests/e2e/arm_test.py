#!/usr/bin/env python3
"""The program for 64-bit Arm under qemu: what it says, alone and beside a node of this machine, has the bits of this machine.

EXO_ARM is the command that runs it here, such as "qemu-aarch64 -L build/sysroot-arm64 build/arm/exo"; `make test-more` sets it.
"""
import json
import os
import shlex
import shutil
import subprocess
import tempfile

from lib import Node, Skip, cluster, main, wait_alive

PROMPT = "Once upon a time, there was a little dog"
SETTINGS = {"max_tokens": 32, "temperature": 0.8, "seed": 7}
START_SECONDS = 300  # an emulated node beside whatever else runs


def arm():
    """The emulator with its options, and the program."""
    command = shlex.split(os.environ.get("EXO_ARM", ""))
    if len(command) < 2 or not os.path.exists(command[-1]):
        raise Skip('EXO_ARM names no program: "qemu-aarch64 -L build/sysroot-arm64 build/arm/exo"')
    if shutil.which(command[0]) is None:
        raise Skip(f"{command[0]} is not installed")
    return command[:-1], os.path.abspath(command[-1])


def arm_node(folder, secret):
    emulator, program = arm()
    return Node(program, folder, secret, "arm", prefix=emulator)


def said(command, **settings):
    done = subprocess.run([*command, "--version", "--json"], capture_output=True, text=True, timeout=2 * START_SECONDS, **settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_says_that_it_computes_what_this_machine_computes(exo):
    emulator, program = arm()
    there, here = said([*emulator, program]), said([exo])
    assert there["isa"].startswith("neon") and not here["isa"].startswith("neon"), (there, here)
    for same in ("version", "numerics", "protocol", "protocol_oldest"):
        assert there[same] == here[same], (same, there, here)


def test_alone_and_together_they_write_the_same(exo):
    emulator, program = arm()
    with cluster(exo, 1) as (native,), tempfile.TemporaryDirectory() as folder:
        expected = native.api.complete("exo-tiny", PROMPT, **SETTINGS)["choices"][0]["text"]
        assert len(expected) > 20, expected
        node = arm_node(folder, "")
        try:
            node.started(START_SECONDS)
            assert node.api.complete("exo-tiny", PROMPT, **SETTINGS)["choices"][0]["text"] == expected
            asked = subprocess.run([*emulator, program, "run", "exo-tiny", "--raw", "--temperature", "0.8", "--seed", "7",
                                    "--max-tokens", "32", PROMPT], capture_output=True, text=True, timeout=2 * START_SECONDS,
                                   stdin=subprocess.DEVNULL, env={**os.environ, "EXO_HOME": str(node.home), "NO_COLOR": "1"})
            assert asked.returncode == 0 and asked.stdout.strip() == expected.strip(), asked
            node.stop()

            node = arm_node(folder, native.secret).started(START_SECONDS)
            wait_alive([native, node], 2, START_SECONDS)
            # What runs at one of them goes on as it is.
            status, gone = native.api.post("/v1/internal/unload", {"model": "exo-tiny"})
            assert status == 200, gone
            status, plan = native.api.post("/v1/internal/load", {"model": "exo-tiny", "spread": True})
            assert status == 200 and {stage["node"] for stage in plan["stages"]} == {"n1", "arm"}, plan
            for asked in (native, node):
                answer = asked.api.complete("exo-tiny", PROMPT, **SETTINGS)
                assert answer["choices"][0]["text"] == expected, (asked.name, answer)
                assert len(answer["exo"]["stages"]) == 2, answer["exo"]
        except BaseException:
            print(node.log.read_text()[-3000:])
            raise
        finally:
            node.kill()
            node.process.wait()


if __name__ == "__main__":
    main([test_it_says_that_it_computes_what_this_machine_computes,
          test_alone_and_together_they_write_the_same])
