#!/usr/bin/env python3
"""Who may ask: keys, TLS on an address, the admin token, and prefixes that no two keys share. A real node, Python's own TLS."""
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time

from lib import PATIENCE, TINY, Api, Node, cluster, main, restarted, wait_for

CHAT = {"model": "exo-tiny", "messages": [{"role": "user", "content": "What is exo?"}], "max_tokens": 4, "temperature": 0}


def run(exo, home, *arguments, code=0):
    done = subprocess.run([exo, *arguments], capture_output=True, text=True, timeout=PATIENCE,
                          env={**os.environ, "EXO_HOME": str(home), "NO_COLOR": "1"})
    assert done.returncode == code, (arguments, done)
    return done


def add_key(exo, home, *arguments):
    return run(exo, home, "key", "add", *arguments).stdout.strip()


class TlsApi(Api):
    """By TLS, with the node's own certificate as the one that is trusted."""

    def __init__(self, port, home, host="127.0.0.1"):
        super().__init__(port, host)
        self.trust = ssl.create_default_context(cafile=str(pathlib.Path(home) / "tls-cert.pem"))

    def connect(self):
        return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=self.trust)


def listening(exo, folder, *arguments, keys=("laptop",)):
    """A node that listens by TLS on loopback; its keys, by name."""
    home = pathlib.Path(folder) / "n"
    home.mkdir()
    made = {name: add_key(exo, home, name) for name in keys}
    node = Node(exo, folder, "", "n", "--listen", "127.0.0.1:0", *arguments,
                environment={"EXO_CLUSTER_SECRET": ""}).started()
    printed = wait_for("the address", lambda: re.search(r"https://127\.0\.0\.1:(\d+)/v1", node.log.read_text()))
    node.tls = TlsApi(int(printed[1]), home)
    return node, made


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def with_node(exo, test, *arguments, **settings):
    folder = tempfile.mkdtemp(prefix="exo-keys-")
    node = None
    try:
        node, keys = listening(exo, folder, *arguments, **settings)
        test(node, keys)
    except BaseException:
        if node is not None:
            print(node.log.read_text()[-3000:])
        raise
    finally:
        if node is not None:
            node.kill()
            node.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_listening_needs_a_key_first(exo):
    with tempfile.TemporaryDirectory(prefix="exo-keys-") as home:
        refused = run(exo, home, "up", "--loopback", "--port", "0", "--api-port", "0", "--listen", "127.0.0.1:0", code=2)
        assert "exo key add NAME" in refused.stderr, refused
        add_key(exo, home, "a")
        for wrong, word in {"example.home": "numeric address", "127.0.0.1:99999": "99999", "*": "numeric address"}.items():
            refused = run(exo, home, "up", "--listen", wrong, code=2)
            assert word in refused.stderr, refused
        for wrong in ("*", "null", "example.home"):
            assert "is no origin" in run(exo, home, "up", "--allow-origin", wrong, code=2).stderr
        refused = run(exo, home, "up", "--listen", "127.0.0.1:0", "--tls-cert", f"{home}/none.pem", code=2)
        assert "tls_key is missing" in refused.stderr, refused
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            refused = run(exo, home, "up", "--loopback", "--port", "0", "--api-port", "0", "--listen", address, code=1)
            assert "taken" in refused.stderr, refused


def test_the_api_by_tls_takes_keys_only(exo):
    def check(node, keys):
        api, key = node.tls, keys["laptop"]
        status, answer = api.post("/v1/chat/completions", CHAT)
        assert (status, answer["error"]["code"]) == (401, "missing_api_key"), answer
        status, answer = api.request("POST", "/v1/chat/completions", CHAT, bearer("sk-other"))
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key"), answer
        status, answer = api.request("POST", "/v1/chat/completions", CHAT, bearer(key))
        assert status == 200 and answer["choices"][0]["message"]["content"], answer
        message = {"model": "exo-tiny", "max_tokens": 4, "messages": CHAT["messages"]}
        status, answer = api.request("POST", "/v1/messages", message, {"x-api-key": key})
        assert status == 200 and answer["type"] == "message", answer
        assert api.request("POST", "/v1/internal/load", {"model": "exo-tiny"}, bearer(key))[0] == 403
        assert api.get("/health")[0] == 200
        # A stream, and the plain one beside it without a key.
        api.headers = lambda path: bearer(key)
        connection = api.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps({**CHAT, "stream": True}),
                           {"Content-Type": "application/json", **bearer(key)})
        assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
        assert node.api.post("/v1/chat/completions", CHAT)[0] == 200
        # Plain HTTP gets one sentence, and an older TLS none.
        with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            said = plain.recv(1000)
            assert said.startswith(b"HTTP/1.1 400 ") and b"https://" in said, said
        old = ssl.create_default_context(cafile=str(node.home / "tls-cert.pem"))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as plain:
                old.wrap_socket(plain, server_hostname="127.0.0.1")
            raise AssertionError("TLS 1.2 was spoken")
        except ssl.SSLError:
            pass
        # What is printed is the certificate's, and it has the names that are asked for.
        shown = re.search(r"SHA-256 ([0-9A-F:]{95})", node.log.read_text())[1]
        certificate = ssl.get_server_certificate(("127.0.0.1", api.port))
        assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest().upper() == shown.replace(":", "")
        TlsApi(api.port, node.home, "localhost").get("/health")
        for name in ("tls-key.pem", "admin-token", "api-keys.json"):
            assert (node.home / name).stat().st_mode & 0o777 == 0o600, name
        curl = shutil.which("curl")
        if curl:
            done = subprocess.run([curl, "-sS", "--cacert", str(node.home / "tls-cert.pem"), "-H", f"Authorization: Bearer {key}",
                                   f"https://127.0.0.1:{api.port}/v1/models"], capture_output=True, text=True, timeout=PATIENCE)
            assert "exo-tiny" in done.stdout, done
    with_node(exo, check)


def test_keys_come_and_go_while_a_node_runs(exo):
    def check(node, keys):
        ask = lambda key: node.tls.request("GET", "/v1/models", None, bearer(key))[0]
        later = add_key(exo, node.home, "phone", "--scope", "infer,models", "--rate", "3/min", "--quota", "1k")
        assert [ask(later) for _ in range(4)] == [200, 200, 200, 429]
        connection = node.tls.connect()
        connection.request("GET", "/v1/models", headers=bearer(later))
        answer = connection.getresponse()
        assert answer.status == 429 and 1 <= int(answer.headers["Retry-After"]) <= 20, answer.headers
        run(exo, node.home, "key", "rm", "laptop")
        assert ask(keys["laptop"]) == 401
        assert "there is no key" in run(exo, node.home, "key", "rm", "laptop", code=4).stderr
        assert "already" in run(exo, node.home, "key", "add", "phone", code=2).stderr
        assert "no scope 'king'" in run(exo, node.home, "key", "add", "x", "--scope", "king", code=2).stderr
        for option in (("--rate", "0"), ("--rate", "1/h"), ("--quota", "-1"), ("--quota", "1G")):
            assert option[0] in run(exo, node.home, "key", "add", "x", *option, code=2).stderr
        listed = json.loads(run(exo, node.home, "key", "list", "--json").stdout)
        assert [(one["name"], one["scopes"], one["rate_per_minute"], one["quota_per_day"]) for one in listed] \
            == [("phone", ["infer", "models"], 3, 1000)], listed
        assert later not in run(exo, node.home, "key", "list").stdout
        node.stop()
        listed = json.loads(run(exo, node.home, "key", "list", "--json").stdout)
        assert abs(listed[0]["last_used"] - time.time()) < 60, listed
    with_node(exo, check)


def test_a_quota_ends_answers_and_lasts(exo):
    def check(node, keys):
        key = add_key(exo, node.home, "q", "--quota", "60")
        ask = lambda: node.tls.request("POST", "/v1/completions", {
            "model": "exo-tiny", "prompt": "Once upon a time", "max_tokens": 1000, "temperature": 0}, bearer(key))
        status, answer = ask()
        assert status == 200 and answer["usage"]["completion_tokens"] <= 60, answer
        while status == 200:
            status, answer = ask()
        assert (status, answer["error"]["code"]) == (429, "insufficient_quota"), answer
        node.stop()
        again = restarted(exo, node, "--listen", "127.0.0.1:0", environment={"EXO_CLUSTER_SECRET": ""})
        try:
            assert again.api.request("POST", "/v1/completions", {"model": "exo-tiny", "prompt": "a"}, bearer(key))[0] == 429
        finally:
            again.stop()
    with_node(exo, check)


def test_internal_routes_need_the_token_on_loopback_too(exo):
    with cluster(exo, 1) as nodes:
        node, stranger = nodes[0], Api(nodes[0].api.port)
        for method, path, body in (("POST", "/v1/internal/load", {"model": "exo-tiny"}), ("GET", "/v1/internal/secret", None),
                                   ("POST", "/v1/internal/models", {"path": str(TINY)}), ("DELETE", "/v1/internal/models/x", None),
                                   ("POST", "/v1/internal/unload", {"model": "exo-tiny"})):
            status, answer = stranger.request(method, path, body)
            assert status == 401 and "admin-token" in answer["error"]["message"], (path, answer)
        assert stranger.post("/v1/chat/completions", CHAT)[0] == 200
        assert stranger.cluster()["instances"], "and views are open on this machine"
        # Commands send it by themselves; without it they say what is missing.
        run(exo, node.home, "stop", "exo-tiny")
        token = (node.home / "admin-token").read_text()
        (node.home / "admin-token").unlink()
        assert "admin-token" in run(exo, node.home, "stop", "exo-tiny", code=6).stderr
        (node.home / "admin-token").write_text(token)
        (node.home / "admin-token").chmod(0o600)
        # An admin key does the same.
        key = add_key(exo, node.home, "boss", "--scope", "admin")
        assert stranger.request("POST", "/v1/internal/load", {"model": "exo-tiny"}, bearer(key))[0] == 200


def test_pages_of_others_ask_only_where_they_are_listed(exo):
    with cluster(exo, 1, "--allow-origin", "https://Chat.Home/") as nodes:
        def ask(origin, method="POST", path="/v1/chat/completions", **headers):
            connection = nodes[0].api.connect()
            body = None if method == "OPTIONS" else json.dumps(CHAT if path != "/api/delete" else {"model": "none"})
            connection.request(method, path, body, {"Content-Type": "application/json", "Origin": origin,
                                                    **{name.replace("_", "-"): value for name, value in headers.items()}})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers.get("Access-Control-Allow-Origin")
        preflight = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}
        assert ask("https://chat.home", "OPTIONS", **preflight) == (204, "https://chat.home")
        assert ask("https://chat.home") == (200, "https://chat.home")
        assert ask("https://evil.example", "OPTIONS", **preflight) == (403, None)
        assert ask("https://evil.example") == (403, None)
        assert ask("https://chat.home", "DELETE", "/api/delete") == (401, "https://chat.home")
        assert nodes[0].api.request("DELETE", "/api/delete", {"model": "none"})[0] == 404, "no key from this machine"


def test_keys_share_no_prefixes_unless_told(exo):
    prompt = "The quick brown fox jumps over the lazy dog. " * 20
    body = {"model": "exo-tiny", "prompt": prompt, "max_tokens": 2, "temperature": 0}

    def cached(node, key):
        status, answer = node.tls.request("POST", "/v1/completions", body, bearer(key)) if key else node.api.post("/v1/completions", body)
        assert status == 200, answer
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"], answer["choices"][0]["text"]

    def apart(node, keys):
        first, text = cached(node, keys["a"])
        assert first == 0
        assert cached(node, keys["a"])[0] > 100
        for other in (keys["b"], ""):
            assert cached(node, other) == (0, text), "computed anew, and the same"
            assert cached(node, other)[0] > 100
    with_node(exo, apart, keys=("a", "b"))

    def together(node, keys):
        assert cached(node, keys["a"])[0] == 0
        assert cached(node, keys["b"])[0] > 100
        assert cached(node, "")[0] > 100
    with_node(exo, together, "--share-prefixes", keys=("a", "b"))


if __name__ == "__main__":
    main([test_listening_needs_a_key_first,
          test_the_api_by_tls_takes_keys_only,
          test_keys_come_and_go_while_a_node_runs,
          test_a_quota_ends_answers_and_lasts,
          test_internal_routes_need_the_token_on_loopback_too,
          test_pages_of_others_ask_only_where_they_are_listed,
          test_keys_share_no_prefixes_unless_told])
