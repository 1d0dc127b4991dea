"""A LAN of network namespaces: three hosts on a bridge find each other, also with mDNS blocked, and answer.

Needs root (namespaces); everything it makes it removes. The namespaces have no way out of this machine.
"""
import json
import os
import subprocess
import tempfile
import shutil
import time

from lib import PATIENCE, Node, Skip, main, wait_for, within

PREFIX = f"exo{os.getpid() % 10000}"


def ip(*arguments, check=True):
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


class Lan:
    """`count` namespaces with an address each on one bridge, which lives in a namespace of its own."""

    def __init__(self, count, ipv6_only=False):
        self.ipv6_only = ipv6_only
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        if not shutil.which("ip"):
            raise Skip("network namespaces need the program ip (iproute2)")
        self.spaces = [f"{PREFIX}h{i}" for i in range(count)]
        self.switch = f"{PREFIX}sw"

    def __enter__(self):
        """Skips where a container or chroot forbids namespaces, bridges or their links."""
        try:
            self.make()
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            said = getattr(error, "stderr", "") or str(error)
            raise Skip(f"network namespaces cannot be made here: {said.strip()}") from None
        return self

    def make(self):
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for i, space in enumerate(self.spaces):
            ip("netns", "add", space)
            ip("link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", f"p{i}", "netns", self.switch)
            ip("-n", self.switch, "link", "set", f"p{i}", "master", "br0", "up")
            if not self.ipv6_only:
                ip("-n", space, "addr", "add", f"10.77.0.{i + 1}/24", "brd", "+", "dev", "eth0")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "eth0", "up")
            if self.ipv6_only:
                wait_for("a link-local address", lambda: " tentative " not in self.addresses(space))
        # Entering one is another permission than making one.
        subprocess.run(["ip", "netns", "exec", self.spaces[0], "true"], check=True, capture_output=True, text=True)

    @staticmethod
    def addresses(space):
        text = ip("-n", space, "-6", "addr", "show", "dev", "eth0").stdout
        return text if "fe80" in text else " tentative "

    def __exit__(self, *_):
        for space in [*self.spaces, self.switch]:
            try:
                ip("netns", "del", space, check=False)
            except OSError:
                pass  # no ip here: nothing was made

    def run(self, i, *command, **settings):
        return subprocess.run(["ip", "netns", "exec", self.spaces[i], *command], capture_output=True, text=True,
                              timeout=2 * PATIENCE, **settings)

    def filter(self, rules):
        for i in range(len(self.spaces)):
            try:
                done = self.run(i, "nft", rules)
            except OSError as error:
                raise Skip(f"packet filters cannot be set here: {error}") from None
            if done.returncode != 0:
                raise Skip(f"packet filters cannot be set here: {done.stderr.strip()}")

    def block_mdns(self):
        self.filter("add table inet f; add chain inet f i { type filter hook input priority 0; }; "
                    "add chain inet f o { type filter hook output priority 0; }; "
                    "add rule inet f i udp dport 5353 drop; add rule inet f o udp dport 5353 drop")

    def block_discovery(self):
        self.filter("add table inet f; add chain inet f o { type filter hook output priority 0; }; "
                    "add rule inet f o meta l4proto udp drop")

    def view(self, i, port, exo):
        """/v1/cluster of a node, asked from inside its namespace."""
        script = ("import http.client,sys;c=http.client.HTTPConnection('127.0.0.1',int(sys.argv[1]),timeout=60);"
                  "c.request(sys.argv[2],sys.argv[3],sys.argv[4] or None,{'Content-Type':'application/json'});"
                  "print(c.getresponse().read().decode())")
        done = self.run(i, "/usr/bin/python3", "-c", script, str(port), "GET", "/v1/cluster", "")
        return json.loads(done.stdout)

    def request(self, i, port, method, path, body=None, token=""):
        script = ("import http.client,sys;c=http.client.HTTPConnection('127.0.0.1',int(sys.argv[1]),timeout=60);"
                  "c.request(sys.argv[2],sys.argv[3],sys.argv[4] or None,"
                  "{'Content-Type':'application/json','Authorization':sys.argv[5]});"
                  "print(c.getresponse().read().decode())")
        return json.loads(self.run(i, "/usr/bin/python3", "-c", script, str(port), method, path,
                                   "" if body is None else json.dumps(body), f"Bearer {token}").stdout)

    def post(self, i, port, path, body, token=""):
        return self.request(i, port, "POST", path, body, token)


class Watcher:
    """Waits inside a namespace until a node sees `count` members: to start it then would take longer than what it measures."""

    SCRIPT = '''
import http.client, json, sys, time
print("watching", flush=True)
while True:
    try:
        c = http.client.HTTPConnection("127.0.0.1", json.load(open(sys.argv[1]))["api_port"], timeout=10)
        c.request("GET", "/v1/cluster")
        if sum(n["state"] in ("self", "alive") for n in json.load(c.getresponse())["nodes"]) == int(sys.argv[2]):
            print(time.time(), flush=True)
            break
    except (OSError, ValueError):
        pass
    time.sleep(0.02)
'''

    def __init__(self, space, note, count):
        self.process = subprocess.Popen(["ip", "netns", "exec", space, "/usr/bin/python3", "-c", self.SCRIPT, note, str(count)],
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "watching\n"

    def result(self, seconds):
        return float(self.process.communicate(timeout=seconds)[0])

    def kill(self):
        self.process.kill()


def find_each_other(exo, block_mdns, limit, ipv6_only=False):
    nodes, watchers = [], []
    secret = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
    with Lan(3, ipv6_only) as lan:
        folder = tempfile.mkdtemp(prefix="exo-lan-")
        try:
            if block_mdns:
                lan.block_mdns()
            watchers = [Watcher(space, f"{folder}/host{i}/node.json", len(lan.spaces)) for i, space in enumerate(lan.spaces)]
            start = time.time()
            for i, space in enumerate(lan.spaces):
                nodes.append(Node(exo, folder, secret, f"host{i}", prefix=("ip", "netns", "exec", space), loopback=False))
            for node in nodes:
                node.started()
            up = time.time()
            found = max(watcher.result(PATIENCE) for watcher in watchers)
            seconds = found - start
            print(f"  found each other {seconds:.2f} s after the start{' without mDNS' if block_mdns else ''}, "
                  f"{found - up:.2f} s after the last was up")
            within("to find each other", seconds, limit)
            port = nodes[0].state["api_port"]
            plan = lan.post(0, port, "/v1/internal/load", {"model": "exo-tiny", "spread": True},
                            nodes[0].api.token)
            assert len(plan["stages"]) == 3, plan
            answer = lan.post(2, nodes[2].state["api_port"], "/v1/chat/completions", {
                "model": "exo-tiny", "messages": [{"role": "user", "content": "What is exo?"}], "temperature": 0})
            assert "exo" in answer["choices"][0]["message"]["content"], answer
            print(f"  over the bridge: {answer['exo']['tokens_per_second']:.0f} tokens/s")
        except Skip:
            raise
        except BaseException:
            for node in nodes:
                print(node.log.read_text()[-2000:])
            raise
        finally:
            for one in [*watchers, *nodes]:
                one.kill()
                one.process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def test_three_hosts_find_each_other(exo):
    find_each_other(exo, block_mdns=False, limit=2.0)


def test_three_hosts_find_each_other_without_mdns(exo):
    find_each_other(exo, block_mdns=True, limit=5.0)


def test_three_hosts_find_each_other_over_ipv6_alone(exo):
    find_each_other(exo, block_mdns=False, limit=2.0, ipv6_only=True)


def test_three_hosts_find_each_other_over_ipv6_alone_without_mdns(exo):
    find_each_other(exo, block_mdns=True, limit=2.0, ipv6_only=True)


def remembers(node, address):
    """Whether it has written down that another one was there; the database is its own as long as it runs."""
    return any(address.encode() in path.read_bytes() for path in node.home.glob("state.db*"))


def test_remembered_addresses_bring_a_cluster_back(exo):
    """Joined once by --peer, then both lose their power; no discovery works."""
    nodes = []
    secret = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
    with Lan(2) as lan:
        folder = tempfile.mkdtemp(prefix="exo-lan-")
        try:
            lan.block_discovery()

            def start(i, *arguments):
                prefix = ("ip", "netns", "exec", lan.spaces[i])
                nodes[i:i + 1] = [Node(exo, folder, secret, f"host{i}", *arguments, prefix=prefix, loopback=False).started()]

            def met():
                return all(sum(n["state"] in ("self", "alive") for n in lan.view(i, node.state["api_port"], exo)["nodes"]) == 2
                           for i, node in enumerate(nodes))
            start(0)
            start(1, "--peer", f"10.77.0.1:{nodes[0].state['port']}")
            wait_for("the two hosts to meet by --peer", met)
            wait_for("each to have written down where the other is", lambda: all(
                remembers(node, f"10.77.0.{2 - i}") for i, node in enumerate(nodes)))
            for node in nodes:
                node.kill()
                node.process.wait()
                (node.home / "node.json").unlink(missing_ok=True)
            for i in range(2):
                start(i)
            began = time.monotonic()
            wait_for("the two hosts to find each other again", met)
            seconds = time.monotonic() - began
            print(f"  found each other again {seconds:.2f} s after the start, by remembered addresses alone")
            within("to find each other again", seconds, 5)
        except BaseException:
            for node in nodes:
                print(node.log.read_text()[-2000:])
            raise
        finally:
            for node in nodes:
                node.kill()
                node.process.wait()
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main([test_remembered_addresses_bring_a_cluster_back, test_three_hosts_find_each_other, test_three_hosts_find_each_other_without_mdns,
          test_three_hosts_find_each_other_over_ipv6_alone, test_three_hosts_find_each_other_over_ipv6_alone_without_mdns])
