"""The command line where things go wrong: lost output, odd bytes, mistakes, signals, settings."""
import contextlib
import http.server
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from lib import PATIENCE, TINY, Api, Node, Skip, cluster, main, restarted, wait_for, within

ESCAPE = "\x1b[31m"


def run(exo, *arguments, home="/nonexistent", env=None, **settings):
    settings.setdefault("stdin", None if "input" in settings else subprocess.DEVNULL)
    if "input" in settings:
        settings.pop("stdin")
    if "stdout" not in settings:
        settings["stdout"] = subprocess.PIPE
    settings.setdefault("stderr", subprocess.PIPE)
    return subprocess.run([exo, *arguments], timeout=3 * PATIENCE,
                          env={**os.environ, "EXO_HOME": str(home), **(env or {})}, **settings)


def stop(process, number, limit):
    """Ends a process by a signal, in less than `limit` seconds where nothing else runs; its exit code."""
    start = time.monotonic()
    process.send_signal(number)
    process.wait(PATIENCE)
    within("the end", time.monotonic() - start, limit)
    return process.returncode


def test_a_node_serves_whatever_becomes_of_its_log(exo):
    """stderr full, closed, or a pipe that nobody reads; each with a warning to log at the start."""
    reader, unread = os.pipe()
    gone_reader, gone = os.pipe()
    os.close(gone_reader)
    while True:  # a reader that sleeps: the pipe is full
        os.set_blocking(unread, False)
        try:
            os.write(unread, b"x" * 65536)
        except BlockingIOError:
            break
    os.set_blocking(unread, True)
    with open("/dev/full", "w") as full:
        for what, arguments in {"full": {"stderr": full}, "gone": {"stderr": gone}, "unread": {"stderr": unread},
                                "closed": {"preexec_fn": lambda: os.close(2)},
                                "both closed": {"preexec_fn": lambda: os.closerange(0, 3)},
                                "stdout full": {"stdout": full, "stderr": full}}.items():
            with tempfile.TemporaryDirectory() as folder:
                os.makedirs(f"{folder}/home/models")
                with open(f"{folder}/home/models/bad.gguf", "w") as bad:
                    bad.write("no model")
                settings = {"stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL, **arguments}
                process = subprocess.Popen(
                    [exo, "up", "--loopback", "--port", "0", "--api-port", "0", "--name", "x"], **settings,
                    env={**os.environ, "EXO_HOME": f"{folder}/home", "EXO_LOG": "debug"})
                try:
                    wait_for(f"the node with its log {what}", lambda: os.path.exists(f"{folder}/home/node.json"))
                    node = json.load(open(f"{folder}/home/node.json"))
                    assert Api(node["api_port"]).complete("exo-tiny", "Once", max_tokens=3)["choices"][0]["text"]
                    assert process.poll() is None, what
                    code = stop(process, signal.SIGTERM, 2)
                    assert code == 0, (what, code)
                finally:
                    process.kill()
                    process.wait()
    for fd in (reader, unread, gone):
        os.close(fd)


def test_log_lines_carry_time_level_and_node_and_no_control_characters(exo):
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(f"{folder}/n/models")
        with open(f"{folder}/n/models/a{ESCAPE}\nb.gguf", "w") as bad:
            bad.write("no model")
        node = Node(exo, folder, "", "n", environment={"EXO_LOG": "info"}).started()
        try:
            wait_for("the warning", lambda: "leaving out" in node.log.read_text())
        finally:
            node.stop()
        lines = [line for line in node.log.read_text().split("\n") if "leaving out" in line]
        assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning n(/[0-9a-f]{8})?: ", lines[0]), lines
        assert "\x1b" not in node.log.read_text() and "\\x1b[31m\\nb" in lines[0], lines


def test_lost_output_is_exit_1_and_a_word(exo):
    with cluster(exo, 1) as nodes, open("/dev/full", "w") as full:
        node = nodes[0]
        node.api.complete("exo-tiny", "Once", max_tokens=1)
        commands = [["models"], ["devices"], ["ps"], ["models", "--json"], ["plan", "exo-tiny"], ["secret"],
                    ["secret", "--new"], ["config"], ["--help"], ["run", "--help"], ["--version"],
                    ["run", "exo-tiny", "hi", "--max-tokens", "3"], ["run", "exo-tiny", "hi", "--max-tokens", "3", "--json"],
                    ["bench", "--model", str(TINY), "--pp", "4", "--tg", "2", "--runs", "1", "--json"]]
        for command in commands:
            done = run(exo, *command, home=node.home, stdout=full)
            assert done.returncode == 1 and b"standard output cannot be written" in done.stderr, (command, done)
        closed = run(exo, "models", home=node.home, preexec_fn=lambda: os.close(1))
        assert closed.returncode == 1 and b"standard output cannot be written" in closed.stderr, closed
        many = run(exo, "tokenize", "--model", str(TINY), input=b"word " * 20000, stdout=full)
        assert many.returncode == 1 and b"standard output" in many.stderr, many
        # A reader that has seen enough is no fault.
        head = subprocess.run(f"'{exo}' tokenize --model '{TINY}' < '{exo}' | head -1", shell=True, capture_output=True)
        assert head.returncode == 0 and head.stderr == b"" and head.stdout.count(b"\n") == 1, head


def test_bytes_that_are_not_utf8_are_replaced_or_refused(exo):
    with cluster(exo, 1) as nodes, tempfile.TemporaryDirectory() as folder:
        home = nodes[0].home
        done = run(exo, "run", "exo-tiny", "--max-tokens", "3", "--json", home=home, input=b"caf\xe9 \xff\xfe")
        assert done.returncode == 0 and b"not UTF-8" in done.stderr and json.loads(done.stdout), done
        done = run(exo, "run", "exo-tiny", b"caf\xe9", "--max-tokens", "3", home=home)
        assert done.returncode == 0, done
        path = os.path.join(os.fsencode(folder), b"caf\xe9.gguf")
        with open(path, "wb") as out:
            out.write(TINY.read_bytes())
        for command in ["run", "plan", "stop"]:
            done = run(exo, command, path, *([] if command != "run" else ["hi"]), home=home)
            assert done.returncode == 2 and b"not UTF-8" in done.stderr, (command, done)
            done = run(exo, command, b"caf\xe9", *([] if command != "run" else ["hi"]), home=home)
            assert done.returncode == 4, (command, done)
        out = os.path.join(os.fsencode(folder), b"out\xe9")
        for command in [["bench", "--model", path, "--pp", "2", "--tg", "2", "--runs", "1"],
                        ["logits", "--model", path, "--prompt", "a", "--out", out],
                        ["quantize", path, out, "Q8_0", "--force"], ["tokenize", "--model", path]]:
            done = run(exo, *command, "--json", home=home, input=b"")
            assert done.returncode == 0 and json.loads(done.stdout), (command, done)


def escaped(done):
    assert done.returncode == 0 and b"\x1b" not in done.stdout and b"\\x1b[31m\\n" in done.stdout, done


@contextlib.contextmanager
def cluster_that_says(answer):
    """Answers every GET with `answer`; yields the variable that leads exo's commands there."""
    class Handler(http.server.BaseHTTPRequestHandler):
        server_version = "exo"

        def do_GET(self):
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"EXO_API_PORT": str(server.server_address[1])}
        server.shutdown()


def test_names_with_control_characters_are_escaped(exo):
    with cluster(exo, 1) as nodes, tempfile.TemporaryDirectory() as folder:
        node = nodes[0]
        path = f"{folder}/m{ESCAPE}\nx.gguf"
        assert run(exo, "quantize", TINY, path, "Q4_0").returncode == 0  # not exo-tiny's contents
        assert run(exo, "run", path, "hi", "--max-tokens", "2", home=node.home).returncode == 0
        for command in [["ps"], ["models"], ["plan", path]]:
            escaped(run(exo, *command, home=node.home))
        missing = run(exo, "run", f"no{ESCAPE}\nsuch", "hi", home=node.home)
        assert missing.returncode == 4 and b"\x1b" not in missing.stderr, missing
    # No setting gives a device such a name; a node of another make may tell one.
    other = {"name": f"o{ESCAPE}\nther", "id": "ab" * 32, "state": "online", "memory_budget": 1, "memory_total": 2,
             "decode_gbps": 1.0, "prefill_gops": 1.0}
    with cluster_that_says({"nodes": [other], "instances": []}) as port:
        escaped(run(exo, "devices", env=port))


def test_mistakes_are_named(exo):
    for arguments, words in {
            ("nope",): [b"there is no command nope"],
            ("model",): [b"no command model", b"did you mean models?"],
            ("run", "m", "hi", "--temprature", "1"): [b"--temprature", b"did you mean --temperature?"],
            ("bench", "--model", "m", "--replay", "f", "--depth", "3"): [b"--replay", b"--depth"],
            ("bench", "--model", "m", "--replay", "f", "--batch", "3"): [b"--replay", b"--batch"],
            ("up", "--lora", "exo-tiny=a.gguf:nan"): [b"'nan'", b"adapter"],
            ("run", "m", "hi", "--temperature", "nan"): [b"nan is not a number from 0 to 2"],
            ("run", "m", "hi", "--temperature", "inf"): [b"inf is not a number"],
            ("run", "m", "hi", "--temperature", "-0.5"): [b"-0.5 is not a number"],
            ("run", "m", "hi", "--max-tokens", "0"): [b"0 is not a number from 1"],
            ("run", "m", "hi", "--seed", "99999999999999999999"): [b"--seed", b"not a whole number of 64 bits"],
            ("run", "m", "hi", "--seed", "1.5"): [b"1.5 is not a whole number"],
            ("logits", "--model", str(TINY), "--prompt", "a", "--out", str(TINY)): [b"is the model that is read"],
            ("logits", "--model", str(TINY), "--prompt", "a", "--out", "/"): [b"not a regular file"],
            ("bench", "--model", "m", "--threads", "0"): [b"from 1 to 1024"],
            ("bench", "--model", "m", "--pp", "-5"): [b"--pp"],
            ("up", "--threads", "many"): [b"--threads", b"an integer from 1 to 1024"],
            ("up", "--port", "70000"): [b"70000", b"from 0 to 65535"],
            ("up", "--memory-limit", "nan"): [b"nan", b"a size"],
            ("demo", "--nodes", "17"): [b"17 is not a number from 1 to 16"],
            ("key", "ad"): [b"there is no command ad; did you mean add?; exo key --help"],
            ("run",): [b"exo run: MODEL is required"],
            ("launch", "cladue"): [b"did you mean claude?"],
            ("completions", "csh"): [b"bash, zsh or fish"]}.items():
        done = run(exo, *arguments)
        assert done.returncode == 2 and all(word in done.stderr for word in words), (arguments, done)


def test_alone_it_says_what_to_do_next(exo):
    """And the views that lead on from there: lists, what a model is, another program, completions, the manual."""
    nothing = run(exo)
    assert nothing.returncode == 0 and b"exo up" in nothing.stdout and not nothing.stderr, nothing
    with cluster(exo, 1) as (node,), tempfile.TemporaryDirectory() as folder:
        def said(*arguments, code=0, **settings):
            done = run(exo, *arguments, home=node.home, **settings)
            assert done.returncode == code, (arguments, done)
            return (done.stdout + done.stderr).decode()
        wait_for("the model", lambda: node.api.get("/v1/models")[1]["data"])
        assert f"exo runs on n1, alone (http://localhost:{node.api.port})" in said()
        assert "exo run exo-tiny" in said() and "exo invite" in said()
        assert said("ls") == said("list") == said("models") and said("models", "--names") == "exo-tiny\n"
        assert said("devices", "--names") == "n1\n"
        shown = json.loads(said("show", "exo-tiny", "--json"))
        assert shown["path"].endswith("exo-tiny.gguf") and shown["devices"] == ["n1"] and shown["parameters"] > 0, shown
        assert "completion" in shown["capabilities"] and shown["context_length"] == 512, shown
        assert shown["path"] in said("show", "exo-tiny")
        assert "did you mean exo-tiny?" in said("show", "exo-tyni", code=4)
        assert "did you mean exo-tiny?" in said("run", "exo-tyni", "hi", code=4)
        assert "exo rm poet" in said("cp", "exo-tiny", "poet") and "made from" in said("show", "poet")
        printed = said("launch", "claude", "--print", "--", "-p", "it's")
        assert f"ANTHROPIC_BASE_URL=http://localhost:{node.api.port}" in printed and "'it'\\''s'" in printed, printed
        assert "ANTHROPIC_MODEL=exo-tiny" in said("launch", "claude", "--print", "--model", "exo-tiny")
        printed = json.loads(said("launch", "claude", "--print", "--json", "--", "-p", "it's").splitlines()[0])
        assert printed["arguments"] == ["-p", "it's"] and printed["variables"]["ANTHROPIC_MODEL"] == "exo-tiny", printed
        with open(f"{folder}/codex", "w") as out:
            out.write('#!/bin/sh\nprintf "%s " "$@" "$OPENAI_MODEL"\n')
        os.symlink("codex", f"{folder}/qwen")
        os.chmod(f"{folder}/codex", 0o755)
        tools = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": folder}
        assert 'model="exo-tiny"' in said("launch", "codex", "--model", "exo-tiny", env=tools)
        assert said("launch", "qwen", "--model", "exo-tiny", "--", "a b", env=tools).startswith("a b exo-tiny ")
        missing = said("launch", "aider", "--model", "exo-tiny", code=4, env=tools)
        assert "no program aider" in missing and "this installs it: pipx install aider-chat" in missing, missing
        os.mkdir(f"{folder}/.codex")
        with open(f"{folder}/.codex/config.toml", "w") as out:
            out.write("# mine\n[tui]\nx = true\n")
        said("launch", "codex", "--config", "--model", "exo-tiny", env=tools)
        text = open(f"{folder}/.codex/config.toml").read()
        assert "[model_providers.exo]" in text and "x = true" in text, text
        said("launch", "codex", "--restore", env=tools)
        assert open(f"{folder}/.codex/config.toml").read() == "# mine\n[tui]\nx = true\n"
        written = json.loads(said("launch", "opencode", "--config", "--json", "--model", "exo-tiny", env=tools).splitlines()[0])
        assert "exo-tiny" in open(written["file"]).read() and os.path.getsize(written["backup"]) == 0, written
        said("launch", "opencode", "--restore", env=tools)
        assert not os.path.exists(f"{folder}/.config/opencode/opencode.json")
        said("launch", "opencode", "--restore", code=4, env=tools)
        complete_in_shells(exo, node.home, folder)
        said("man", f"{folder}/man")
        pages = sorted(os.listdir(f"{folder}/man"))
        assert "exo.1" in pages and "exo-key-add.1" in pages, pages
        if shutil.which("man"):
            for page in ("exo.1", "exo-run.1", "exo-key-add.1"):  # all are made by the same lines; a page takes half a second
                lint = subprocess.run(["man", "--warnings", "-l", "-Tutf8", f"{folder}/man/{page}"], capture_output=True,
                                      env={**os.environ, "MANPAGER": "cat", "LC_ALL": "C.UTF-8"})
                assert lint.returncode == 0 and lint.stderr == b"", (page, lint.stderr)


# What is typed, and the word that its last one becomes.
COMPLETED = {"exo ru": "run", "exo show exo-": "exo-tiny", "exo run m --spl": "--split", "exo run --split ten": "tensor",
             "exo key a": "add", "exo --config f ke": "key", "exo forget n": "n1", "exo completions z": "zsh"}


def complete_in_shells(exo, home, folder):
    """Each shell loads its script as a user has it do, and is asked."""
    os.makedirs(f"{folder}/bin")
    os.makedirs(f"{folder}/empty")  # no files that complete, too
    os.symlink(exo, f"{folder}/bin/exo")
    for shell, ask in {"bash": ask_bash, "zsh": ask_zsh, "fish": ask_fish}.items():
        if not shutil.which(shell):
            raise Skip(f"{shell} is not installed")
        with open(f"{folder}/_exo", "wb") as out:
            out.write(run(exo, "completions", shell).stdout)
        env = {"EXO_HOME": str(home), "HOME": folder, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        ask(f"{folder}/_exo", f"{folder}/empty", {**os.environ, **env})


def ask_bash(script, folder, env):
    for line, wanted in COMPLETED.items():
        words = line.split(" ")
        asked = (f"source {script}; COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; _exo; "
                 "printf '%s\n' \"${COMPREPLY[@]}\"")
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, env=env, cwd=folder)
        assert wanted in done.stdout.split("\n"), (line, done)


def ask_fish(script, folder, env):
    asked = f"source {script}; " + "; ".join(f"echo '= {line}'; complete -C '{line}'" for line in COMPLETED)
    done = subprocess.run(["fish", "--no-config", "-c", asked], capture_output=True, text=True, env=env, cwd=folder)
    answers = dict(one.split("\n", 1) for one in done.stdout.split("= ")[1:])
    for line, wanted in COMPLETED.items():
        assert wanted in [one.split("\t")[0] for one in answers[line].splitlines()], (line, done)


def ask_zsh(script, folder, env):
    """Completion needs its line editor, and that a terminal: the completed line is printed instead of run."""
    zsh = Terminal(shutil.which("zsh"), "-f", env=env)
    zsh.send(f"PS1='READY''> '; cd {folder}; fpath=({os.path.dirname(script)} $fpath); autoload -Uz compinit; compinit -u -D\r")
    for line, wanted in COMPLETED.items():
        zsh.expect("READY> ")
        zsh.send(f"{line}\t\x01echo GOT \r")
        zsh.expect(f"\nGOT {line.rsplit(' ', 1)[0]} {wanted}")
    zsh.expect("READY> ")
    zsh.send("exit\r")
    assert zsh.end() == 0


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, *command, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, {**os.environ, "TERM": "xterm", "NO_COLOR": "1", **env})
        self.seen = ""

    def shows(self, words, seconds=0.0):
        """Whether the words come within that time, of what no expect() has taken."""
        end = time.monotonic() + seconds
        while words not in self.seen:
            if select.select([self.fd], [], [], max(0.0, min(0.1, end - time.monotonic())))[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    assert words in self.seen, f"ended before {words!r}: {self.seen!r}"
            elif time.monotonic() >= end:
                return False
        return True

    def expect(self, words):
        """Waits for the words in what comes, and takes all up to them."""
        assert self.shows(words, PATIENCE), f"waited for {words!r} in {self.seen!r}"
        before, self.seen = self.seen.split(words, 1)
        return before

    def send(self, text):
        os.write(self.fd, text.encode())

    def end(self, keys=""):
        """Its exit code. Keys are pressed each second: a Ctrl-D that comes before the line editor reads is in its line then."""
        end, press = time.monotonic() + PATIENCE, 0.0
        while time.monotonic() < end:
            if keys and time.monotonic() >= press:
                with contextlib.suppress(OSError):
                    self.send(keys)
                press = time.monotonic() + 1
            if select.select([self.fd], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f"it did not end: {self.seen!r}")


def test_a_chat_on_a_terminal(exo):
    with cluster(exo, 1) as (node,), tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/note.txt", "w") as out:
            out.write("the word is apple\n")
        env = {"EXO_HOME": str(node.home)}
        chat = Terminal(exo, "run", "exo-tiny", "--temperature", "0", env=env)
        chat.expect(">>> ")
        chat.send("What is exo?\r")
        answer = chat.expect(">>> ")
        assert "exo" in answer.split("What is exo?")[-1], answer
        for line, words in (("/set tempature 1", "did you mean temperature?"), ("/set top_k 5", "top_k: 5"),
                            ("/set top_k x", "top_k is a number from 0"), ("/set verbose on", "verbose: on"),
                            ("/show", "exo-tiny"), ("/fil", "did you mean /file?"), ("/model nobody", "there is no model"),
                            (f"/file {folder}/note.txt", "goes with the next question"), (f"/file {exo}", "KiB are taken"),
                            ("/devices", "n1"), ("/help", "Ctrl-C")):
            chat.send(line + "\r")
            chat.expect(words)
            chat.expect(">>> ")
        chat.send('\"\"\"one\rtwo\"\"\"\r')
        chat.expect("tokens/s")
        chat.expect(">>> ")
        chat.send("\x1b[200~three\rfour\x1b[201~")  # as a terminal pastes: nothing is sent yet
        time.sleep(0.2)
        chat.send("\r")
        chat.expect("tokens/s")
        chat.expect(">>> ")
        chat.send("/save mine\r")
        chat.expect("saved")
        saved = node.home / "chats" / "mine.json"
        messages = json.loads(saved.read_text())["messages"]
        questions = [message["content"] for message in messages if message["role"] == "user"]
        assert questions[0] == "What is exo?" and "the word is apple" in questions[1], questions
        assert questions[1].endswith("one\ntwo") and questions[2] == "three\nfour", questions
        assert saved.stat().st_mode & 0o777 == 0o600
        # Ctrl-C stops an answer and keeps the chat, and a line that is being typed likewise.
        chat.send("/clear\r")
        chat.expect("anew")
        chat.send("/set temperature 2\r")
        chat.expect("temperature: 2")
        chat.expect(">>> ")
        chat.send("half a line\x03")
        chat.expect(">>> ")
        for _ in range(20):  # a story may be over before it is stopped
            chat.send("Tell me a long story\r")
            wait_for("the answer", lambda: "exo_requests_active 1" in node.api.get("/metrics")[1] or chat.shows(">>> "), step=0.005)
            if not chat.shows(">>> "):
                break
            chat.expect(">>> ")
        chat.send("\x03")
        chat.expect(">>> ")
        wait_for("its end", lambda: "exo_requests_active 0" in node.api.get("/metrics")[1])
        chat.send("/load mine\r")
        chat.expect("6 messages")
        chat.send("/retry\r")
        chat.expect("tokens/s")
        chat.expect(">>> ")
        assert chat.end("\x15\x04") == 0
        history = node.home / "history"
        assert history.stat().st_mode & 0o777 == 0o600 and "What" in history.read_text()
        again = Terminal(exo, "run", "exo-tiny", env=env)
        again.expect(">>> ")
        again.send("\x1b[A")  # the arrow key brings the last line of the other run back
        again.expect("/retry")
        again.send("\x15/bye\r")
        assert again.end() == 0


HOME = """
[network]
rtt_ms = 0.4
mbps = 940
[[device]]
name = "desk"
memory = "60 MB"
decode_gbps = 0.02
prefill_gops = 10
[[device]]
name = "laptop"
memory = "60 MB"
decode_gbps = 0.02
prefill_gops = 10
"""


def test_a_described_cluster_is_planned_for_without_a_node(exo):
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/home.toml"
        with open(file, "w") as out:
            out.write(HOME)
        plan = lambda *more: run(exo, "plan", TINY, "--cluster", file, *more)  # noqa: E731
        done = plan("--explain")
        assert done.returncode == 0 and not done.stderr, done
        picture = done.stdout.decode()
        for words in ["desk: ", "[#", "predicted: ", "compared:", "; chosen", "desk + laptop, layers: ",
                      "desk + laptop, each layer split: "]:
            assert words in picture, picture
        assert all(len(line) <= 80 for line in picture.splitlines()), picture
        one, many = (json.loads(plan("--json", *more).stdout) for more in [(), ("--users", "4")])
        assert one["users"] == 1 and many["users"] == 4, (one, many)
        assert many["predicted_total_per_second"] > one["predicted_tokens_per_second"], (one, many)
        assert len(json.loads(plan("--json", "--split", "layer").stdout)["stages"]) == 2
        assert plan("--draft", "m").returncode == 2
        with open(file, "a") as out:
            out.write("gest = true\n")
        done = plan()
        assert done.returncode == 2 and b"home.toml line 15: a device has no 'gest'" in done.stderr, done
        done = run(exo, "plan", TINY, "--cluster", f"{folder}/none.toml")
        assert done.returncode != 0 and b"none.toml" in done.stderr, done


def test_a_replay_counts_its_tokens_and_prints_what_is_documented(exo):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as tokens:
        json.dump(list(range(40, 60)), tokens)
        tokens.flush()
        short = run(exo, "bench", "--model", str(TINY), "--replay", tokens.name, "--pp", "19", "--tg", "2")
        assert short.returncode == 2 and b"has 20 tokens" in short.stderr and b"at least 21" in short.stderr, short
        done = run(exo, "bench", "--model", str(TINY), "--replay", tokens.name, "--pp", "18", "--tg", "9", "--runs", "1",
                   "--threads", "1", "--json")
        assert done.returncode == 0, done
        result = json.loads(done.stdout)
        assert set(result) == {"model", "threads", "isa", "pp", "tg", "plain_tps", "speculation_tps", "ratio", "ratios",
                               "drafted", "accepted"} and (result["pp"], result["tg"]) == (18, 2), result


def test_a_device_that_is_being_measured_has_no_speed(exo):
    node = {"name": "new", "id": "ab" * 32, "state": "self", "memory_budget": 1, "memory_total": 2, "decode_gbps": 0.0,
            "prefill_gops": 0.0}
    with cluster_that_says({"nodes": [node], "instances": []}) as port:
        fresh = run(exo, "devices", env=port)
        node.update(decode_gbps=12.34, prefill_gops=56.7)
        known = run(exo, "devices", env=port)
    assert fresh.returncode == 0 and fresh.stdout.count(b"measuring") == 2 and b"0.0" not in fresh.stdout, fresh
    assert b"12.3 GB/s" in known.stdout and b"57 GOP/s" in known.stdout and b"measuring" not in known.stdout, known


def test_requests_traces_and_logs_are_shown(exo):
    """Against answers as the routes' documents have them."""
    ids = ["ab12" + "0" * 28, "ab13" + "0" * 28]
    spans = [{"name": "prompt", "device": "desk", "start_us": 0, "duration_us": 2000, "rows": 7},
             {"name": "token", "device": "na\x1bs", "start_us": 2000, "duration_us": 1000, "token": 0},
             {"name": "token", "device": "nas", "start_us": 3000, "duration_us": 1000, "token": 1}]
    mistyped = {"id": "cd" + "0" * 30, "model": "tinny", "state": "failed", "devices": []}
    requests = {"data": [mistyped] + [{"id": one, "model": "tiny", "state": "done", "devices": ["desk"]} for one in ids]}
    answers = {"/v1/internal/requests": requests,
               "/v1/cluster": {"nodes": [{"name": "desk", "state": "self"}, {"name": "nas", "state": "alive"},
                                         {"name": "attic", "state": "dead"}]},
               f"/v1/internal/requests/{ids[0]}/trace": {"id": ids[0], "model": "tiny", "spans": spans, "dropped": 2},
               f"/v1/internal/requests/{ids[0]}/trace?format=chrome": {"traceEvents": []}}
    line = {"time": 1764162000123, "level": "warning", "text": "request=ab120000: slow\x1b"}
    states = {"cluster": {"nodes": [{"name": "desk", "state": "self"}], "instances": []}, "requests": requests,
              "telemetry": {"devices": [], "links": [], "instances": []}}
    streams = {"/v1/internal/logs?follow=false": f"id: 7\nevent: log\ndata: {json.dumps(line)}\n\ndata: [DONE]\n\n",
               "/v1/internal/events": "id: 3\nevent: resync\ndata: {}\n\n" + "".join(
                   f"event: {name}\ndata: {json.dumps(state)}\n\n" for name, state in states.items())}

    class Handler(http.server.BaseHTTPRequestHandler):
        server_version = "exo"

        def do_GET(self):
            stream = self.path in streams
            body = (streams[self.path] if stream else json.dumps(answers[self.path])).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
            if not stream:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def said(*arguments, code=0):
            done = run(exo, *arguments, env={"EXO_API_PORT": str(server.server_address[1])})
            assert done.returncode == code, (arguments, done)
            return (done.stdout + done.stderr).decode()
        top = said("top")
        assert "desk" in top and "ab120000" in top and "no model is running" in top, top
        text = said("trace", "ab12", "--tokens", "1")
        assert "token 0" in text and "token 1" not in text and "na\\x1bs" in text and "2 further spans" in text, text
        assert json.loads(said("trace", "ab12", "--format", "chrome")) == {"traceEvents": []}
        assert "2 requests begin with ab1" in said("trace", "ab1", code=2)
        assert said("trace") == said("trace", "ab12"), "the last one that computed something"
        elsewhere = said("trace", "ff", code=4)
        assert "no request ff" in elsewhere and "exo trace ff on nas" in elsewhere and "attic" not in elsewhere, elsewhere
        requests["data"] = [mistyped]
        assert "nothing yet that was computed" in said("trace", code=4)
        assert said("logs") == "2025-11-26T13:00:00.123Z warning request=ab120000: slow\\x1b\n"
        assert json.loads(said("logs", "--json")) == line
        server.shutdown()


def test_top_follows_the_node_through_a_restart(exo):
    with cluster(exo, 2) as (node, other):
        node.api.complete("exo-tiny", "Once", max_tokens=1)
        top = Terminal(exo, "top", env={"EXO_HOME": str(node.home)})
        lines = subprocess.Popen([exo, "top", "--json"], stdout=subprocess.PIPE, text=True,
                                 env={**os.environ, "EXO_HOME": str(node.home)})
        try:
            top.expect("exo-tiny")
            first = json.loads(lines.stdout.readline())
            assert {one["name"] for one in first["nodes"]} == {"n1", "n2"} and "lost" not in first, first
            other.stop()
            top.expect("n2: left")  # as the event stream tells it
            node.stop()
            top.expect("no news: ")
            while "lost" not in (state := json.loads(lines.stdout.readline())):
                pass
            assert "looking again each second" in state["lost"], state
            again = restarted(exo, node)
            try:
                while "lost" in (state := json.loads(lines.stdout.readline())):
                    pass
                assert [one["name"] for one in state["nodes"] if one["state"] == "self"] == ["n1"], state
                top.send("\x03")
                assert top.end() == 0
                assert stop(lines, signal.SIGINT, 2) == 0, lines.returncode
            finally:
                again.stop()
        finally:
            lines.kill()
            lines.communicate()
    lost = run(exo, "top", home=node.home)
    assert lost.returncode == 3 and b"start one with: exo up" in lost.stderr, lost


def test_errors_are_json_where_json_is_asked_for(exo):
    for arguments, code, kind, words in (
            (("ps", "--json"), 3, "disconnected", "exo up"), (("top", "--json"), 3, "disconnected", "exo up"),
            (("key", "rm", "nobody", "--json"), 4, "not_found", "nobody"),
            (("run", "--json"), 2, "invalid", "MODEL is required"), (("ps", "--jsn", "--json"), 2, "invalid", "did you mean --json?"),
            (("bench", "--json", "--model", "nowhere.gguf"), 4, "not_found", "nowhere.gguf"),
            (("launch", "codex", "--json"), 2, "invalid", "--print")):
        done = run(exo, *arguments)
        assert done.returncode == code and done.stdout == b"", (arguments, done)
        error = json.loads(done.stderr.splitlines()[-1])["error"]
        assert error["code"] == kind and words in error["message"], (arguments, error)
    # For another program's arguments nothing is meant.
    done = run(exo, "launch", "nothing", "--", "--json")
    assert done.returncode == 2 and done.stderr.startswith(b"exo: "), done


def test_no_context_is_longer_than_a_model_was_trained_for(exo):
    with cluster(exo, 1, "--default-context", "100000") as (node,):
        (model,) = wait_for("the model", lambda: node.api.get("/v1/models")[1]["data"])
        trained = model["context_length"]
        done = run(exo, "run", "exo-tiny", "hi", "--max-tokens", "1", "--context", str(trained + 1), home=node.home)
        assert done.returncode == 2 and str(trained).encode() in done.stderr, done
        assert run(exo, "run", "exo-tiny", "hi", "--max-tokens", "1", home=node.home).returncode == 0
        assert [one["context"] for one in node.api.cluster()["instances"]] == [trained]


def test_a_peer_whose_name_is_unknown_is_told_at_once(exo):
    with tempfile.TemporaryDirectory() as folder:
        node = Node(exo, folder, "", "n", "--peer", "nosuchhost.invalid:1").started()
        try:
            wait_for("a warning", lambda: "nosuchhost.invalid" in node.log.read_text())
        finally:
            node.stop()


def test_piped_text_is_added_behind_the_question(exo):
    with cluster(exo, 1) as nodes:
        def answer(*arguments, **settings):
            done = run(exo, "run", "exo-tiny", *arguments, "--raw", "--json", "--max-tokens", "8", "--temperature", "0",
                       home=nodes[0].home, **settings)
            assert done.returncode == 0, done
            return json.loads(done.stdout)["exo"]["token_ids"]
        both = answer("Once upon\n\na time there was")
        assert answer("Once upon", input=b"a time there was\n") == both
        assert answer("Once upon", input=b"\xef\xbb\xbfa time there was\n") == both
        alone = answer("a time there was")
        assert both != alone
        assert answer("-", input=b"a time there was\n") == alone
        assert answer(input=b"\xef\xbb\xbfa time there was\r\n") == alone
        assert answer("a time there was", stdin=subprocess.DEVNULL) == alone
        assert answer("a time there was", preexec_fn=lambda: os.close(0)) == alone
        utf16 = run(exo, "run", "exo-tiny", home=nodes[0].home, input="hello".encode("utf-16"))
        assert utf16.returncode == 2 and b"UTF-16" in utf16.stderr, utf16


def test_mcp_answers_each_line(exo):
    """The messages that clients send in tests/clients/mcp.mjs are good ones; these are not, or not in time."""
    def line(method, number, **params):
        return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})

    def answers(text, **settings):
        done = run(exo, "mcp", input=text.encode(), **settings)
        assert done.returncode == 0 and done.stderr == b"", done
        return [json.loads(one) for one in done.stdout.splitlines()]

    ping = line("ping", "a")
    without = answers("\n".join(["", '{"jsonrpc":', f"[{ping}]", '{"jsonrpc":"2.0","method":"notifications/x"}',
                                 "x" * (9 << 20), ping]))  # the last without its end
    assert [one["error"]["code"] for one in without] == [-32700, -32600, -32600, -32000], without
    assert [one["id"] for one in without] == [None, None, None, "a"]
    assert "start one with: exo up" in without[3]["error"]["message"], without[3]
    with cluster(exo, 1) as nodes:
        home = nodes[0].home
        many = answers("\n".join(line("ping", i) for i in range(200)), home=home)
        assert sorted(one["id"] for one in many) == list(range(200))
        assert answers(line("nonsense", 1), home=home)[0]["error"]["code"] == -32601
        digits = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 200}

        def endless(number):  # up to the end of the context
            return line("tools/call", number, name="chat", arguments={"prompt": "Once", "schema": digits})
        chat = line("tools/call", 7, name="chat", arguments={"prompt": "Once", "max_tokens": 4})
        cancel = json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}})
        assert answers(f"{endless(7)}\n{cancel}\n{ping}", home=home) == [{"jsonrpc": "2.0", "id": "a", "result": {}}]
        answered = answers(chat, home=home)  # although its input has ended
        assert answered[0]["result"]["structuredContent"]["completion_tokens"] == 4, answered
        # A node that is lost while it answers.
        for number in range(10, 20):
            answer = lost_in_mid_answer(exo, nodes[0], endless(number))
            assert answer["id"] == number, answer
            if "error" in answer:
                break
            nodes[0] = restarted(exo, nodes[0])  # the answer was over before
        assert "closed the connection" in answer["error"]["message"], answer


def lost_in_mid_answer(exo, node, request):
    """What is answered to a request of MCP when the node is killed as soon as it is at work."""
    process = subprocess.Popen([exo, "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env={**os.environ, "EXO_HOME": str(node.home)})
    try:
        process.stdin.write(f"{request}\n".encode())
        process.stdin.flush()
        wait_for("an answer in work or done", lambda: "exo_requests_active 1" in node.api.get("/metrics")[1]
                 or select.select([process.stdout], [], [], 0)[0], step=0.001)
        node.process.kill()
        node.process.wait()
        return json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def test_secret_is_the_one_in_use(exo):
    def secret(home, env=None):
        return run(exo, "secret", home=home, env=env).stdout.decode().strip()
    with tempfile.TemporaryDirectory() as folder:
        given = run(exo, "secret", "--new").stdout.decode().strip()
        own = secret(f"{folder}/n")
        assert own and own == secret(f"{folder}/n") and own != given
        assert json.loads(run(exo, "secret", "--json", home=f"{folder}/n").stdout) == {"secret": own}
        assert secret(f"{folder}/n", {"EXO_CLUSTER_SECRET": given}) == given
        with open(f"{folder}/n/exo.toml", "w") as out:
            out.write(f"cluster_secret = '{given}'\n")
        assert secret(f"{folder}/n") == given
        os.unlink(f"{folder}/n/exo.toml")
        node = Node(exo, folder, given, "n").started()  # EXO_CLUSTER_SECRET=given
        try:
            assert secret(f"{folder}/n") == given, "the running node's, also without its environment"
        finally:
            node.stop()
        assert secret(f"{folder}/n") == own


def test_hangup_ends_like_sigterm(exo):
    with cluster(exo, 2) as nodes:
        assert stop(nodes[1].process, signal.SIGHUP, 1.5) == 0
        assert not (nodes[1].home / "node.json").exists()
        wait_for("goodbye", lambda: not any(n["state"] in ("alive", "suspect") and n["name"] == nodes[1].name
                                            for n in nodes[0].api.cluster()["nodes"]))


def test_under_nohup_a_hangup_ends_nothing(exo):
    with tempfile.TemporaryDirectory(prefix="exo-cli-") as folder:
        secret = run(exo, "secret", "--new").stdout.decode().strip()
        node = Node(exo, folder, secret, "n", prefix=("nohup",)).started()
        try:
            node.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)  # a hangup that counts ends an idle node sooner
            assert node.process.poll() is None and node.api.get("/health")[0] == 200
        finally:
            node.stop()


def ends_of_answers(node):
    """Stops a node that gives four answers: what each client has read at the end."""
    question = json.dumps({"model": "exo-tiny", "prompt": "a", "max_tokens": 480, "regex": "[a-z ]{2000,}", "stream": True})
    text = (f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(question)}\r\n\r\n{question}")
    clients = [socket.create_connection(("localhost", node.api.port)) for _ in range(4)]
    for client in clients:
        client.sendall(text.encode())
    heard = [client.recv(4096) for client in clients]
    assert all(b" 200 " in first for first in heard), heard
    assert stop(node.process, signal.SIGINT, 1.0) == 0
    for i, client in enumerate(clients):
        while part := client.recv(65536):
            heard[i] += part
        client.close()
    return heard


def test_answers_of_a_stopped_node_end_with_the_reason(exo):
    with cluster(exo, 1) as nodes:
        for _ in range(10):
            heard = ends_of_answers(nodes[0])
            assert all(b"stopped by its user" in one or b"[DONE]" in one for one in heard), [one[-400:] for one in heard]
            assert "canceled by its client" not in nodes[0].log.read_text(), nodes[0].log.read_text()
            if any(b"stopped by its user" in one for one in heard):
                return
            nodes[0] = restarted(exo, nodes[0])  # all answers were over before the stop
        raise AssertionError("all answers were over before the stop")


def test_a_thousand_connections_that_end_no_request_hold_nobody_up(exo):
    """The node raises its own limit of open files, which many systems set to 1,024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as held:
        node = Node(exo, folder, "", "n", prefix=("/bin/sh", "-c", 'ulimit -Sn 256 && exec "$0" "$@"')).started()
        try:
            quiet = node.api.complete("exo-tiny", "Once", max_tokens=40)["choices"][0]["text"]
            for _ in range(1000):
                slow = held.enter_context(socket.create_connection(("127.0.0.1", node.api.port)))
                slow.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            assert node.api.complete("exo-tiny", "Once", max_tokens=40)["choices"][0]["text"] == quiet
            connections = int(re.search(r"^exo_http_connections (\d+)", node.api.get("/metrics")[1], re.M)[1])
            assert connections > 500, f"{connections} are held: those that ended early made this test easy"
        finally:
            node.stop()


def test_ctrl_c_ends_a_starting_node_within_a_second(exo):
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(f"{folder}/models")
        for i in range(3):  # hashing what is not there takes minutes
            with open(f"{folder}/models/m{i}.gguf", "wb") as out:
                out.write(TINY.read_bytes())
                out.truncate(128 << 30)
        for delay in (0.05, 0.3, 0.8):
            process = subprocess.Popen([exo, "up", "--loopback", "--port", "0", "--api-port", "0"], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       env={**os.environ, "EXO_HOME": f"{folder}/home", "EXO_MODELS": f"{folder}/models"})
            time.sleep(delay)
            stop(process, signal.SIGINT, 1.5)
            assert not os.path.exists(f"{folder}/home/node.json")


def test_stop_unloads_and_says_when_nothing_runs(exo):
    with cluster(exo, 1) as nodes:
        home = nodes[0].home
        done = run(exo, "stop", "exo-tiny", home=home)
        assert done.returncode == 4 and b"is not running" in done.stderr, done
        nodes[0].api.complete("exo-tiny", "Once", max_tokens=1)
        listed = run(exo, "ps", home=home).stdout
        assert b" ready " in listed and b"(" not in listed, listed
        done = run(exo, "stop", "exo-tini", home=home)
        assert done.returncode == 4 and b"running: exo-tiny" in done.stderr, done
        done = run(exo, "stop", "exo-tiny", home=home)
        assert done.returncode == 0 and b"stopped exo-tiny" in done.stdout, done
        assert b"no model is running" in run(exo, "ps", home=home).stdout
        nodes[0].api.complete("exo-tiny", "Once", max_tokens=1)
        assert run(exo, "stop", str(TINY), "--json", home=home).returncode == 0


def test_stop_ends_what_is_wanted_but_cannot_run(exo):
    """A model whose draft model is gone after a restart."""
    with tempfile.TemporaryDirectory() as folder, cluster(exo, 1) as nodes:
        draft = f"{folder}/small.gguf"
        assert run(exo, "quantize", str(TINY), draft, "Q4_0").returncode == 0
        status, plan = nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", "draft": draft})
        assert status == 200, plan
        nodes[0].stop()
        os.unlink(draft)
        (nodes[0].home / "node.json").unlink(missing_ok=True)
        nodes[0] = node = Node(exo, nodes[0].home.parent, nodes[0].secret, nodes[0].name).started()
        status, answer = node.api.post("/v1/completions", {"model": "exo-tiny", "prompt": "Once", "max_tokens": 1})
        assert status == 503 and "small" in answer["error"]["message"], (status, answer)
        done = run(exo, "stop", "exo-tiny", home=node.home)
        assert done.returncode == 0 and b"stopped exo-tiny" in done.stdout, done
        node.api.complete("exo-tiny", "Once", max_tokens=1)


def test_a_settings_file_is_used_and_checked(exo):
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/exo.toml", "w") as out:
            out.write("# mine\nname = 'shelf'\nport = 0\napi_port = 0\nloopback = true\nthreads = 1\n")
        settings = json.loads(run(exo, "config", "--json", "--name", "desk", home=folder, env={"EXO_THREADS": "2"}).stdout)
        assert settings["name"] == {"value": "desk", "from": "--name"}, settings
        assert settings["threads"] == {"value": "2", "from": "EXO_THREADS"}, settings
        assert settings["loopback"] == {"value": "true", "from": f"{folder}/exo.toml line 5"}, settings
        assert settings["default_context"]["from"] == "default", settings
        process = subprocess.Popen([exo, "up"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                   env={**os.environ, "EXO_HOME": folder})
        try:
            assert b"exo shelf" in process.stdout.readline()
            devices = run(exo, "devices", "--json", home=folder)
            assert json.loads(devices.stdout)[0]["name"] == "shelf", devices
            same = run(exo, "config", home=folder)
            assert same.returncode == 0 and same.stderr == b"", same
            other = run(exo, "config", "--json", "--name", "desk", home=folder, env={"EXO_PEERS": "nas:1"})
            assert b"the node that runs here has other values of name (shelf), peers ([]); " in other.stderr, other
            settings = json.loads(other.stdout)
            assert settings["name"]["running"] == "shelf" and "running" not in settings["threads"], settings
        finally:
            process.terminate()
            process.wait(PATIENCE)
            process.stdout.close()
        with open(f"{folder}/exo.toml", "w") as out:
            out.write("prot = 1\n")
        done = run(exo, "up", home=folder)
        assert done.returncode == 2 and b"line 1: there is no setting 'prot'; did you mean 'port'?" in done.stderr, done
        other = run(exo, "--config", f"{folder}/none.toml", "config", home=folder)
        assert other.returncode == 4 and b"none.toml" in other.stderr, other


def test_a_settings_file_that_cannot_be_read_is_named(exo):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/exo.toml"
        for make, code, words in ((lambda: os.symlink("nowhere", path), 4, b"exo.toml: it is a link to nowhere"),
                                  (lambda: os.symlink("exo.toml", path), 4, b"exo.toml: its links lead in a circle"),
                                  (lambda: os.mkfifo(path), 2, b"exo.toml is a named pipe, not a regular file"),
                                  (lambda: os.mkdir(path), 2, b"exo.toml is a folder, not a regular file")):
            make()
            for command in (["config"], ["--config", path, "config"], ["up"]):
                done = run(exo, *command, home=folder)
                assert done.returncode == code and words in done.stderr, (command, done)
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
        assert run(exo, "config", home=folder).returncode == 0


def test_config_refuses_what_up_refuses(exo):
    for name, value, words in (("EXO_PEERS", "nas", b"EXO_PEERS: peers: \"nas\" needs a port"),
                               ("EXO_PEERS", "a:1,b:x", b"\"x\" is no port"),
                               ("EXO_CLUSTER_SECRET", "ABCD", b"has 4 characters instead of 56")):
        for command in ("config", "up"):
            done = run(exo, command, env={name: value})
            assert done.returncode == 2 and words in done.stderr, (command, done)


def test_model_folders_may_begin_with_a_tilde_and_missing_ones_are_told(exo):
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(f"{folder}/me/gguf")
        os.symlink(TINY, f"{folder}/me/gguf/mine.gguf")
        os.makedirs(f"{folder}/n")
        with open(f"{folder}/n/exo.toml", "w") as out:
            out.write("models = ['~/gguf', '~/missing', '~/gguf/mine.gguf']\n")
        environment = {"HOME": f"{folder}/me"}
        done = run(exo, "config", home=f"{folder}/n", env=environment)
        assert done.returncode == 0 and f"{folder}/me/gguf,".encode() in done.stdout, done
        for words in (f"{folder}/n/exo.toml line 1: models: cannot list {folder}/me/missing", "mine.gguf is not a folder"):
            assert words.encode() in done.stderr, done
        node = Node(exo, folder, "", "n", environment=environment).started()
        try:
            wait_for("the model", lambda: node.api.get("/v1/models/mine")[0] == 200)
            wait_for("the warning", lambda: f"cannot list {folder}/me/missing" in node.log.read_text())
            time.sleep(4)  # it is looked at again
            assert node.log.read_text().count("me/missing") == 1, node.log.read_text()
        finally:
            node.stop()


def test_a_node_that_hangs_is_named(exo):
    """By every command, which waits no longer for it, and by doctor as the problem that it is."""
    with cluster(exo, 1) as (node,):
        node.process.send_signal(signal.SIGSTOP)
        try:
            commands = [subprocess.Popen([exo, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                         stdin=subprocess.DEVNULL, env={**os.environ, "EXO_HOME": str(node.home)})
                        for words in (["ps"], ["top"], ["logs"], ["invite"], ["run", "exo-tiny", "Hi"], ["doctor"])]
            said = [command.communicate(timeout=2 * PATIENCE)[0] for command in commands]
        finally:
            node.process.send_signal(signal.SIGCONT)
        for text in said:
            assert f"the node (process {node.process.pid}) does not answer on port {node.state['api_port']}" in " ".join(text.split()), text
        assert "problem  the node does not answer" in said[-1] and all(command.returncode != 0 for command in commands), said


def test_another_process_with_the_number_of_a_node_that_crashed_gets_no_token(exo):
    with cluster(exo, 1) as (node,), socket.socket() as stranger:
        note = json.loads((node.home / "node.json").read_text())
        node.kill()
        node.process.wait()
        stranger.bind(("127.0.0.1", note["api_port"]))
        stranger.listen()
        stranger.settimeout(2)
        (node.home / "node.json").write_text(json.dumps({**note, "pid": os.getpid()}))
        done = run(exo, "logs", home=node.home)
        assert done.returncode == 3 and b"no exo node runs" in done.stderr, done
        try:
            stranger.accept()
        except TimeoutError:
            return
        raise AssertionError("it was connected to")


def test_a_node_that_gets_too_few_threads_says_so(exo):
    """As under the limit of a container: it serves, or ends at once with a sentence; it never hangs or crashes."""
    if os.geteuid() != 0:
        raise Skip("the limit of another user's processes needs root")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        program = shutil.copy(exo, f"{folder}/exo")
        said = 0
        for limit in (2, 3, 4, 5, 6, 8, 10, 12):
            home = f"{folder}/{limit}"
            few = ["setpriv", "--reuid=65534", "--clear-groups", "prlimit", f"--nproc={limit}", program, "up", "--loopback",
                   "--port", "0", "--api-port", "0", "--threads", "2"]
            node = subprocess.Popen(few, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                    env={**os.environ, "HOME": folder, "EXO_HOME": home})
            try:
                wait_for("it to serve or end", lambda: node.poll() is not None or os.path.exists(f"{home}/node.json"))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    node.wait(1)
                if node.poll() is None:
                    node.terminate()
                text = node.communicate(timeout=PATIENCE)[0]
                if node.returncode == 1:
                    said += 1
                    assert "the system gives no further thread" in text and "ulimit -u" in text, (limit, text)
                else:
                    assert node.returncode == 0, (limit, node.returncode, text)
            finally:
                node.kill()
        assert said >= 3, "some of these limits are too small for any node"


if __name__ == "__main__":
    main([test_a_node_that_gets_too_few_threads_says_so,
          test_a_node_that_hangs_is_named, test_another_process_with_the_number_of_a_node_that_crashed_gets_no_token,
          test_a_node_serves_whatever_becomes_of_its_log, test_log_lines_carry_time_level_and_node_and_no_control_characters,
          test_lost_output_is_exit_1_and_a_word, test_bytes_that_are_not_utf8_are_replaced_or_refused,
          test_names_with_control_characters_are_escaped, test_mistakes_are_named,
          test_alone_it_says_what_to_do_next, test_a_chat_on_a_terminal, test_a_described_cluster_is_planned_for_without_a_node,
          test_a_replay_counts_its_tokens_and_prints_what_is_documented,
          test_a_device_that_is_being_measured_has_no_speed, test_requests_traces_and_logs_are_shown, test_top_follows_the_node_through_a_restart,
          test_errors_are_json_where_json_is_asked_for, test_no_context_is_longer_than_a_model_was_trained_for,
          test_a_peer_whose_name_is_unknown_is_told_at_once, test_piped_text_is_added_behind_the_question,
          test_mcp_answers_each_line,
          test_secret_is_the_one_in_use, test_hangup_ends_like_sigterm,
          test_under_nohup_a_hangup_ends_nothing,
          test_answers_of_a_stopped_node_end_with_the_reason,
          test_a_thousand_connections_that_end_no_request_hold_nobody_up, test_ctrl_c_ends_a_starting_node_within_a_second,
          test_stop_unloads_and_says_when_nothing_runs, test_stop_ends_what_is_wanted_but_cannot_run,
          test_a_settings_file_is_used_and_checked,
          test_a_settings_file_that_cannot_be_read_is_named, test_config_refuses_what_up_refuses,
          test_model_folders_may_begin_with_a_tilde_and_missing_ones_are_told])
