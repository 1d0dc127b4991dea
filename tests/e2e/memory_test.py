"""Devices too small for a model alone: three nodes limited to 460 MB each hold a 1B Q4_0 file together.

The limit is a memory cgroup of the kernel (v1 or v2); needs root. The file has random weights and the exact shape
of a real one.
"""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from lib import Node, Skip, main, need_shared, wait_alive

LIMIT = 460 * 1000 * 1000


class MemoryGroup:
    """A cgroup with a memory limit; processes started through `prefix` live in it."""

    def __init__(self, name):
        v1, v2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
        if (v1 / "memory.limit_in_bytes").exists():
            self.path, limit = v1 / name, "memory.limit_in_bytes"
        elif (v2 / "cgroup.controllers").exists() and "memory" in (v2 / "cgroup.controllers").read_text().split():
            self.path, limit = v2 / name, "memory.max"
        else:
            raise Skip("no memory cgroup controller")
        self.prefix = ("/bin/sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$0" "$@"')
        try:
            if limit == "memory.max":
                (v2 / "cgroup.subtree_control").write_text("+memory")
            self.path.mkdir()
            (self.path / limit).write_text(str(LIMIT))
            # Entering one is another permission than making one.
            subprocess.run([*self.prefix, "true"], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.remove()
            raise Skip(f"memory cgroups cannot be used here: {getattr(error, 'stderr', '') or error}") from None

    def peak(self):
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            if (self.path / name).exists():
                return int((self.path / name).read_text())
        return 0

    def remove(self):
        try:
            self.path.rmdir()
        except OSError:
            pass


def test_three_small_nodes_hold_what_one_cannot(exo):
    tool = need_shared("tools/make_synthetic_gguf.py")
    MemoryGroup(f"exo-{os.getpid()}-probe").remove()  # skips here rather than after a gigabyte is written
    folder = tempfile.mkdtemp(prefix="exo-memory-")
    groups, nodes = [], []
    try:
        model = f"{folder}/l1b-q4_0.gguf"
        subprocess.run(["/usr/bin/python3", str(tool), "--shape", "llama-3.2-1b", "--type", "q4_0", "-o", model],
                       check=True, capture_output=True, timeout=300)
        secret = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
        for i in range(3):
            groups.append(MemoryGroup(f"exo-{os.getpid()}-{i}"))
            nodes.append(Node(exo, folder, secret, f"small{i + 1}", "--threads", "1", prefix=groups[i].prefix,
                              environment={"EXO_STREAM_MODELS": "false"}))
            if i == 0:
                nodes[0].started(60)
                status, added = nodes[0].api.post("/v1/internal/models", {"path": model})
                assert status == 200, added
                body = {"model": "l1b-q4_0", "prompt": "Hello there", "max_tokens": 8, "temperature": 0}
                status, answer = nodes[0].api.post("/v1/completions", body)
                print(f"  alone: {status} {answer['error']['message'][:200]}")
                assert status == 503 and "MiB" in answer["error"]["message"], answer
        for node in nodes:
            node.started(60)
        wait_alive(nodes, 3, 60)
        status, answer = nodes[0].api.post("/v1/completions", body)
        assert status == 200, answer
        assert answer["usage"]["completion_tokens"] == 8, answer
        stages = [f"{s['node']} {s['layer_begin']}-{s['layer_end'] - 1}" for s in answer["exo"]["stages"]]
        print(f"  together: {', '.join(stages)}; {answer['exo']['tokens_per_second']:.1f} tokens/s; "
              f"peaks {[round(g.peak() / 1e6) for g in groups]} MB of {LIMIT // 1000000}")
    except BaseException:
        for node in nodes:
            print(f"--- {node.name}: exit {node.process.poll()}\n{node.log.read_text()[-2000:]}")
        raise
    finally:
        for node in nodes:
            node.kill()
            node.process.wait()
        for group in groups:
            group.remove()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main([test_three_small_nodes_hold_what_one_cannot])
