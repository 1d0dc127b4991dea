"""Who counts as a member: strangers leave no trace, a node that stops has left, and does not come back by itself."""
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time

from lib import PATIENCE, Node, alive, cluster, main, restarted, wait_alive, wait_for

STRANGERS = 260  # more than the table of members holds


def hello(protocols=None):
    """The frame of a Hello without a proof: a FlatBuffers table in which every field has its default, or which has the oldest
    and the newest version of the protocol."""
    table = struct.pack("<IHHi", 8, 4, 4, 4)
    if protocols:
        table = struct.pack("<IHHHHiII", 12, 8, 12, 4, 8, 8, *protocols)
    return struct.pack("<4sHHIIQQ", b"EXO1", 0, 0, len(table), 0, 0, 0) + table


def connect_as_stranger(port, folder, number, protocols=None):
    """A connection with a key of its own that shows no proof, as hello(protocols) does; what came back until the other side closed."""
    pem = f"{folder}/{number}.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-days", "9",
                    "-keyout", pem, "-out", f"{pem}.crt"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(f"{pem}.crt", pem)
    answer = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain, context.wrap_socket(plain) as stream:
        stream.sendall(hello(protocols))
        try:
            while got := stream.recv(4096):
                answer += got
        except OSError:
            pass
    return answer


def test_strangers_take_nobodys_place(exo):
    with cluster(exo, 1) as nodes, tempfile.TemporaryDirectory() as folder:
        node = nodes[0]
        refused = sum(b"EXO1" in connect_as_stranger(node.state["port"], folder, i) for i in range(STRANGERS))
        assert refused > STRANGERS * 0.9, f"{refused} of {STRANGERS} were answered: the test does not reach the node"
        rows = node.api.cluster()["nodes"]
        assert len(rows) <= 10, f"{len(rows)} rows after {STRANGERS} strangers"
        late = Node(exo, node.home.parent, node.secret, "late").started()
        try:
            start = time.monotonic()
            wait_for("the member to be seen by both", lambda: len(alive(node)) == 2 and len(alive(late)) == 2)
            print(f"  {refused} strangers refused, {len(rows)} rows; a member was seen after {time.monotonic() - start:.1f} s")
        finally:
            late.kill()
            late.process.wait()


def test_a_graceful_stop_is_a_goodbye(exo):
    """Five nodes stop at the same time, four times."""
    with cluster(exo, 6) as nodes:
        watcher, others = nodes[0], nodes[1:]

        def states():
            return {n["name"]: n["state"] for n in watcher.api.cluster()["nodes"] if n["state"] != "self"}
        stopped = 0
        for _ in range(4):
            for i, node in enumerate(others):
                node.kill((signal.SIGTERM, signal.SIGINT)[i % 2])
            end = time.monotonic() + 3  # longer than a broken session has to come back
            for node in others:
                node.process.wait(PATIENCE)
            try:
                wait_for("all to have left", lambda: set(states().values()) == {"left"})
            except AssertionError as late:
                raise AssertionError(f"{late}: {states()}") from None
            while time.monotonic() < end:
                assert set(states().values()) == {"left"}, states()
                time.sleep(0.05)
            stopped += len(others)
            for i, node in enumerate(others):
                (node.home / "node.json").unlink(missing_ok=True)
                others[i] = nodes[i + 1] = Node(exo, node.home.parent, node.secret, node.name).started()
            wait_for("all to be back", lambda: len(alive(watcher)) == len(nodes))
        print(f"  {stopped} of {stopped} stops were seen as \"left\"")


def command(exo, node, *arguments, code=0):
    done = subprocess.run([exo, *arguments], env={**os.environ, "EXO_HOME": str(node.home)}, capture_output=True,
                          text=True, timeout=PATIENCE)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def write_conversation(node, title, text):
    """Begins a conversation with one message; returns its id."""
    status, made = node.api.post("/v1/conversations", {"title": title})
    assert status == 200, made
    path = f"/v1/conversations/{made['id']}/messages/{os.urandom(16).hex()}"
    status, answer = node.api.request("PUT", path, {"role": "user", "content": text})
    assert status == 200, answer
    return made["id"]


def messages_at(node, conversation):
    """What the messages of a conversation say; None where the device has no such conversation."""
    status, answer = node.api.get(f"/v1/conversations/{conversation}")
    return [one["content"] for one in answer["messages"]] if status == 200 else None


def wait_for_conversation(node, conversation, messages):
    wait_for(f"{node.name} to have {messages}", lambda: messages_at(node, conversation) == messages)


def test_a_device_gets_a_new_key(exo):
    """And the conversations: what one device wrote outlives it on the other, and what it missed comes when it is back."""
    with cluster(exo, 2) as [node, other]:
        old = node.api.cluster()["self"]
        first = write_conversation(node, "First", "written on one device")
        wait_for_conversation(other, first, ["written on one device"])
        found = other.api.get("/v1/conversations?search=devi")[1]["data"]
        assert [one["id"] for one in found] == [first], found
        answer = json.loads(command(exo, node, "rotate-key", "--json").stdout)
        assert answer["id"] != old and answer["state"] == "member", answer
        assert "already" in command(exo, node, "rotate-key", code=2).stderr
        # Until it is started again it takes part by the key that it has.
        wait_alive([node], 2)
        assert node.api.cluster()["self"] == old
        node.stop()
        assert messages_at(other, first) == ["written on one device"]
        second = write_conversation(other, "Second", "written while the other was away")
        assert other.api.request("DELETE", f"/v1/conversations/{first}")[0] == 200
        again = restarted(exo, node)
        try:
            assert again.api.cluster()["self"] == answer["id"]
            wait_alive([again, other], 2)
            wait_for_conversation(again, second, ["written while the other was away"])
            wait_for_conversation(again, first, None)
            trust = {one["id"]: one["state"] for one in other.api.get("/v1/internal/trust")[1]["devices"]}
            assert trust[answer["id"]] == "member" and trust[old] == "forgotten", trust
            assert other.name in command(exo, again, "devices").stdout
            listed = command(exo, other, "devices").stdout
            assert "forgotten: exo devices --all" in listed and old[:16] not in listed, listed
            assert old[:16] in command(exo, other, "devices", "--all").stdout
            assert "key replaced" in command(exo, again, "audit").stdout
            other.stop()
            wait_for("the other one to be away", lambda: len(alive(again)) == 1)
            assert "no other member is here" in command(exo, again, "rotate-key", code=5).stderr
        finally:
            again.stop()


if __name__ == "__main__":
    main([test_strangers_take_nobodys_place, test_a_graceful_stop_is_a_goodbye, test_a_device_gets_a_new_key])
