"""What the end-to-end tests share: real nodes in their own processes and folders, and their HTTP API.

Every process is ended by its id, every folder removed, every wait bounded. Nodes announce and connect
on the loopback interface only (or inside namespaces that a test made itself).
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("EXO_SHARED", ROOT.parent / "shared")).resolve()
TINY = ROOT / "models" / "exo-tiny.gguf"


class Skip(Exception):
    """The test cannot run here; a failure under CI=true."""


def need_shared(*parts):
    path = SHARED.joinpath(*parts)
    if not path.exists():
        raise Skip(f"{path} is absent (EXO_SHARED)")
    return path


def wait_for(what, condition, seconds=20.0, step=0.02):
    """Polls until condition() is truthy; its value. Raises with `what` after the limit."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(step)


class Api:
    """The HTTP API of one node; its token goes with the requests that need one."""

    def __init__(self, port, host="127.0.0.1", timeout=120, token=""):
        self.port, self.host, self.timeout, self.token = port, host, timeout, token

    def headers(self, path):
        return {"Authorization": f"Bearer {self.token}"} if self.token and path.startswith("/v1/internal/") else {}

    def connect(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        data = None if body is None else (body if isinstance(body, (bytes, str)) else json.dumps(body))
        sent = {"Content-Type": "application/json"} if data is not None else {}
        sent.update(self.headers(path) | (headers or {}))
        connection.request(method, path, body=data, headers=sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body):
        return self.request("POST", path, body)

    def cluster(self):
        return self.get("/v1/cluster")[1]

    def complete(self, model, prompt, **settings):
        """A raw completion; the parsed answer of a 200, else an AssertionError with the body."""
        body = {"model": model, "prompt": prompt, "temperature": 0, **settings}
        status, answer = self.post("/v1/completions", body)
        assert status == 200, f"status {status}: {answer}"
        return answer

    def stream(self, path, body):
        """Yields the JSON of each event; the connection can be closed by closing the generator."""
        connection = self.connect()
        connection.request("POST", path, body=json.dumps({**body, "stream": True}),
                           headers={"Content-Type": "application/json", **self.headers(path)})
        answer = connection.getresponse()
        try:
            if answer.status != 200:
                raise AssertionError(f"status {answer.status}: {answer.read().decode()}")
            for line in answer:
                line = line.strip()
                if line.startswith(b"data: ") and line != b"data: [DONE]":
                    yield json.loads(line[6:])
        finally:
            connection.close()


def admin_token(home):
    """What commands of the node's machine send; empty where its disk had no room for one."""
    path = pathlib.Path(home) / "admin-token"
    return path.read_text().strip() if path.exists() else ""


class Node:
    """One `exo up` in a process of its own."""

    def __init__(self, exo, folder, secret, name, *arguments, prefix=(), environment=None, loopback=True):
        self.secret = secret
        self.home = pathlib.Path(folder) / name
        self.home.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = self.home / "log"
        command = [*prefix, str(exo), "up", "--name", name, "--port", "0", "--api-port", "0", *arguments]
        if loopback:
            command.append("--loopback")
        env = {**os.environ, "EXO_HOME": str(self.home), "EXO_CLUSTER_SECRET": secret, "NO_COLOR": "1",
               **(environment or {})}
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)

    def started(self, seconds=20):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"node {self.name} ended: {self.log.read_text()[-2000:]}")
            try:
                state = json.loads((self.home / "node.json").read_text())
            except (OSError, ValueError):
                return None
            return state if state.get("pid") == self.process.pid or self.process.pid else None
        self.state = wait_for(f"node {self.name} to start", ready, seconds)
        self.api = Api(self.state["api_port"], token=admin_token(self.home))
        return self

    def kill(self, sig=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(sig)

    def stop(self):
        self.kill(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait(10)
            raise AssertionError(f"node {self.name} did not stop on SIGTERM: {self.log.read_text()[-2000:]}")


@contextlib.contextmanager
def cluster(exo, count, *arguments, environment=None):
    """`count` nodes that have found each other; stops them and removes their folders.

    environment: variables of all, or a function from a node's name to its own.
    """
    folder = tempfile.mkdtemp(prefix="exo-e2e-")
    nodes = []
    try:
        secret = subprocess.run([str(exo), "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
        of = environment if callable(environment) else lambda name: environment
        nodes = [Node(exo, folder, secret, name, *arguments, environment=of(name)) for name in (f"n{i + 1}" for i in range(count))]
        for node in nodes:
            node.started()
        wait_alive(nodes, count)
        yield nodes
    except BaseException:
        for node in nodes:
            print(f"--- log of {node.name}\n{node.log.read_text()[-3000:]}", file=sys.stderr)
        raise
    finally:
        for node in nodes:
            node.kill()
            node.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def restarted(exo, node, *arguments, environment=None):
    """A node that was stopped or killed, started again in its folder."""
    (node.home / "node.json").unlink(missing_ok=True)
    return Node(exo, node.home.parent, node.secret, node.name, *arguments, environment=environment).started()


def alive(node):
    return [n for n in node.api.cluster()["nodes"] if n["state"] in ("self", "alive")]


def wait_alive(nodes, count, seconds=20):
    for node in nodes:
        wait_for(f"{node.name} to see {count} nodes", lambda n=node: len(alive(n)) == count, seconds)


def main(tests):
    """Runs the named test functions with the path of exo; prints one line each and the closing count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--exo", default=str(ROOT / "build" / "release" / "exo"))
    parser.add_argument("only", nargs="*")
    options = parser.parse_args()
    exo = os.path.abspath(options.exo)  # tests run it from other folders, too
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nodes ignore it where whoever starts them does, as nohup
    passed = failed = skipped = 0
    script = sys.modules["__main__"]
    written = {name for name in vars(script) if name.startswith("test_")}
    if unlisted := written - {test.__name__ for test in tests}:
        sys.exit(f"tests that nothing runs: {', '.join(sorted(unlisted))}")
    if unknown := set(options.only) - {test.__name__ for test in tests}:
        sys.exit(f"no such test: {', '.join(sorted(unknown))}")
    for test in tests:
        if options.only and test.__name__ not in options.only:
            continue
        start = time.monotonic()
        try:
            test(exo)
            passed, word = passed + 1, "ok"
        except Skip as reason:
            if os.environ.get("CI") == "true":
                failed, word = failed + 1, f"FAILED: may not be skipped in CI: {reason}"
            else:
                skipped, word = skipped + 1, f"skipped: {reason}"
        except Exception:  # a test's failure must not hide the others
            traceback.print_exc()
            failed, word = failed + 1, "FAILED"
        print(f"{test.__name__:44s} {time.monotonic() - start:6.1f} s  {word}", flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
