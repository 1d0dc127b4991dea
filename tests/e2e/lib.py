"""What the end-to-end tests share: real nodes in their own processes and folders, and their HTTP API.

Every process is ended by its id, every folder removed, every wait bounded. Nodes announce and connect
on the loopback interface only (or inside namespaces that a test made itself).

Other programs may hold up any process for seconds at any moment: a test waits for a state instead of a time, and never
relies on being quicker than a node. Figures of a stop-watch are bounded tightly only with EXO_WHOLE=1, on a machine that
does nothing else (within).
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Where tests find data is no setting of exo, which says so: what they start does not get it.
SHARED = pathlib.Path(os.environ.pop("EXO_SHARED", ROOT.parent / "shared")).resolve()
TINY = ROOT / "models" / "exo-tiny.gguf"
PATIENCE = 60  # seconds that a wait may last: much, for machines that are busy
WHOLE = os.environ.get("EXO_WHOLE", "") != ""  # nothing else runs here: figures count
BUSY = 20  # times as long as alone a step may take beside other programs, before something must be wrong


class Skip(Exception):
    """The test cannot run here; a failure under CI=true."""


def need_shared(*parts):
    path = SHARED.joinpath(*parts)
    if not path.exists():
        raise Skip(f"{path} is absent (EXO_SHARED)")
    return path


def wait_for(what, condition, seconds=PATIENCE, step=0.02):
    """Polls until condition() is truthy; its value. Raises with `what` after the limit."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(step)


# What makes the events of a chat so large (near 2 KB) that 400 of them do not fit between a node and its reader, who
# is small_socket(): about 450 KB.
WORDY = {"logprobs": True, "top_logprobs": 20}


def small_socket(host, port, timeout=PATIENCE):
    """A connection with hardly any room for what its reader has not read."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.settimeout(timeout)
    small.connect((host, port))
    return small


def within(what, took, limit):
    """A figure of a stop-watch: tight where EXO_WHOLE says that nothing else runs, and else only what no wait explains."""
    allowed = limit if WHOLE else BUSY * limit
    assert took < allowed, f"{what} took {took:.2f} s, at most {allowed} s were expected"


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

    def stream(self, path, body, held=False):
        """Yields the JSON of each event; the connection can be closed by closing the generator.

        held: this side has hardly room for what is not read yet, so that a node that has much to say cannot end before its
        reader has come near the end (see WORDY)."""
        connection = self.connect()
        if held:
            connection.sock = small_socket(self.host, self.port, self.timeout)
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

    def started(self, seconds=PATIENCE):
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
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
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


def wait_alive(nodes, count, seconds=PATIENCE):
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
