"""A second device by a code, and a device that is forgotten: hosts in network namespaces on one bridge."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from lan_test import Lan
from lib import Node, Skip, main, wait_for, within


class Home:
    """Hosts of a LAN with a node each, every one a cluster of its own at first; commands run inside their namespaces."""

    def __init__(self, exo, count):
        self.exo, self.lan = exo, Lan(count)
        self.nodes = [None] * count

    def __enter__(self):
        self.lan.__enter__()
        self.folder = tempfile.mkdtemp(prefix="exo-pair-")
        return self

    def __exit__(self, kind, *_):
        for node in filter(None, self.nodes):
            if kind not in (None, Skip):
                print(f"--- log of {node.name}\n{node.log.read_text()[-3000:]}")
            node.kill()
            node.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.lan.__exit__()

    def start(self, *hosts, arguments=()):
        for i in hosts:
            home = f"{self.folder}/host{i}"
            if os.path.exists(f"{home}/node.json"):
                os.unlink(f"{home}/node.json")
            self.nodes[i] = Node(self.exo, self.folder, "", f"host{i}", "--log", "info", "--threads", "1", *arguments,
                                 prefix=("ip", "netns", "exec", self.lan.spaces[i]), loopback=False)
        for i in hosts:
            self.nodes[i].started()

    def stop(self, *hosts):
        for i in hosts:
            self.nodes[i].kill()
            self.nodes[i].process.wait()

    def run(self, i, *command):
        env = {**os.environ, "EXO_HOME": f"{self.folder}/host{i}", "NO_COLOR": "1"}
        return self.lan.run(i, self.exo, *command, env=env)

    def exo_of(self, i, *command):
        done = self.run(i, *command)
        assert done.returncode == 0, f"exo {' '.join(command)}: {done.stderr}{done.stdout}"
        return done.stdout

    def invite(self, i, *options):
        return json.loads(self.exo_of(i, "invite", "--json", *options))

    def join_at(self, i, code, at):
        """Without a search, which takes its time when nobody invites."""
        return self.run(i, "join", code, "--at", f"10.77.0.{at + 1}:{self.nodes[at].state['port']}")

    def devices(self, i):
        """Pairs of name and state: a name may be that of several keys."""
        return {(one["name"], one["state"]) for one in json.loads(self.exo_of(i, "devices", "--json"))}

    def alive(self, i):
        return {name for name, state in self.devices(i) if state in ("self", "alive")}

    def doctor(self, i, check):
        """What a host's doctor finds of this kind."""
        found = json.loads(self.run(i, "doctor", "--json").stdout)["checks"]
        return [one for one in found if one["id"] == check and one["state"] != "ok"]

    def connections(self, i):
        """Established TCP connections with other hosts: sessions, data and bulk links."""
        lines = self.lan.run(i, "ss", "-Htn", "state", "established").stdout.splitlines()
        return [line for line in lines if "127.0.0.1" not in line and "[::1]" not in line]

    def wait_alive(self, hosts):
        names = {f"host{i}" for i in hosts}
        for i in hosts:
            wait_for(f"host{i} to see {names}", lambda at=i: self.alive(at) == names, step=0.05)


def check_conversations(home):
    """Two members have what is written on one of them; the guest has no byte of it."""
    def ask(host, method, path, body=None):
        return home.lan.request(host, home.nodes[host].state["api_port"], method, path, body)
    made = ask(0, "POST", "/v1/conversations", {"title": "Kitchen secrets"})
    wait_for("the other member to have it",
             lambda: [one["id"] for one in ask(1, "GET", "/v1/conversations")["data"]] == [made["id"]])
    assert "guest" in ask(2, "GET", "/v1/conversations")["error"]["message"]
    for name in ("conversations.db", "conversations.db-wal"):
        file = f"{home.folder}/host2/{name}"
        assert not os.path.exists(file) or b"Kitchen secrets" not in open(file, "rb").read(), name


def check_guest(home):
    """The third host computes layers in the middle, has no secret, gets no conversations, and lets nobody in."""
    check_conversations(home)
    home.exo_of(0, "stop", "exo-tiny")
    plan = home.lan.post(1, home.nodes[1].state["api_port"], "/v1/internal/load", {"model": "exo-tiny", "spread": True},
                         home.nodes[1].api.token)
    assert [stage["node"] for stage in plan["stages"]][1] == "host2" and len(plan["stages"]) == 3, plan
    assert "exo" in home.exo_of(0, "run", "exo-tiny", "What is exo?", "--temperature", "0")
    assert home.run(2, "secret").returncode == 4
    for command in (["invite"], ["forget", "host0"], ["secret", "--rotate"], ["run", "exo-tiny", "Hi"],
                    ["rm", "exo-tiny", "--everywhere"], ["rotate-key"]):
        refused = home.run(2, *command)
        assert refused.returncode == 2 and "guest" in refused.stderr, refused


def test_two_fresh_devices_answer_together(exo):
    """From `exo up` to a joint answer by a typed code; wrong codes, an old code and strangers get nothing."""
    with Home(exo, 3) as home:
        begun = time.monotonic()
        home.start(0, 1, 2)
        refused = home.join_at(1, "000000", 0)
        assert refused.returncode == 4 and "exo invite" in refused.stderr, refused
        text = home.exo_of(0, "invite")
        code = re.search(r"exo join (\d{6})", text)[1]
        wrong = f"{(int(code) + 1) % 1000000:06}"
        refused = home.run(1, "join", wrong)
        assert refused.returncode == 2 and "wrong; 2 more tries" in refused.stderr, refused
        joined = home.exo_of(1, "join", f"{code[:3]} {code[3:]}")
        assert "joined the cluster of host0" in joined, joined
        home.wait_alive([0, 1])
        plan = home.lan.post(0, home.nodes[0].state["api_port"], "/v1/internal/load", {"model": "exo-tiny", "spread": True},
                             home.nodes[0].api.token)
        assert len(plan["stages"]) == 2, plan
        answer = home.exo_of(1, "run", "exo-tiny", "What is exo?", "--temperature", "0")
        assert "exo" in answer, answer
        print(f"  from exo up to a joint answer of two devices: {time.monotonic() - begun:.1f} s")
        assert home.join_at(2, code, 0).returncode == 4, "a code is good for one device"
        assert home.exo_of(0, "secret") == home.exo_of(1, "secret") != home.exo_of(2, "secret")
        # The third by a link, which needs no discovery; three wrong codes end an invitation.
        again = home.invite(1)
        for left in ("2 more tries", "1 more try", "last try"):
            refused = home.join_at(2, f"{(int(again['code']) + 1) % 1000000:06}", 1)
            assert left in refused.stderr, refused
        assert home.join_at(2, again["code"], 1).returncode == 4, "the invitation is over"
        assert home.run(2, "join", again["links"][0]).returncode == 4, "and its link with it"
        joined = home.exo_of(2, "join", home.invite(1, "--guest")["links"][0])
        assert "as a guest" in joined, joined
        home.wait_alive([0, 1, 2])
        check_guest(home)
        assert "link was used already" in home.run(0, "join", again["links"][0]).stderr
        audit = json.loads(home.exo_of(0, "audit", "--json"))
        events = [one["event"] for one in audit]
        assert events[:3] == ["wrong code", "trusted", "joined"], audit
        assert [one["detail"] for one in audit if one["name"] == "host2"] == ["as a guest"], audit
        home.stop(0, 1, 2)
        home.start(0, 1, 2)
        home.wait_alive([0, 1, 2])


def test_a_forgotten_device_gets_nothing(exo):
    """Within a second, after a restart of all others, also by a device that was away, and with the old secret."""
    with Home(exo, 4) as home:
        home.start(0, 2, 3)
        home.start(1, arguments=("--join", home.invite(0)["code"]))
        home.wait_alive([0, 1])
        for i in (2, 3):
            home.exo_of(i, "join", home.invite(0)["code"])
        home.wait_alive([0, 1, 2, 3])
        old_secret = home.exo_of(0, "secret")
        home.stop(2)  # away
        home.wait_alive([0, 1, 3])
        home.exo_of(1, "run", "exo-tiny", "Hi", "--spread", "--max-tokens", "4")
        assert len(home.connections(3)) > 2, "sessions, and the links of its stage"
        home.exo_of(0, "forget", "host3")
        cut = time.monotonic()
        wait_for("host3 to have no connection", lambda: not home.connections(3))
        took = time.monotonic() - cut
        print(f"  cut off by all {took:.2f} s after exo forget")
        within("to cut it off", took, 1.0)
        home.wait_alive([0, 1])
        assert "exo" in home.exo_of(1, "run", "exo-tiny", "What is exo?", "--temperature", "0")
        assert ("host3", "forgotten") in home.devices(0) & home.devices(1)
        def refusing():
            return [one for one in home.doctor(3, "members") if one["state"] == "problem"]
        # Each host says so at the next try of host3, which waits longer each time.
        wait_for("both to refuse it", lambda: {one["title"] for one in refusing()} == {"host0 is not let in", "host1 is not let in"})
        assert all("was removed from the cluster" in one["detail"] and "exo rotate-key" in one["fix"] for one in refusing()), refusing()
        away = home.doctor(0, "members")
        assert [one["title"] for one in away] == ["host2 is not here"], "that host3 is refused is as it was wanted"
        assert home.exo_of(0, "secret") != old_secret, "the forgotten device knows the old one"
        wait_for("host1 to have the new secret", lambda: home.exo_of(1, "secret") == home.exo_of(0, "secret"))
        home.stop(0, 1)
        home.start(0, 1, 2)  # the one that was away learns it from the others
        home.wait_alive([0, 1, 2])
        wait_for("host2 to know", lambda: ("host3", "forgotten") in home.devices(2))
        assert home.exo_of(2, "secret") == home.exo_of(0, "secret")
        assert home.alive(3) == {"host3"}
        # With a new key and the old secret it is a stranger.
        home.stop(3)
        key = pathlib.Path(f"{home.folder}/host3/key.pem")
        forgotten = key.read_bytes()
        key.unlink()
        home.start(3, arguments=("--peer", f"10.77.0.1:{home.nodes[0].state['port']}"))
        time.sleep(1.5)
        assert home.exo_of(3, "secret") == old_secret
        assert home.alive(3) == {"host3"} and "host3" not in home.alive(0) | home.alive(1) | home.alive(2)
        # Its owner gives it a new one with exo rotate-key.
        home.stop(3)
        key.write_bytes(forgotten)
        home.start(3)
        wait_for("the forgotten one to be refused", refusing)
        home.exo_of(3, "rotate-key")
        home.stop(3)
        home.start(3)
        assert key.read_bytes() != forgotten and home.alive(3) == {"host3"}
        # It may ask, and come back when a user has compared its new id.
        refused = home.join_at(3, "--ask", 2)
        assert refused.returncode == 5 and ("host3", "pending") in home.devices(2), refused
        asks = home.doctor(2, "trust")[0]
        assert asks["title"] == "a device asks to be let in" and "(host3)" in asks["detail"], asks
        assert home.run(2, "approve", "host3").returncode == 2, "anybody can have that name"
        home.exo_of(2, "approve", re.search(r"exo approve ([0-9a-f]{16})", refused.stderr)[1])
        joined = home.join_at(3, "--ask", 2)
        assert joined.returncode == 0, joined
        home.wait_alive([0, 1, 2, 3])


if __name__ == "__main__":
    main([test_two_fresh_devices_answer_together, test_a_forgotten_device_gets_nothing])
