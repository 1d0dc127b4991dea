#!/usr/bin/env python3
"""Frameworks (frameworks.mjs) and real agents (Claude Code, Codex, opencode) against a real node.

Each agent has a turn in which it reads a file with its own tool, and is given exo's own tools by MCP.
exo-tiny cannot think, so a proxy between agent and node changes a little in the requests that have tools. Before there is
a result, it requires a call of the tool that reads (`tool_choice`), whose arguments it narrows to the file of the test:
the node's grammar then writes exactly that call. Behind a result it says what the answer must be, so that it ends.
Requests without tools get a limit of tokens. All else goes through as it is, and every answer of the node must be a
success. exo-tiny's context of 512 positions is too short for what agents send, so its copy claims more.

Each is started by `exo launch`, which tells it where to ask; the note of the running node that exo reads for that names the
proxy's port.

The agents get loopback addresses only, dummy keys, a home of their own, and a proxy that refuses all other addresses.
Run by `make test-clients`; not by CI: the three are a gigabyte to fetch.
"""
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import clients_test  # noqa: E402
import lib  # noqa: E402
import npm  # noqa: E402

FOLDER = lib.ROOT / "build" / "agents"
CONTEXT = 32768
SECRET = "the kettle is blue"  # in the file that is read
ANSWER = {"type": "object", "properties": {"read": {"const": True}}, "required": ["read"], "additionalProperties": False}
QUESTION = "What does note.txt say?"
SIDE_TOKENS = 16
PATIENCE = 300  # seconds, of an agent: much, for machines that are busy
ANSWERED = re.compile(r'\{\s*"read"\s*:\s*true\s*\}')


def write_model(path):
    """exo-tiny with a context that holds what an agent sends."""
    data = lib.TINY.read_bytes()
    key = b"llama.context_length" + (4).to_bytes(4, "little")  # a u32
    at = data.index(key) + len(key)
    path.write_bytes(data[:at] + CONTEXT.to_bytes(4, "little") + data[at + 4:])


class Anthropic:
    """/v1/messages."""
    limit = "max_tokens"
    no_call = {"type": "none"}
    answer = {"output_config": {"format": {"type": "json_schema", "schema": ANSWER}}}

    @staticmethod
    def has_result(body):
        return any(part.get("type") == "tool_result" for message in body["messages"]
                   for part in message["content"] if isinstance(part, dict))

    @staticmethod
    def name(tool):
        return tool["name"]

    @staticmethod
    def call_of(name):
        return {"tool_choice": {"type": "tool", "name": name, "disable_parallel_tool_use": True}}

    @staticmethod
    def narrow(tool, schema):
        tool["input_schema"] = schema


class Responses:
    """/v1/responses."""
    limit = "max_output_tokens"
    no_call = "none"
    answer = {"text": {"format": {"type": "json_schema", "name": "answer", "schema": ANSWER}}}

    @staticmethod
    def has_result(body):
        return any(item.get("type") == "function_call_output" for item in body["input"])

    @staticmethod
    def name(tool):
        return tool.get("name")  # some tools have none

    @staticmethod
    def call_of(name):
        return {"tool_choice": {"type": "function", "name": name}, "parallel_tool_calls": False}

    @staticmethod
    def narrow(tool, schema):
        tool.update(parameters=schema, strict=True)


class Chat:
    """/v1/chat/completions."""
    limit = "max_tokens"
    no_call = "none"
    answer = {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER}}}

    @staticmethod
    def has_result(body):
        return any(message["role"] == "tool" for message in body["messages"])

    @staticmethod
    def name(tool):
        return tool["function"]["name"]

    @staticmethod
    def call_of(name):
        return {"tool_choice": {"type": "function", "function": {"name": name}}, "parallel_tool_calls": False}

    @staticmethod
    def narrow(tool, schema):
        tool["function"]["parameters"] = schema


DIALECTS = {"/v1/messages": Anthropic, "/v1/responses": Responses, "/v1/chat/completions": Chat}


class Proxy:
    """Between an agent and the node's port. `tool` is the agent's one that reads, `arguments` what it shall be called
    with."""

    def __init__(self, port, tool, arguments):
        self.port, self.tool = port, tool
        self.schema = {"type": "object", "properties": {name: {"const": value} for name, value in arguments.items()},
                       "required": list(arguments), "additionalProperties": False}
        self.requests = []  # (method, path, status, what the node said if it refused)
        self.results = []   # bodies that brought the tool's result
        self.offered = []   # names of tools of the last request that had some

    def change(self, path, body):
        dialect = DIALECTS.get(path.partition("?")[0])
        if dialect is None:
            return
        if not body.get("tools"):  # a title for the conversation and the like
            body[dialect.limit] = SIDE_TOKENS
            return
        self.offered = [dialect.name(tool) for tool in body["tools"]]
        if dialect.has_result(body):
            self.results.append(json.dumps(body))
            body.update(dialect.answer, tool_choice=dialect.no_call)
            return
        if self.tool in self.offered:
            dialect.narrow(body["tools"][self.offered.index(self.tool)], self.schema)
        body.update(dialect.call_of(self.tool))

    @contextlib.contextmanager
    def serving(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def handler(proxy):  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def forward(self):
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if data and self.headers.get_content_type() == "application/json" and "Content-Encoding" not in self.headers:
                    body = json.loads(data)
                    proxy.change(self.path, body)
                    data = json.dumps(body).encode()
                headers = {name: value for name, value in self.headers.items()
                           if name.lower() not in ("host", "content-length", "connection", "accept-encoding")}
                node = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=120)
                node.request(self.command, self.path, data or None, headers)
                answer = node.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                said = b""
                while piece := answer.read1(65536):
                    said = (said + piece)[-2000:]
                    with contextlib.suppress(OSError):  # an agent that has gone
                        self.wfile.write(piece)
                node.close()
                proxy.requests.append((self.command, self.path, answer.status, "" if answer.status < 400 else said.decode()))

            do_GET = do_POST = do_HEAD = do_DELETE = forward
        return Handler


def program(name):
    """An agent's program, of the packages of npm that hold it for this machine."""
    packages = json.loads((HERE / "agents.json").read_text())[npm.platform_name()]
    npm.install(FOLDER, {one: package["version"] for one, package in packages.items()})
    return next((FOLDER / "node_modules" / one / package["program"]) for one, package in packages.items()
                if package["agent"] == name)


def alone(home):
    """The environment of a program that finds nobody but this machine."""
    nowhere = "http://127.0.0.1:9"
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "TERM": "dumb",
            "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere, "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost"}


def note_of(node, port, folder):
    """A data folder whose node seems to be the one that runs, at another port."""
    folder.mkdir(mode=0o700)
    (folder / "node.json").write_text(json.dumps({**node.state, "api_port": port}))
    (folder / "admin-token").write_text(node.api.token)
    return folder


def turn(exo, agent, command, tool, arguments, told=SECRET):
    """A turn of `agent` in which it uses a tool, whose result must say what is `told`: what it printed, and the tools that
    it offered to the model. arguments(file) are the tool's; command(address, mcp) is (the agent's own arguments, environment,
    files of its home), where `mcp` are the words that start exo's tools."""
    path = program(agent)
    with tempfile.TemporaryDirectory(prefix="exo-agent-") as folder, lib.cluster(exo, 1) as nodes:
        root = pathlib.Path(folder)
        home, work = root / "home", root / "work"
        for one in (home, work, root / "bin"):
            one.mkdir()
        (root / "bin" / agent).symlink_to(path)
        write_model(root / "exo-agent.gguf")
        nodes[0].api.post("/v1/internal/models", {"path": str(root / "exo-agent.gguf")})
        status, loaded = nodes[0].api.post("/v1/internal/load", {"model": "exo-agent", "context": CONTEXT})
        assert status == 200, loaded
        (work / "note.txt").write_text(SECRET + "\n")
        proxy = Proxy(nodes[0].state["api_port"], tool, arguments(work / "note.txt"))
        with proxy.serving() as address:
            words, environment, files = command(address, [exo, "mcp"])
            for name, text in files.items():
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                (home / name).write_text(text)
            asked = note_of(nodes[0], int(address.rsplit(":", 1)[1]), root / "asked")
            env = {**alone(home), "EXO_HOME": str(asked), **environment}
            env["PATH"] = f"{root}/bin:{env['PATH']}"
            done = subprocess.run([exo, "launch", agent, "--model", "exo-agent", "--", *words], cwd=work, capture_output=True,
                                  text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, env=env)
    said = f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}\n{proxy.requests}\ntools: {proxy.offered}"
    refused = [one for one in proxy.requests if one[2] >= 400 and one[:3] != ("GET", "/mcp", 405)]  # no stream there
    assert not refused, f"the node refused {refused}\n{said}"
    assert any(told in result for result in proxy.results), f"no result of the tool came back\n{said}"
    assert done.returncode == 0, f"exit {done.returncode}\n{said}"
    return done.stdout, proxy.offered


def test_frameworks(exo):
    clients_test.run(exo, "frameworks.mjs", "frameworks.json", lib.ROOT / "build" / "frameworks")


def test_claude_code(exo):
    def command(_, mcp):
        servers = {"mcpServers": {"exo": {"command": mcp[0], "args": mcp[1:]}}}
        return (["-p", QUESTION, "--mcp-config", json.dumps(servers), "--verbose", "--output-format", "stream-json"],
                {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1",
                 "DISABLE_AUTOUPDATER": "1"}, {})
    printed, _ = turn(exo, "claude", command, "Read", lambda file: {"file_path": str(file)})
    events = [json.loads(line) for line in printed.splitlines()]
    assert "mcp__exo__chat" in events[0]["tools"], events[0]
    answer = events[-1]
    assert not answer["is_error"] and answer["num_turns"] == 2 and ANSWERED.fullmatch(answer["result"]), answer


def codex(_, mcp):
    config = f"""
check_for_update_on_startup = false
[analytics]
enabled = false
[mcp_servers.exo]
command = {json.dumps(mcp[0])}
args = {json.dumps(mcp[1:])}
env_vars = ["EXO_HOME"]
"""
    # What it may run is one command, which the grammar holds it to.
    return (["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json", QUESTION], {},
            {".codex/config.toml": config})


def codex_items(printed):
    """What Codex did, from its events; the last must be the answer."""
    events = [json.loads(line) for line in printed.splitlines()]
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    assert items[-1]["type"] == "agent_message" and ANSWERED.fullmatch(items[-1]["text"]), items
    return items


def test_codex(exo):
    printed, _ = turn(exo, "codex", codex, "exec_command", lambda file: {"cmd": f"cat {file}"})
    items = codex_items(printed)
    assert any(item["type"] == "command_execution" and SECRET in item["aggregated_output"] for item in items), items


def test_codex_calls_exo_by_mcp(exo):
    """Its tools of MCP servers are in namespaces."""
    printed, offered = turn(exo, "codex", codex, "mcp__exo__models", lambda _: {},
                            told=str(lib.TINY.stat().st_size))
    assert "mcp__exo" in offered, offered
    calls = [item for item in codex_items(printed) if item["type"] == "mcp_tool_call"]
    assert [(call["server"], call["tool"], call["status"]) for call in calls] == [("exo", "models", "completed")], calls


def test_opencode(exo):
    def command(address, _):
        config = {"$schema": "https://opencode.ai/config.json", "autoupdate": False, "share": "disabled",
                  "mcp": {"exo": {"type": "remote", "url": f"{address}/mcp", "enabled": True}}}
        return (["run", QUESTION],
                {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"},
                {".config/opencode/opencode.json": json.dumps(config)})
    printed, offered = turn(exo, "opencode", command, "read", lambda file: {"filePath": str(file)})
    assert "exo_chat" in offered, offered
    assert ANSWERED.search(printed), printed


if __name__ == "__main__":
    lib.main([test_frameworks, test_claude_code, test_codex, test_codex_calls_exo_by_mcp, test_opencode])
