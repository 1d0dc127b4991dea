"""`exo doctor` names each problem that is made here, and says nothing is wrong where nothing is."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from cpu_group import MemoryGroup
from lan_test import Lan
from lib import PATIENCE, TINY, Node, Skip, cluster, main, wait_for
from membership_test import connect_as_stranger


def doctor(exo, home, *arguments, prefix=(), env=None):
    """Its checks that are not well, as {id: (state, title, detail)}, and its exit code."""
    done = subprocess.run([*prefix, exo, "doctor", "--json", *arguments], capture_output=True, text=True, timeout=2 * PATIENCE,
                          env={**os.environ, "EXO_HOME": str(home), **(env or {})})
    checks = json.loads(done.stdout)["checks"]
    assert all(check["title"] and (check["state"] == "ok" or check["detail"] and check["fix"]) for check in checks), checks
    return {check["id"]: (check["state"], check["title"], check["detail"]) for check in checks
            if check["state"] != "ok"}, done.returncode


def test_a_device_without_a_node(exo):
    with tempfile.TemporaryDirectory() as folder, socket.socket() as taken:
        home = pathlib.Path(folder) / "home"
        taken.bind(("127.0.0.1", 0))
        free = {"EXO_API_PORT": "0"}
        wrong, code = doctor(exo, home, env=free)
        assert code == 0 and wrong["node"][1] == "no exo node runs on this machine", wrong
        assert wrong["folder"][1] == "there is no data folder yet", wrong
        home.mkdir(mode=0o700)
        wrong, code = doctor(exo, home, env=free)
        assert code == 0 and "folder" not in wrong, wrong
        # A port that another program has.
        wrong, code = doctor(exo, home, env={"EXO_API_PORT": str(taken.getsockname()[1])})
        assert code == 1 and "is taken by another program" in wrong["api-port"][1], wrong
        taken.listen()  # and says nothing
        wrong, code = doctor(exo, home, env={"EXO_API_PORT": str(taken.getsockname()[1])})
        assert code == 1 and "is taken by another program" in wrong["api-port"][1], wrong
        assert wrong["node"][1] == "no exo node runs on this machine", wrong
        # A clock that is behind the files that it has stamped.
        (home / "state.db").touch()
        os.utime(home / "state.db", (time.time() + 86400, time.time() + 86400))
        wrong, code = doctor(exo, home, env=free)
        assert code == 1 and wrong["clock"][1] == "the clock is wrong", wrong
        (home / "state.db").unlink()
        # Keys that others may read.
        (home / "key.pem").write_text("")
        (home / "key.pem").chmod(0o644)
        wrong, code = doctor(exo, home, env=free)
        assert code == 1 and "key.pem" in wrong["folder"][2], wrong
        (home / "key.pem").chmod(0o600)
        # Few files, as a shell's limit says.
        few = ("bash", "-c", 'ulimit -n 256; exec "$0" "$@"')
        wrong, code = doctor(exo, home, prefix=few, env=free)
        assert code == 0 and "256" in wrong["files"][2], wrong
        text = subprocess.run([exo, "doctor"], capture_output=True, text=True, env={**os.environ, "EXO_HOME": str(home), **free})
        assert text.returncode == 0 and "-> start it: exo up" in text.stdout, text


def test_a_full_disk(exo):
    if os.geteuid() != 0:
        raise Skip("a small file system needs root")
    with tempfile.TemporaryDirectory() as folder:
        script = f'mount -t tmpfs -o size=4m,mode=700 none {folder} && exec "$0" "$@"'
        wrong, code = doctor(exo, folder, prefix=("unshare", "-m", "bash", "-c", script), env={"EXO_API_PORT": "0"})
        assert code == 1 and wrong["disk"][1] == "the disk is full" and "of 4.0 MiB" in wrong["disk"][2], wrong


def test_little_memory(exo):
    if os.geteuid() != 0:
        raise Skip("control groups need root")
    group = MemoryGroup(f"exo-doctor-{os.getpid()}", 200 << 20)
    try:
        with tempfile.TemporaryDirectory() as folder:
            wrong, code = doctor(exo, folder, prefix=group.prefix, env={"EXO_API_PORT": "0"})
            assert code == 0 and wrong["memory"][1] == "the memory is nearly used up", wrong
            assert "of 200.0 MiB are free" in wrong["memory"][2], wrong
    finally:
        group.remove()


def write_files(folder, texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n")


def test_heat_and_battery(exo):
    """Of a machine whose sensors are files of the test."""
    if os.geteuid() != 0:
        raise Skip("other sensors need root")
    with tempfile.TemporaryDirectory() as folder:
        root, home = pathlib.Path(folder), pathlib.Path(folder) / "n"
        home.mkdir(mode=0o700)
        zone, battery = root / "thermal" / "thermal_zone0", root / "power_supply" / "BAT0"
        write_files(zone, {"type": "x86_pkg_temp", "temp": 96000, "trip_point_0_type": "passive", "trip_point_0_temp": 95000})
        write_files(battery, {"type": "Battery", "status": "Full", "capacity": 100})
        mounts = "; ".join(f"mount --bind {root}/{name} /sys/class/{name} || exit 77" for name in ("thermal", "power_supply"))
        prefix = ("unshare", "-m", "bash", "-c", f'{mounts}; exec "$0" "$@"')
        if subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
            raise Skip("a private view of /sys cannot be made here")
        node = Node(exo, folder, "", "n", "--threads", "1", prefix=prefix).started()

        def speed():
            return doctor(exo, home)[0].get("speed", ("", "", ""))
        try:
            hot = wait_for("the heat", lambda: "hot" in speed()[2] and speed())
            assert hot[:2] == ("warning", "n gives 50 % of its speed"), hot
            write_files(zone, {"temp": 60000})
            write_files(battery, {"status": "Discharging", "capacity": 20})
            low = wait_for("the battery", lambda: "battery" in speed()[2] and speed())
            assert low[1] == "n gives 0 % of its speed" and "20 %" in low[2], low
        finally:
            node.stop()


def test_models_and_memory_of_a_node(exo):
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder) / "n"
        home.mkdir(mode=0o700)
        model = pathlib.Path(folder) / "mine.gguf"
        os.link(TINY, model) if os.stat(TINY).st_dev == os.stat(folder).st_dev else shutil.copy(TINY, model)
        node = Node(exo, folder, "", "n", "--memory-limit", "1MB").started()
        try:
            wait_for("the model", lambda: node.api.get("/v1/models")[1]["data"])
            wrong, code = doctor(exo, home)
            assert code == 0 and "no model fits" in wrong["memory for models"][1], wrong
            assert node.api.post("/v1/internal/models", {"path": str(model)})[0] == 200
            model.unlink()
            model.write_text("no model")  # another file under its name
            wrong = wait_for("the missing model", lambda: (found := doctor(exo, home)[0]).get("models") and found)
            assert str(model) in wrong["models"][2] and doctor(exo, home)[1] == 1, wrong
            refused = subprocess.run([exo, "doctor"], capture_output=True, text=True, env={
                **os.environ, "EXO_HOME": f"{folder}/nobody", "EXO_API_PORT": str(node.state["api_port"])})
            assert refused.returncode == 1 and "is taken by an exo with another data folder" in refused.stdout, refused
        finally:
            node.stop()


def doctor_findings(exo, node, check):
    """Its checks of one kind that are not well, whole."""
    done = subprocess.run([exo, "doctor", "--json"], capture_output=True, text=True, timeout=2 * PATIENCE,
                          env={**os.environ, "EXO_HOME": str(node.home)})
    return [one for one in json.loads(done.stdout)["checks"] if one["id"] == check and one["state"] != "ok"]


def test_devices_of_other_versions(exo):
    """Peers that speak another version of the protocol: both versions are named, and the device to be updated."""
    with cluster(exo, 1) as [node], tempfile.TemporaryDirectory() as folder:
        for number, (protocols, spoken, fix) in enumerate((((7, 9), "protocols 7 to 9", "update exo on this device (n1)"),
                                                           ((1, 1), "protocol 1,", "update exo on "))):
            answer = connect_as_stranger(node.state["port"], folder, number, protocols)
            assert b"update exo on" in answer, answer
            found = wait_for(spoken, lambda s=spoken: [one for one in doctor_findings(exo, node, "members") if s in one["detail"]])[0]
            assert found["state"] == "problem" and found["title"].endswith(" has another version of exo"), found
            assert "this device (n1) protocol 3" in found["detail"] and found["fix"].startswith(fix), found
            assert ("this device" in found["fix"]) == (number == 0), found


# A wall clock that is ahead by SHIFT seconds.
CLOCK = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec* now) {
  long result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += SHIFT;
  return (int)result;
}
time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
"""


def test_a_wrong_clock(exo):
    compiler = next((found for name in ("cc", "gcc", "clang", "clang-19") if (found := shutil.which(name))), None)
    if compiler is None:
        raise Skip("there is no compiler for a clock that is wrong")
    with tempfile.TemporaryDirectory() as folder:
        shifted = f"{folder}/clock.so"
        (pathlib.Path(folder) / "clock.c").write_text(CLOCK)
        subprocess.run([compiler, "-shared", "-fPIC", "-DSHIFT=300", "-o", shifted, f"{folder}/clock.c"], check=True)
        with cluster(exo, 2, environment=lambda name: {"LD_PRELOAD": shifted} if name == "n2" else {}) as (right, ahead):
            for node, title, fix in ((right, "the clock of n2 is 5 min ahead of this device's", "on n2, "),
                                     (ahead, "the clock of n1 is 5 min behind this device's", "on n1, ")):
                found = wait_for(title, lambda n=node: doctor_findings(exo, n, "clocks"))
                assert [one["title"] for one in found] == [title], found
                assert found[0]["state"] == "warning" and "chat" in found[0]["detail"], found
                assert found[0]["fix"].startswith(fix) and "timedatectl" in found[0]["fix"], found


class Hosts:
    """Two hosts of a LAN, with a node each when they are started."""

    def __init__(self, exo):
        self.exo, self.lan, self.nodes = exo, Lan(2), {}

    def __enter__(self):
        self.lan.__enter__()
        self.folder = tempfile.mkdtemp(prefix="exo-doctor-")
        return self

    def __exit__(self, kind, *_):
        for node in self.nodes.values():
            if kind not in (None, Skip):
                print(node.log.read_text()[-2000:])
            node.kill()
            node.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.lan.__exit__()

    def prefix(self, i):
        return ("ip", "netns", "exec", self.lan.spaces[i])

    def start(self, i, secret, *arguments):
        pathlib.Path(f"{self.folder}/h{i}").mkdir(mode=0o700, exist_ok=True)
        pathlib.Path(f"{self.folder}/h{i}/node.json").unlink(missing_ok=True)
        self.nodes[i] = Node(self.exo, self.folder, secret, f"h{i}", "--threads", "1", *arguments, prefix=self.prefix(i),
                             loopback=False).started()

    def stop(self, i):
        self.nodes[i].stop()

    def wrong(self, i):
        return doctor(self.exo, f"{self.folder}/h{i}", prefix=self.prefix(i))[0]

    def soon(self, i, check, words):
        """Waits until a check of a host says these words in its title."""
        wait_for(f"'{words}' about {check}", lambda: words in self.wrong(i).get(check, ("", "", ""))[1], step=0.1)

    def nft(self, i, rules):
        done = self.lan.run(i, "nft", rules)
        if done.returncode != 0:
            raise Skip(f"packet filters cannot be set here: {done.stderr.strip()}")


def test_networks_and_members(exo):
    new = lambda: subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: E731
    ours, others = new(), new()
    chain = "add table inet f; add chain inet f i {{ type filter hook input priority 0; }}; add rule inet f i {}"
    with Hosts(exo) as hosts:
        hosts.start(0, ours)
        hosts.start(1, ours)
        wait_for("both well", lambda: not any(one in hosts.wrong(i) for i in (0, 1) for one in
                                              ("discovery", "port", "members", "trust")))
        # A member that is gone.
        hosts.stop(1)
        hosts.soon(0, "members", "h1 is not here")
        # A device of another cluster.
        shutil.rmtree(f"{hosts.folder}/h1")
        hosts.start(1, others)
        hosts.soon(0, "trust", "other clusters nearby")
        hosts.stop(1)
        # Its port is closed, as by a firewall.
        hosts.nft(0, chain.format(f"tcp dport {hosts.nodes[0].state['port']} drop"))
        hosts.soon(0, "port", "closed")
        hosts.nft(0, "delete table inet f")
        # Multicast is blocked; then all that is sent.
        hosts.stop(0)
        hosts.nft(0, chain.format("meta l4proto udp drop"))
        hosts.start(0, ours)
        hosts.soon(0, "discovery", "multicast is blocked")
        hosts.nft(0, "delete table inet f")
        hosts.nft(0, chain.replace("hook input", "hook output").format("meta l4proto udp drop"))
        hosts.soon(0, "discovery", "announcements do not leave")
        # No network at all.
        subprocess.run(["ip", "-n", hosts.lan.spaces[0], "link", "set", "eth0", "down"], check=True)
        hosts.soon(0, "discovery", "no network")


if __name__ == "__main__":
    main([test_a_device_without_a_node, test_a_full_disk, test_little_memory, test_heat_and_battery, test_models_and_memory_of_a_node,
          test_devices_of_other_versions, test_a_wrong_clock, test_networks_and_members])
