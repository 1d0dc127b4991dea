"""A model hub and a registry of containers on this machine, for tests: real HTTP over TLS, redirects to a second
host, ranges, and everything that goes wrong with servers.

The hub's files come from a second port, as from a content network; it fails the test that sends the hub's token there.
"""
import hashlib
import http.server
import json
import pathlib
import re
import ssl
import subprocess
import threading
import time
import urllib.parse


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Repo:
    """Files by name, and how their server behaves."""

    def __init__(self, files, gated=False, private=False):
        self.files, self.gated, self.private = files, gated, private
        self.commit = sha256("".join(sorted(files)).encode() + b"".join(files.values()))[:40]
        self.lies = False      # other bytes than were announced
        self.cut_after = []    # for each of the next answers with a file: bytes after which the line is cut
        self.statuses = []     # for each of the next answers with a file: a status instead
        self.slow = 0          # seconds before each 64 KiB
        self.redirect = None   # where answers with files redirect to, in place of the second port


class Servers:
    """`with Servers(folder) as servers`: servers.hub and servers.registry are addresses."""

    def __init__(self, folder):
        self.repos, self.models, self.blobs = {}, {}, {}
        self.requests, self.failures = [], []
        self.sent = {}  # bytes of files, by name
        self.token = None
        self.lock = threading.Lock()
        self.certificate = pathlib.Path(folder) / "hub.pem"
        key = pathlib.Path(folder) / "hub.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                        "-keyout", str(key), "-out", str(self.certificate)], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.servers = [self._serve(context, handler) for handler in (Hub, Content)]
        self.hub = self.registry = f"https://localhost:{self.servers[0].server_port}"
        self.content = f"https://localhost:{self.servers[1].server_port}"

    def _serve(self, context, handler):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.state = self
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def environment(self, folder):
        """What a node needs to pull from here into `folder`."""
        folder = pathlib.Path(folder)
        return {"HF_ENDPOINT": self.hub, "HF_HOME": str(folder / "hf"), "HF_TOKEN": "", "HF_HUB_CACHE": "",
                "OLLAMA_MODELS": str(folder / "ollama"), "EXO_REGISTRY": self.registry,
                "SSL_CERT_FILE": str(self.certificate), "https_proxy": "", "no_proxy": "*"}

    def add_model(self, name, tag, data, template="{{ .Prompt }}"):
        """A model of the registry."""
        layers = []
        for kind, blob in (("model", data), ("template", template.encode())):
            self.blobs[sha256(blob)] = blob
            layers.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{sha256(blob)}",
                           "size": len(blob)})
        self.models[f"{name}:{tag}"] = {"schemaVersion": 2, "layers": layers}

    def asked(self, part):
        """Requests so far whose path holds `part`."""
        with self.lock:
            return [path for path in self.requests if part in path]


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *unused):
        pass

    @property
    def state(self):
        return self.server.state

    def answer(self, status, body=b"", **fields):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def send_file(self, name, data, repo=None):
        """The range that is asked for, and what may go wrong on the way."""
        if repo is not None and repo.statuses:
            return self.answer(repo.statuses.pop(0), Retry_After="1")
        begin, end = 0, len(data)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked:
            begin, end = int(asked[1]), min(int(asked[2]) + 1, len(data))
            if begin >= len(data):
                return self.answer(416, Content_Range=f"bytes */{len(data)}")
        part = data[begin:end]
        if repo is not None and repo.lies and len(part) > 100:
            part = part[:-1] + bytes([part[-1] ^ 1])
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{sha256(data)[:16]}"')
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        self.end_headers()
        cut = repo.cut_after.pop(0) if repo is not None and repo.cut_after and len(part) > 100 else None
        for at in range(0, len(part), 65536):
            piece = part[at:at + 65536] if cut is None else part[at:min(at + 65536, cut)]
            if repo is not None and repo.slow:
                time.sleep(repo.slow)
            self.wfile.write(piece)
            with self.state.lock:
                self.state.sent[name] = self.state.sent.get(name, 0) + len(piece)
            if cut is not None and at + 65536 >= cut:
                self.close_connection = True
                self.connection.close()
                return None
        return None

    def do_GET(self):
        with self.state.lock:
            self.state.requests.append(self.path)
        try:
            self.route(urllib.parse.urlsplit(self.path))
        except (BrokenPipeError, ConnectionError, ssl.SSLError, OSError):
            self.close_connection = True


class Hub(Answers):
    """/api/models/…, /OWNER/REPO/resolve/…; /v2/… of the registry."""

    def route(self, url):
        words = url.path.strip("/").split("/")
        if words[:2] == ["api", "models"] and len(words) >= 6 and words[4] == "revision":
            return self.describe("/".join(words[2:4]), "/".join(words[5:]))
        if len(words) >= 5 and words[2] == "resolve":
            return self.resolve("/".join(words[:2]), words[3], urllib.parse.unquote("/".join(words[4:])))
        if words[0] == "v2" and len(words) == 5:
            return self.registry("/".join(words[1:3]), words[3], words[4])
        return self.answer(404)

    def authorized(self):
        return self.state.token and self.headers.get("Authorization") == f"Bearer {self.state.token}"

    def describe(self, name, revision):
        repo = self.state.repos.get(name)
        if repo is None or (repo.private and not self.authorized()):
            return self.answer(401, {"error": "Invalid username or password."}, X_Error_Code="RepoNotFound")
        if revision not in ("main", repo.commit):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        siblings = [{"rfilename": file, "size": len(data), "lfs": {"sha256": sha256(data), "size": len(data)}}
                    for file, data in repo.files.items()]
        return self.answer(200, {"sha": repo.commit, "siblings": siblings}, X_Repo_Commit=repo.commit)

    def resolve(self, name, commit, file):
        repo = self.state.repos.get(name)
        if repo is None or commit != repo.commit or file not in repo.files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        if repo.gated and not self.authorized():
            return self.answer(403, {"error": "gated"}, X_Error_Code="GatedRepo")
        target = repo.redirect or f"{self.state.content}/{name}/{urllib.parse.quote(file)}"
        return self.answer(302, Location=target, X_Repo_Commit=commit,
                           X_Linked_Etag=f'"{sha256(repo.files[file])}"', X_Linked_Size=str(len(repo.files[file])))

    def registry(self, name, kind, key):
        if kind == "manifests":
            manifest = self.state.models.get(f"{name}:{key}")
            return self.answer(200, manifest) if manifest else self.answer(404)
        digest = key.removeprefix("sha256:")
        if kind != "blobs" or digest not in self.state.blobs:
            return self.answer(404)
        return self.answer(307, Location=f"{self.state.content}/blobs/{digest}")


class Content(Answers):
    """Where the hub and the registry send their clients for bytes."""

    def route(self, url):
        if self.headers.get("Authorization"):
            self.state.failures.append(f"the token came along to {self.path}")
        owner, name, *rest = urllib.parse.unquote(url.path).strip("/").split("/")
        if owner == "blobs":
            return self.send_file(name, self.state.blobs[name])
        repo = self.state.repos[f"{owner}/{name}"]
        file = "/".join(rest)
        return self.send_file(file, repo.files[file], repo)
