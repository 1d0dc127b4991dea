"""What nodes measure of the ways between them, and a model that leaves a way which has become slow.

Needs root: namespaces, on a bridge whose links the kernel shapes (tc tbf), or whose frames pass a hub in this program.
"""
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

from lan_test import Lan
from lib import TINY, Node, Skip, alive, main, wait_for
from shaped_net import Hub, inside
from slow_nodes_test import NAME, model, read_answer

THERE, BACK = 20, 60  # Mb/s
DELAY, SLOW = 0.0025, 0.075  # seconds one way


@contextlib.contextmanager
def home(exo, spaces, environment):
    """Nodes in namespaces that see each other; this thread is inside the first one's."""
    folder, nodes = tempfile.mkdtemp(prefix="exo-links-"), []
    try:
        secret = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
        for i, space in enumerate(spaces):
            nodes.append(Node(exo, folder, secret, f"n{i + 1}", "--threads", "1", loopback=False,
                              prefix=("ip", "netns", "exec", space), environment=environment))
        for node in nodes:
            node.started(60).api.timeout = 900
        with inside(spaces[0]):
            wait_for("all nodes", lambda: len(alive(nodes[0])) == len(spaces), 60)
            yield nodes
    except BaseException:
        for node in nodes:
            print(f"--- log of {node.name}\n{node.log.read_text()[-3000:]}")
        raise
    finally:
        for node in nodes:
            node.kill()
            node.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def hub_of(count, delay):
    hub = Hub([f"exo{os.getpid()}l{i}" for i in range(count)], delay)
    hub.start()
    try:
        yield hub
    finally:
        hub.close()


def ways(node):
    """(from, to): what was measured, as this node knows it."""
    nodes = node.api.cluster()["nodes"]
    names = {n["id"]: n["name"] for n in nodes}
    return {(n["name"], names.get(w["to"])): w for n in nodes for w in n["ways"]}


def all_measured(node, count):
    found = ways(node)
    return found if len(found) == count * (count - 1) and all(w["mbps"] for w in found.values()) else None


def near(value, wanted):
    return abs(value - wanted) <= 0.15 * wanted


def within(mbps, rate):
    """A busy machine takes from what a way can do, and never adds to it."""
    return 0.5 * rate <= mbps <= 1.15 * rate


def command(exo, node, *arguments):
    return subprocess.run([exo, *arguments], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "EXO_HOME": str(node.home), "NO_COLOR": "1", "COLUMNS": "200"}).stdout


def test_each_direction_is_measured_and_remembered(exo):
    models = {"EXO_MODELS": str(TINY.parent)}
    with Lan(2) as lan:
        for i, mbps in enumerate((THERE, BACK)):
            # What is remembered is of a pair of addresses: the next session takes the same.
            lan.run(i, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
            done = lan.run(i, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", f"{mbps}mbit", "burst", "16kb", "latency", "200ms")
            if done.returncode != 0:
                raise Skip(f"links cannot be shaped here: {done.stderr.strip()}")
        check_directions(exo, lan.spaces, models)


def consistent(exo, node):
    """Both ways, and all that is said of them, of a moment in which neither was measured again: a busy machine has that done."""
    for _ in range(5):
        found = ways(node)
        status, plan = node.api.post("/v1/internal/plan", {"model": "exo-tiny", "split": "layer"})
        assert status == 200, plan
        picture = command(exo, node, "plan", "exo-tiny", "--split", "layer", "--explain")
        listed = command(exo, node, "devices")
        checks = json.loads(command(exo, node, "doctor", "--json"))["checks"]
        if ways(node) == found:
            return found["n1", "n2"], found["n2", "n1"], plan["hops"][0], plan["stages"][0]["node"], picture, listed, checks
    raise AssertionError(f"the ways were measured again and again: {found}")


def check_directions(exo, spaces, models):
    with home(exo, spaces, models) as nodes:
        found = wait_for("both directions", lambda: all_measured(nodes[0], 2), 60)
        there, back = found["n1", "n2"], found["n2", "n1"]
        print(f"  {THERE} Mb/s there and {BACK} back: measured {there['mbps']:.1f} and {back['mbps']:.1f}, "
              f"{there['rtt_ms']:.2f} ms there and back (99 %: {there['rtt_p99_ms']:.2f})", flush=True)
        assert within(there["mbps"], THERE) and within(back["mbps"], BACK), found
        assert there["rtt_p99_ms"] >= there["rtt_ms"] and there["address"], there
        there, back, hop, lead, picture, listed, checks = consistent(exo, nodes[0])
        # What the planner counts, and what people see.
        assert hop["mbps"] == (there if lead == "n1" else back)["mbps"], (hop, lead)
        assert hop["mbps_back"] == (back if lead == "n1" else there)["mbps"], (hop, lead)
        assert hop["rtt_ms"] == max(there["rtt_ms"], back["rtt_ms"]), hop
        assert f"{hop['mbps']:.0f} Mb/s, {hop['mbps_back']:.0f} Mb/s back" in picture, picture
        assert f"{there['mbps']:.0f} / {back['mbps']:.0f} Mb/s" in listed, listed
        said = [f for f in checks if f["id"] == "links"]
        assert said and said[0]["state"] == "ok" and f"{there['mbps']:.0f} Mb/s there" in said[0]["detail"], said
        # A restart knows it at once, and does not send large frames again within the hour.
        nodes[0].stop()
        nodes[0].process.wait()
        (nodes[0].home / "node.json").unlink(missing_ok=True)
        nodes[0] = Node(exo, nodes[0].home.parent, nodes[0].secret, "n1", "--threads", "1", loopback=False,
                        environment=models).started(60)
        again = wait_for("what was measured", lambda: ways(nodes[0]).get(("n1", "n2")), 30)
        assert again["mbps"] == there["mbps"], (again, there)


def memory_for_a_part(exo, models):
    """A limit that leaves no room for the whole model, also not with fewer sequences."""
    with hub_of(1, 0) as hub, home(exo, hub.spaces, {"EXO_MODELS": str(models)}) as nodes:
        wait_for("the model", lambda: any(m["id"] == NAME for m in nodes[0].api.get("/v1/models")[1]["data"]), 60)
        status, plan = nodes[0].api.post("/v1/internal/plan", {"model": NAME, "context": 512})
        assert status == 200, plan
        return plan["stages"][0]["bytes"] * 6 // 10


def test_a_model_leaves_a_way_that_becomes_slow_in_mid_answer(exo):
    with model() as models:
        environment = {"EXO_MODELS": str(models), "EXO_MEMORY_LIMIT": str(memory_for_a_part(exo, models))}
        with hub_of(3, DELAY) as hub, home(exo, hub.spaces, environment) as nodes:
            found = wait_for("all ways", lambda: all_measured(nodes[0], 3), 90)
            times = [way["rtt_ms"] for way in found.values()]
            print(f"  {2000 * DELAY:.0f} ms there and back: measured {', '.join(f'{ms:.2f}' for ms in sorted(times))}", flush=True)
            # A busy machine lets frames wait in the hub, but never less than asked for.
            assert min(times) >= 2000 * DELAY and near(min(times), 2000 * DELAY), found
            assert statistics.median(times) < 2 * 2000 * DELAY, found
            status, plan = nodes[0].api.post("/v1/internal/load", {"model": NAME, "context": 512})
            assert status == 200, plan
            before = [s["node"] for s in plan["stages"]]
            assert len(before) == 2, plan
            slow_at = None

            def placed():
                for one in nodes[0].api.cluster()["instances"]:
                    if one["state"] == "ready":
                        return [s["node"] for s in one["stages"]]
                return before

            def has_moved(times):
                nonlocal slow_at
                if slow_at is None and len(times) == 20:
                    hub.set_delay(*(int(name[1:]) - 1 for name in before), SLOW)
                    slow_at = time.monotonic()
                return slow_at is not None and len(times) % 4 == 0 and set(placed()) != set(before)
            text, times, moved = read_answer(nodes[0], 400, has_moved)
            assert moved is not None, "nothing moved"
            took = times[moved - 1] - slow_at
            after = placed()
            again, _, _ = read_answer(nodes[0], len(times) + 50)
            same = len(os.path.commonprefix([again, text]))
            assert same == len(text), ("the text is another one after a move", moved, same, len(text))
            print(f"  {' + '.join(before)} became {' + '.join(after)} {took:.1f} s after their way took {2000 * SLOW:.0f} ms; "
                  f"{times[19] - times[18]:.3f} s a token before it, {times[moved - 2] - times[moved - 3]:.3f} until the move, "
                  f"{times[-1] - times[-2]:.3f} after it")
            assert took < 60, took


if __name__ == "__main__":
    main([test_each_direction_is_measured_and_remembered, test_a_model_leaves_a_way_that_becomes_slow_in_mid_answer])
