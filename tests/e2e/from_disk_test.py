"""Models larger than memory: a node with two thirds of a model's bytes answers from its disk, with the text of one that holds it.

The limit is a memory cgroup of the kernel (v1 or v2); needs root. The file has random weights and the shape of a real one.
"""
import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from cpu_group import MemoryGroup
from lib import Node, Skip, main, need_shared, wait_alive, wait_for

NAME = "large"
LARGER = 1.5  # the model's bytes, in those of the memory
PROMPT = [1000 + i * 37 % 9000 for i in range(300)]  # more than a chunk
TOKENS = 12


@contextlib.contextmanager
def large_model():
    tool = need_shared("tools/make_synthetic_gguf.py")
    if os.geteuid() != 0:
        raise Skip("memory cgroups need root")
    MemoryGroup(f"exo-{os.getpid()}-probe", 1 << 30).remove()  # skips here rather than after the model is written
    # Not where temporary files are memory.
    folder = tempfile.mkdtemp(prefix="exo-from-disk-", dir=os.environ.get("EXO_DISK", "/var/tmp"))
    try:
        model = pathlib.Path(folder) / "models" / f"{NAME}.gguf"
        model.parent.mkdir()
        subprocess.run(["/usr/bin/python3", str(tool), "--shape", "tinyllama-1.1b", "--type", "q4_0", "-o", str(model)],
                       check=True, capture_output=True, timeout=300)
        yield model
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Small:
    """A node in a cgroup with too little memory for the model."""

    def __init__(self, exo, model, secret, name, **environment):
        self.limit = int(model.stat().st_size / LARGER)
        self.group = MemoryGroup(f"exo-{os.getpid()}-{name}", self.limit)
        self.node = Node(exo, model.parent.parent, secret, name, prefix=self.group.prefix,
                         environment={"EXO_MODELS": str(model.parent), **environment})
        self.node.started(300).api.timeout = 600
        wait_for("the model", lambda: self.node.api.get("/v1/models")[1]["data"], 300)

    def disk(self):
        """GB/s, measured (0.1 is what a disk is taken for before)."""
        own = lambda: next(n for n in self.node.api.cluster()["nodes"] if n["state"] == "self")["disk_gbps"]
        wait_for("the disk's speed", lambda: own() not in (0, 0.1), 300)
        return own()

    def end(self):
        self.node.kill()
        self.node.process.wait()
        self.group.remove()


def peak(group):
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        if (group.path / name).exists():
            return int((group.path / name).read_text())
    return 0


def ask(node):
    status, answer = node.api.post("/v1/completions", {"model": NAME, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0,
                                                       "seed": 1})
    assert status == 200, answer
    return answer


@contextlib.contextmanager
def nodes():
    """Ends what is put into the list, with the logs where something failed."""
    running = []
    try:
        yield running
    except BaseException:
        for one in running:
            node = getattr(one, "node", one)
            print(f"--- {node.name}: exit {node.process.poll()}\n{node.log.read_text()[-3000:]}")
        raise
    finally:
        for one in running:
            if isinstance(one, Small):
                one.end()
            else:
                one.kill()
                one.process.wait()


def new_secret(exo):
    return subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()


def test_a_model_larger_than_memory_answers_from_disk(exo):
    with large_model() as model, nodes() as running:
        running.append(Small(exo, model, new_secret(exo), "small"))
        small = running[0]
        gbps = small.disk()
        status, plan = small.node.api.post("/v1/internal/plan", {"model": NAME})
        assert status == 200, plan
        read = plan["stages"][0]["layers_from_disk"]
        assert 0 < len(read) < plan["layers"], plan
        assert f"{len(read)} of {plan['layers']} layers are read from disk for each token, by small" in plan["reason"], plan["reason"]
        assert plan["stages"][0]["bytes"] <= small.limit, plan
        answer = ask(small.node)
        assert small.node.process.poll() is None
        speed = answer["exo"]["tokens_per_second"]
        print(f"  {len(read)} of {plan['layers']} layers from a disk of {gbps:.2f} GB/s: {speed:.2f} tokens/s, predicted "
              f"{plan['predicted_tokens_per_second']:.2f}; peak {peak(small.group) / 1e6:.0f} of {small.limit / 1e6:.0f} MB")
        table = subprocess.run([exo, "ps"], capture_output=True, text=True, env={**os.environ, "EXO_HOME": str(small.node.home)})
        assert f"small 0-{plan['layers'] - 1} ({len(read)} from disk)" in table.stdout, table
        # One that holds it all gives the same.
        running.append(Node(exo, model.parent.parent, new_secret(exo), "whole", environment={"EXO_MODELS": str(model.parent)}))
        whole = running[1].started(300)
        whole.api.timeout = 600
        wait_for("the model", lambda: whole.api.get("/v1/models")[1]["data"], 300)
        expected = ask(whole)
        assert "layers_from_disk" not in str(whole.api.cluster()["instances"]), whole.api.cluster()["instances"]
        assert answer["choices"][0]["text"] == expected["choices"][0]["text"], (answer, expected)


def test_a_device_may_be_told_not_to_read_for_each_token(exo):
    with large_model() as model, nodes() as running:
        running.append(Small(exo, model, new_secret(exo), "small", EXO_STREAM_MODELS="false"))
        status, answer = running[0].node.api.post("/v1/completions", {"model": NAME, "prompt": PROMPT, "max_tokens": 1})
        assert status == 503, answer
        assert "no device reads layers from its disk (setting stream_models)" in answer["error"]["message"], answer


def test_a_file_that_is_cut_off_in_mid_answer_is_an_error_of_the_answer(exo):
    with large_model() as model, nodes() as running:
        running.append(Small(exo, model, new_secret(exo), "small"))
        node = running[0].node
        body = {"model": NAME, "prompt": PROMPT[:8], "max_tokens": 400, "temperature": 0}
        events, cut = [], False
        for event in node.api.stream("/v1/completions", body):
            events.append(event)
            if len(events) == 3:
                os.truncate(model, model.stat().st_size // 2)
                cut = True
        assert cut and "error" in events[-1], events[-1]
        print(f"  after {len(events) - 1} events: {events[-1]['error']}")
        assert node.process.poll() is None
        wait_for("an answer of the node", lambda: node.api.get("/v1/models")[0] == 200)


def test_another_device_ends_the_reading(exo):
    with large_model() as model, nodes() as running:
        secret = new_secret(exo)
        running.append(Small(exo, model, secret, "small"))
        small = running[0]
        small.disk()
        ask(small.node)
        assert "layers_from_disk" in str(small.node.api.cluster()["instances"])
        running.append(Node(exo, model.parent.parent, secret, "second", environment={"EXO_MODELS": str(model.parent)}))
        running[1].started(300)
        wait_alive([small.node, running[1]], 2, 300)
        begin = time.monotonic()
        wait_for("a plan in memory", lambda: small.node.api.cluster()["instances"] and
                 "layers_from_disk" not in str(small.node.api.cluster()["instances"]), 300)
        print(f"  held in memory {time.monotonic() - begin:.0f} s after the second device came")
        ask(small.node)


if __name__ == "__main__":
    main([test_a_model_larger_than_memory_answers_from_disk, test_a_device_may_be_told_not_to_read_for_each_token,
          test_a_file_that_is_cut_off_in_mid_answer_is_an_error_of_the_answer, test_another_device_ends_the_reading])
