"""Model files that change, hang, lie and come and go under running nodes.

Files are copies of the bundled model and of stories260K; disks that hang are named pipes and a folder behind a
stopped process; the full disk is a small tmpfs of a mount namespace (skipped where none can be made).
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from lib import PATIENCE, TINY, Api, Node, Skip, admin_token, cluster, main, need_shared, wait_for, within

STORIES = "models/stories260K/gguf"


def stories(kind):
    """A stories260K file of one type."""
    folder = need_shared("data", *STORIES.split("/"))
    for path in sorted(folder.iterdir()):
        if kind in path.name.lower() and path.name.endswith(".gguf") and "-of-" not in path.name:
            return path
    raise Skip(f"{folder} has no {kind} file")


@contextlib.contextmanager
def scratch():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="exo-files-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def add(node, path):
    status, answer = node.api.post("/v1/internal/models", {"path": str(path)})
    assert status == 200, (status, answer)
    return answer["model"]


def ask(node, model, tokens=4):
    return node.api.post("/v1/completions", {"model": model, "prompt": "Once upon a time", "max_tokens": tokens,
                                             "temperature": 0})


def lives(node):
    assert node.process.poll() is None, f"the node ended with {node.process.returncode}: {node.log.read_text()[-1500:]}"
    status, answer = ask(node, "exo-tiny")
    assert status == 200, (status, answer)


def unload(node, model):
    status, answer = node.api.post("/v1/internal/unload", {"model": model})
    assert status == 200, (status, answer)


def test_a_file_cut_before_and_after_loading_never_ends_the_node(exo):
    with cluster(exo, 1) as [node], scratch() as folder:
        file = folder / "cut.gguf"
        shutil.copyfile(TINY, file)
        with open(file, "ab") as out:
            out.write(b"\1")  # another file than the bundled one, of the same model
        model = add(node, file)
        os.truncate(file, 1_000_000)
        status, answer = ask(node, model)
        assert status != 200 and answer["error"]["message"], (status, answer)
        lives(node)
        # The whole file again, then cut while loaded, unloaded, asked again.
        shutil.copyfile(stories("q8_0"), folder / "s.gguf")
        model = add(node, folder / "s.gguf")
        status, answer = ask(node, model)
        assert status == 200, answer
        os.truncate(folder / "s.gguf", 100_000)
        status, answer = ask(node, model)
        assert status == 200, (status, answer)  # what runs does not need it
        listed = wait_for("the damage to be seen", lambda: [
            m["exo"] for m in node.api.get("/v1/models")[1]["data"] if m["id"] == model and not m["exo"]["held"]])
        assert [(one["local"], one["state"]) for one in listed] == [(False, "ready")], listed
        node.api.post("/v1/internal/unload", {"model": model})
        status, answer = ask(node, model)
        assert status == 422 and answer["error"]["param"] == "model", (status, answer)
        lives(node)


def test_a_file_written_again_in_place_is_another_model(exo):
    with cluster(exo, 1) as [node], scratch() as folder:
        file = folder / "s.gguf"
        shutil.copyfile(stories("q8_0"), file)
        model = add(node, file)
        first = ask(node, model, 16)[1]["choices"][0]["text"]
        identity = {m["id"]: m for m in node.api.get("/v1/models")[1]["data"]}[model]
        unload(node, model)
        other = stories("q4_0").read_bytes()
        with open(file, "r+b") as out:
            out.write(other)
            out.truncate(len(other))
        expected = add(node, stories("q4_0"))
        want = ask(node, expected, 16)[1]["choices"][0]["text"]
        def again():
            status, answer = ask(node, model, 16)
            return answer["choices"][0]["text"] if status == 200 else None
        got = wait_for("the new contents to be served", again)
        assert got == want, (got, want, first, identity)
        lives(node)


def test_a_file_cut_under_a_peer_that_pulls_is_a_typed_error(exo):
    with cluster(exo, 2) as [holder, other], scratch() as folder:
        file = folder / "s.gguf"
        shutil.copyfile(stories("q8_0"), file)
        model = add(holder, file)
        wait_for("the peer to know the model", lambda: any(
            m["id"] == model for m in other.api.get("/v1/models")[1]["data"]))
        os.truncate(file, 200_000)
        status, answer = holder.api.post("/v1/internal/load", {"model": model, "spread": True})
        assert status != 200 and answer["error"]["message"], (status, answer)
        lives(holder)
        lives(other)


def test_the_same_size_and_times_are_not_the_same_file(exo):
    with scratch() as folder:
        file = folder / "models" / "s.gguf"
        file.parent.mkdir()
        f16, bf16 = stories("-f16"), stories("bf16")
        assert f16.stat().st_size == bf16.stat().st_size, "the files of this test have one size"
        secret = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
        texts = []
        for source in (f16, bf16):
            shutil.copyfile(source, file)
            os.utime(file, (1, 1))
            node = Node(exo, folder, secret, "n", environment={"EXO_MODELS": str(file.parent)}).started()
            try:
                status, answer = ask(node, "s", 48)
                assert status == 200, answer
                texts.append(answer["choices"][0]["text"])
                direct = add(node, source)
                assert ask(node, direct, 48)[1]["choices"][0]["text"] == texts[-1]
            finally:
                node.stop()


def test_two_pulls_of_one_digest_both_load(exo):
    for _ in range(3):
        with cluster(exo, 2) as [holder, other]:
            models = [add(holder, stories(kind)) for kind in ("q4_0", "q8_0")]
            wait_for("the peer to know both", lambda: set(models) <= {
                m["id"] for m in other.api.get("/v1/models")[1]["data"]})
            answers = {}
            def load(model):
                answers[model] = other.api.post("/v1/internal/load", {"model": model, "spread": True})
            threads = [threading.Thread(target=load, args=(model,)) for model in models]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert all(answers[model][0] == 200 for model in models), answers
            left = [p.name for p in (other.home / "tensors").iterdir() if not p.name.endswith(".blocks")]
            assert not left, left


def test_links_of_a_hub_cache_keep_their_names(exo):
    with scratch() as folder:
        snapshot = folder / "models--o--r" / "snapshots" / "x"
        blobs = folder / "models--o--r" / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        shutil.copyfile(stories("q8_0"), blobs / ("ab" * 32))
        (snapshot / "S-q8_0.gguf").symlink_to(f"../../blobs/{'ab' * 32}")
        (snapshot / "dangling.gguf").symlink_to("nowhere")
        with cluster(exo, 1, environment={"EXO_MODELS": str(snapshot)}) as [node]:
            status, answer = ask(node, "S-q8_0")
            assert status == 200, answer
            assert add(node, snapshot / "S-q8_0.gguf") == "S-q8_0"
            run = subprocess.run([exo, "run", "S-q8_0", "hello"], capture_output=True, text=True, timeout=PATIENCE,
                                 env={**os.environ, "EXO_HOME": str(node.home), "EXO_MODELS": str(snapshot)})
            assert "no model" not in run.stderr, run.stderr  # (it has no chat template)
            assert not any(m["id"] == "ab" * 32 for m in node.api.get("/v1/models")[1]["data"])


def test_a_prepared_file_that_is_cut_off_in_use_stops_no_answer(exo):
    with scratch() as folder, cluster(exo, 1, environment={"EXO_MODELS": str(folder), "EXO_COPY_PREPARED": "false"}) as [node]:
        shutil.copyfile(stories("q8_0"), folder / "s.gguf")

        def prepare():
            subprocess.run([exo, "prepare", str(folder / "s.gguf"), "--json"], check=True, capture_output=True, timeout=PATIENCE,
                           env={**os.environ, "EXO_HOME": str(node.home)})

        def mapped():
            return ".exo\n" in pathlib.Path(f"/proc/{node.process.pid}/maps").read_text()
        status, plain = ask(node, "s")
        assert status == 200, plain
        prepare()
        unload(node, "s")
        status, answer = ask(node, "s")
        assert status == 200 and answer["choices"] == plain["choices"] and mapped(), (status, answer)
        packed, = (node.home / "prepared").glob("*.exo")
        os.truncate(packed, 4096)
        status, answer = ask(node, "s")
        assert status == 200 and answer["choices"] == plain["choices"], (status, answer)
        assert not mapped()
        prepare()
        unload(node, "s")
        status, answer = ask(node, "s")
        assert status == 200 and answer["choices"] == plain["choices"] and mapped(), (status, answer)


def grows(node, folder):
    """Writes a new model file bit by bit, of which a node must say nothing until it is whole; its name.

    None: this process was held up between two of them for about as long as a file rests that is taken for whole."""
    whole = stories("q4_0").read_bytes()
    part = 1 + len(whole) // 6
    name = f"grows{len(list(folder.iterdir()))}"
    with open(folder / f"{name}.gguf", "wb") as out:
        written = time.monotonic()
        for at in range(0, len(whole), part):
            out.write(whole[at:at + part])
            out.flush()
            if time.monotonic() - written > 1.5:
                return None
            written = time.monotonic()
            time.sleep(0.7)
            known = node.api.get("/v1/models")[1]["data"]
            if time.monotonic() - written > 1.5:
                return None
            assert name not in [m["id"] for m in known], known
            assert f"{name}.gguf" not in node.log.read_text(), node.log.read_text()
    return name


def test_files_come_and_go_without_a_restart(exo):
    with scratch() as folder, cluster(exo, 1, environment={"EXO_MODELS": str(folder)}) as [node]:
        assert ask(node, "s")[0] == 404
        shutil.copyfile(stories("q8_0"), folder / "s.gguf")
        wait_for("the new file", lambda: ask(node, "s")[0] == 200)
        name = wait_for("a file that grows without a pause", lambda: grows(node, folder), 10 * PATIENCE)
        wait_for("the file that has grown", lambda: ask(node, name)[0] == 200)
        unload(node, "s")  # what runs stays listed
        (folder / "s.gguf").unlink()
        wait_for("the removed file to go", lambda: "s" not in [m["id"] for m in node.api.get("/v1/models")[1]["data"]])
        (folder / "lost.gguf").symlink_to(folder / "nowhere")
        wait_for("a word about the link", lambda: re.search("leaving out a model.*lost", node.log.read_text()))


def test_one_base_name_twice_gets_two_names(exo):
    with scratch() as folder:
        (folder / "one").mkdir()
        (folder / "two").mkdir()
        shutil.copyfile(stories("q8_0"), folder / "one" / "s.gguf")
        shutil.copyfile(stories("q4_0"), folder / "two" / "s.gguf")
        with cluster(exo, 1, environment={"EXO_MODELS": f"{folder}/one:{folder}/two"}) as [node]:
            wait_for("both", lambda: {"s", "s@two"} <= {m["id"] for m in node.api.get("/v1/models")[1]["data"]})
            assert ask(node, "s")[0] == 200
            assert ask(node, "s@two")[0] == 200
            # A copy is the same model under a further name.
            shutil.copyfile(stories("q8_0"), folder / "two" / "again.gguf")
            names = wait_for("the copy", lambda: {
                m["id"]: m["exo"]["names"] for m in node.api.get("/v1/models")[1]["data"] if m["exo"]["names"]})
            assert names == {"s": ["again"]}, names
            assert ask(node, "again")[0] == 200


def test_different_files_of_one_name_on_two_devices_can_be_told_apart(exo):
    with scratch() as folder, cluster(exo, 2) as [a, b]:
        for node, kind in ((a, "q8_0"), (b, "q4_0")):
            (folder / node.name).mkdir()
            shutil.copyfile(stories(kind), folder / node.name / "s.gguf")
            add(node, folder / node.name / "s.gguf")
        def ambiguous():
            status, answer = ask(a, "s")
            return answer["error"]["message"] if status == 400 else None
        message = wait_for("the name to be ambiguous", ambiguous)
        assert "s@n1" in message and "s@n2" in message, message
        assert ask(a, "s@n1")[0] == 200 and ask(a, "s@n2")[0] == 200


def test_a_model_is_served_while_others_are_hashed_and_a_stop_is_quick(exo):
    with scratch() as folder:
        head = TINY.read_bytes()
        for i in range(4):
            with open(folder / f"big{i}.gguf", "wb") as out:
                out.write(head)
                out.write(bytes([i + 1]))
        slow = folder / "slow"
        slow.mkdir()
        # Enough to hash for seconds: the tensors of a synthetic model.
        tool = need_shared("tools/make_synthetic_gguf.py")
        subprocess.run(["/usr/bin/python3", str(tool), "--shape", "llama-3.2-1b", "--type", "q8_0", "-o",
                        str(slow / "large0.gguf")], check=True, capture_output=True, timeout=300)
        for i in range(1, 4):
            os.link(slow / "large0.gguf", slow / f"large{i}.gguf")
        for path in slow.iterdir():
            os.utime(path, (1, 1))
        secret = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
        node = Node(exo, folder, secret, "n", environment={"EXO_MODELS": str(slow)}).started()
        try:
            begin = time.monotonic()
            status, answer = ask(node, "exo-tiny", 1)
            took = time.monotonic() - begin
            names = [m["id"] for m in node.api.get("/v1/models")[1]["data"]]
            print(f"  first answer after {took:.2f} s; known then: {names}")
            assert status == 200, answer
            assert node.api.get("/v1/models/exo-tiny")[0] == 200
            begin = time.monotonic()
            node.kill(signal.SIGTERM)
            node.process.wait(PATIENCE)
            took = time.monotonic() - begin
            print(f"  stopped in {took:.2f} s")
            assert node.process.returncode == 0, node.process.returncode
            within("to stop", took, 2)
        finally:
            node.kill()
            node.process.wait()


def test_pipes_and_devices_are_refused_and_hold_up_nothing(exo):
    with scratch() as folder:
        os.mkfifo(folder / "pipe.gguf")
        (folder / "zero.gguf").symlink_to("/dev/zero")
        with cluster(exo, 1, environment={"EXO_MODELS": str(folder)}) as [node]:
            lives(node)
            for name in ("pipe.gguf", "zero.gguf"):
                status, answer = node.api.post("/v1/internal/models", {"path": str(folder / name)})
                assert status == 400 and "not a regular file" in answer["error"]["message"], (status, answer)


def test_a_file_that_may_not_be_read_is_named_and_is_no_fault_of_the_node(exo):
    """As a plain user, whom permissions bind."""
    with scratch() as folder:
        folder.chmod(0o755)
        home = folder / "n"
        home.mkdir()
        (folder / "locked").mkdir(mode=0o700)
        for name in ("secret.gguf", "locked/s.gguf"):
            shutil.copyfile(stories("q8_0"), folder / name)
        (folder / "secret.gguf").chmod(0)
        (folder / "folder.gguf").mkdir()
        os.mkfifo(folder / "pipe.gguf")
        (folder / "broken.gguf").symlink_to("nowhere")
        (folder / "loop.gguf").symlink_to("loop.gguf")
        prefix = ()
        if os.geteuid() == 0:
            prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
            os.chown(home, 65534, 65534)
        else:
            (folder / "locked").chmod(0)
        binary = folder / "exo"
        shutil.copy(exo, binary)
        node = Node(binary, folder, "", "n", prefix=prefix, environment={"EXO_MODELS": str(TINY.parent)})
        try:
            node.started()
            for name, status, words in (("secret.gguf", 400, "Permission denied; let the user that runs exo read it"),
                                        ("locked/s.gguf", 400, "Permission denied"),
                                        ("folder.gguf", 400, "is a folder, not a regular file"),
                                        ("pipe.gguf", 400, "is a named pipe, not a regular file"),
                                        ("broken.gguf", 404, "it is a link to nowhere, which does not exist"),
                                        ("loop.gguf", 404, "its links lead in a circle")):
                for route, field in (("models", "path"), ("plan", "model")):
                    got, answer = node.api.post(f"/v1/internal/{route}", {field: str(folder / name)})
                    message = answer["error"]["message"]
                    assert got == status and words in message and str(folder / name) in message, (name, route, got, answer)
            run = subprocess.run([*prefix, binary, "run", folder / "secret.gguf", "hi"], capture_output=True, text=True,
                                 timeout=PATIENCE, stdin=subprocess.DEVNULL, env={**os.environ, "EXO_HOME": str(home)})
            assert run.returncode == 2 and "secret.gguf: Permission denied" in run.stderr, run
            run = subprocess.run([exo, "run", folder / "broken.gguf", "hi"], capture_output=True, text=True,
                                 timeout=PATIENCE, stdin=subprocess.DEVNULL, env={**os.environ, "EXO_HOME": str(home)})
            assert run.returncode == 4 and "a link to nowhere" in run.stderr, run
        finally:
            node.stop()
            (folder / "locked").chmod(0o700)


def test_the_first_request_after_a_file_changed_waits_for_it(exo):
    with scratch() as folder, cluster(exo, 1) as [node]:
        file = folder / "s.gguf"
        shutil.copyfile(stories("q8_0"), file)
        os.utime(file, (1, 1))
        model = add(node, file)
        before = ask(node, model, 16)[1]["choices"][0]["text"]
        unload(node, model)
        os.utime(file)  # touched
        status, answer = ask(node, model, 16)
        assert status == 200 and answer["choices"][0]["text"] == before, (status, answer)
        unload(node, model)
        other = folder / "other.gguf"
        shutil.copyfile(stories("q4_0"), other)
        os.replace(other, file)  # another model under the same name
        status, answer = ask(node, model, 16)
        assert status == 200, (status, answer)
        direct = folder / "direct.gguf"
        shutil.copyfile(stories("q4_0"), direct)
        assert answer["choices"][0]["text"] == ask(node, add(node, direct), 16)[1]["choices"][0]["text"]


def test_the_first_request_after_a_peers_file_was_touched_waits_for_it(exo):
    with scratch() as folder, cluster(exo, 2) as [holder, other]:
        file = folder / "s.gguf"
        shutil.copyfile(stories("q8_0"), file)
        os.utime(file, (1, 1))
        model = add(holder, file)
        wait_for("the peer to know the model", lambda: ask(other, model)[0] == 200)
        unload(other, model)
        os.utime(file)
        status, answer = ask(other, model)
        assert status == 200, (status, answer)


def test_what_is_no_model_is_refused_when_it_is_added(exo):
    tiny = TINY.read_bytes()
    bad = {
        "cut": (tiny[:len(tiny) // 2], ""),
        "empty": (b"", "empty"),
        "html": (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "Git LFS"),
        "zeros": (bytes(100_000), "zeros"),
    }
    with scratch() as folder, cluster(exo, 1) as [node]:
        for name, (contents, word) in bad.items():
            (folder / f"{name}.gguf").write_bytes(contents)
            status, answer = node.api.post("/v1/internal/models", {"path": str(folder / f"{name}.gguf")})
            assert status == 400 and word in answer["error"]["message"], (name, status, answer)
        assert node.api.post("/v1/internal/models", {"path": str(folder / "none.gguf")})[0] == 404
        lives(node)


def test_a_model_is_forgotten_with_rm(exo):
    with scratch() as folder, cluster(exo, 1) as [node]:
        shutil.copyfile(stories("q8_0"), folder / "s.gguf")
        shutil.copyfile(stories("q4_0"), folder / "t.gguf")
        add(node, folder / "s.gguf")
        add(node, folder / "t.gguf")
        assert ask(node, "s")[0] == 200
        (folder / "t.gguf").unlink()
        def rm(name):
            return subprocess.run([exo, "rm", name], capture_output=True, text=True, timeout=PATIENCE,
                                  env={**os.environ, "EXO_HOME": str(node.home)})
        for name in ("s", "t"):
            done = rm(name)
            assert done.returncode == 0, done.stderr
        assert (folder / "s.gguf").exists()
        assert ask(node, "s")[0] == 404
        wait_for("what ran of it to be unloaded", lambda: not node.api.cluster()["instances"])
        again = rm("s")
        assert again.returncode != 0 and "'s'" in again.stderr, again.stderr
        bundled = rm("exo-tiny")
        assert bundled.returncode != 0 and "model folder" in bundled.stderr, bundled.stderr


@contextlib.contextmanager
def small_disk(home):
    """A tmpfs of 3 MB at `home` in a mount namespace: its path from here, and what enters the namespace. Root only."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        raise Skip("no mount namespace can be made here")
    home.mkdir()
    # The holder keeps the namespace; nodes and checks enter it.
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c",
                               f"mount -t tmpfs -o size=3m exo {home} && echo up && exec sleep 300"],
                              stdout=subprocess.PIPE, text=True)
    try:
        if holder.stdout.readline().strip() != "up":
            raise Skip("no tmpfs can be mounted here")
        yield pathlib.Path(f"/proc/{holder.pid}/root{home}"), ("nsenter", "-t", str(holder.pid), "-m")
    finally:
        holder.kill()
        holder.wait()


def fill(folder):
    with contextlib.suppress(OSError), open(folder / "filler", "ab", buffering=0) as out:
        while out.write(b"x" * 4096):
            pass


def test_a_full_disk_forgets_but_serves(exo):
    with scratch() as folder, small_disk(folder / "n") as (inside, enter):
        secret = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
        shutil.copyfile(stories("q8_0"), folder / "s.gguf")
        node = Node(exo, folder, secret, "n", prefix=enter)
        node.home = inside
        node.started()
        try:
            lives(node)
            fill(inside)
            add(node, folder / "s.gguf")
            assert ask(node, "s")[0] == 200
            lives(node)
        finally:
            node.stop()


def test_a_node_starts_on_a_full_disk(exo):
    with scratch() as folder, small_disk(folder / "n") as (inside, enter):
        secret = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
        shutil.copyfile(stories("q8_0"), folder / "s.gguf")
        node = Node(exo, folder, secret, "n", prefix=enter)
        node.home = inside
        node.started().stop()
        fill(inside)
        node = Node(exo, folder, secret, "n", prefix=enter)
        try:
            def port():
                assert node.process.poll() is None, node.log.read_text()
                return re.search(r"give them its port, EXO_API_PORT=(\d+)", node.log.read_text())
            found = wait_for("the node to start", port)[1]
            node.api = Api(int(found), token=admin_token(inside))
            lives(node)
            add(node, folder / "s.gguf")
            assert ask(node, "s")[0] == 200

            def models(**environment):
                return subprocess.run([*enter, exo, "models"], capture_output=True, text=True, timeout=PATIENCE,
                                      env={**os.environ, "EXO_HOME": str(folder / "n"), **environment})
            told, untold = models(EXO_API_PORT=found), models()
            assert told.returncode == 0 and "exo-tiny" in told.stdout, told
            assert untold.returncode == 3 and "no exo node runs" in untold.stderr, untold
        finally:
            node.stop()


if __name__ == "__main__":
    main([test_a_file_cut_before_and_after_loading_never_ends_the_node,
          test_a_file_written_again_in_place_is_another_model,
          test_a_file_cut_under_a_peer_that_pulls_is_a_typed_error,
          test_the_same_size_and_times_are_not_the_same_file,
          test_two_pulls_of_one_digest_both_load,
          test_links_of_a_hub_cache_keep_their_names,
          test_a_prepared_file_that_is_cut_off_in_use_stops_no_answer,
          test_files_come_and_go_without_a_restart,
          test_one_base_name_twice_gets_two_names,
          test_different_files_of_one_name_on_two_devices_can_be_told_apart,
          test_a_model_is_served_while_others_are_hashed_and_a_stop_is_quick,
          test_pipes_and_devices_are_refused_and_hold_up_nothing,
          test_a_file_that_may_not_be_read_is_named_and_is_no_fault_of_the_node,
          test_the_first_request_after_a_file_changed_waits_for_it,
          test_the_first_request_after_a_peers_file_was_touched_waits_for_it,
          test_what_is_no_model_is_refused_when_it_is_added,
          test_a_model_is_forgotten_with_rm,
          test_a_full_disk_forgets_but_serves,
          test_a_node_starts_on_a_full_disk])
