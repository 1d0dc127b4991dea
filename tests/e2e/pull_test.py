"""Models from the internet: a hub and a registry on this machine (mock_hub.py), real nodes and the command line."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

from lib import PATIENCE, cluster, main, need_shared, restarted, wait_for
from mock_hub import Repo, Servers, sha256

MIB = 1 << 20
REPO = "team/stories-GGUF"


def stories(kind="q8_0"):
    folder = need_shared("data", "models", "stories260K", "gguf")
    for path in sorted(folder.iterdir()):
        if kind in path.name.lower() and path.name.endswith(".gguf") and "-of-" not in path.name:
            return path.read_bytes()
    raise AssertionError(f"{folder} has no {kind} file")


@contextlib.contextmanager
def servers_and_folder():
    """Servers of this machine, and a folder for everybody's caches."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="exo-pull-"))
    try:
        with Servers(folder) as servers:
            yield servers, folder
            assert not servers.failures, servers.failures
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def pulling(exo, **environment):
    """A node that pulls from servers of this machine."""
    with servers_and_folder() as (servers, folder):
        with cluster(exo, 1, environment={**servers.environment(folder), **environment}) as [node]:
            yield node, servers, folder


def pull(node, model, **more):
    """Lines of Ollama's route, or (status, error)."""
    status, answer = node.api.post("/api/pull", {"model": model, **more})
    if status != 200 or not isinstance(answer, str):
        return [{"http": status, **(answer if isinstance(answer, dict) else {})}]
    return [json.loads(line) for line in answer.splitlines()]


def blobs(folder):
    return sorted(path.name for path in folder.glob("hf/hub/*/blobs/*"))


def say(node, model):
    return node.api.complete(model, "Once upon a time", max_tokens=8)["choices"][0]["text"]


def command(exo, node, *arguments, code=0):
    done = subprocess.run([exo, *arguments], env={**os.environ, "EXO_HOME": str(node.home)}, capture_output=True,
                          text=True, timeout=2 * PATIENCE)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def models(node):
    return {model["id"] for model in node.api.get("/v1/models")[1]["data"]}


def large(mib, kind="q8_0"):
    """A model file of several pieces: what stands behind the tensors is nobody's."""
    return stories(kind) + b"\0" * (mib * MIB)


def test_a_model_of_the_hub_is_pulled_shared_asked_and_removed(exo):
    with pulling(exo) as (node, servers, folder):
        data = stories()
        servers.repos[REPO] = Repo({"README.md": b"stories", "stories-Q8_0.gguf": data})
        lines = pull(node, f"hf.co/{REPO}:q8_0")
        assert lines[0] == {"status": "pulling manifest"} and lines[-1] == {"status": "success"}, lines
        assert {"status": "verifying sha256 digest"} in lines and lines[-2] == {"status": "writing manifest"}, lines
        files = [line for line in lines if "digest" in line]
        assert files[-1] == {"status": f"pulling {sha256(data)[:12]}", "digest": f"sha256:{sha256(data)}",
                             "total": len(data), "completed": len(data)}, files
        # In the layout of the hub's other clients, and asked for by every name.
        cache = folder / "hf" / "hub" / "models--team--stories-GGUF"
        commit = servers.repos[REPO].commit
        assert (cache / "refs" / "main").read_text() == commit
        snapshot = cache / "snapshots" / commit / "stories-Q8_0.gguf"
        assert os.readlink(snapshot) == f"../../blobs/{sha256(data)}" and snapshot.read_bytes() == data
        assert blobs(folder) == [sha256(data)], blobs(folder)
        assert say(node, "stories-Q8_0") == say(node, f"hf.co/{REPO}:Q8_0") == say(node, f"hf:{REPO}:q8_0")
        # Pulled again, and without the hub, nothing comes; it is there after a restart.
        assert pull(node, f"hf:{REPO}")[-1] == {"status": "success"}
        assert servers.sent == {"stories-Q8_0.gguf": len(data) + 4}, servers.sent  # once; 4 to see that it may be had
        node.stop()
        again = restarted(exo, node, environment={**servers.environment(folder), "HF_ENDPOINT": "https://localhost:9"})
        try:
            wait_for("the model to be found", lambda: "stories-Q8_0" in models(again))
            assert pull(again, f"hf:{REPO}:Q8_0")[-1] == {"status": "success"}
            assert say(again, f"{REPO}:Q8_0")
            shutil.copytree(cache, folder / "kept", symlinks=True)
            command(exo, again, "rm", f"hf:{REPO}:Q8_0")
            assert "stories-Q8_0" not in models(again) and blobs(folder) == [], blobs(folder)
            # What another program has brought stays.
            shutil.rmtree(cache)
            shutil.copytree(folder / "kept", cache, symlinks=True)
            assert pull(again, f"hf:{REPO}:Q8_0")[-1] == {"status": "success"}
            assert again.api.request("DELETE", "/api/delete", {"model": "stories-Q8_0"})[0] == 200
            assert "stories-Q8_0" not in models(again) and blobs(folder) == [sha256(data)]
        finally:
            again.stop()


def test_a_line_that_breaks_and_a_server_that_lies(exo):
    with pulling(exo) as (node, servers, folder):
        data = large(40)
        repo = servers.repos[REPO] = Repo({"m-Q8_0.gguf": data})
        repo.cut_after = [3 * MIB, 5 * MIB, MIB]
        repo.statuses = [503]
        lines = pull(node, f"hf:{REPO}")
        assert lines[-1] == {"status": "success"}, lines[-3:]
        # What had come was not asked for again; what was on its way when a line was cut may have been lost.
        assert len(data) <= servers.sent["m-Q8_0.gguf"] < len(data) + 4 * MIB, servers.sent
        assert blobs(folder) == [sha256(data)], blobs(folder)
        # Another file than was announced gets no name, and nothing of it stays.
        lying = servers.repos["team/lying"] = Repo({"lying-Q8_0.gguf": stories("q4_0")})
        lying.lies = True
        lines = pull(node, "hf:team/lying")
        assert "SHA-256" in lines[-1]["error"] and "thrown away" in lines[-1]["error"], lines
        assert not list(folder.glob("hf/hub/models--team--lying/blobs/*")), "something was kept"
        assert "lying-Q8_0" not in models(node)
        lying.lies = False
        assert pull(node, "hf:team/lying")[-1] == {"status": "success"}


def test_three_devices_pull_each_byte_once(exo):
    """At the same moment, and into caches of their own; then one that asks late."""
    with servers_and_folder() as (servers, folder):
        data = large(24)
        servers.repos[REPO] = Repo({"stories-Q8_0.gguf": data})
        with cluster(exo, 3, environment=lambda name: servers.environment(folder / name)) as nodes:
            answers = {}

            def ask(node):
                answers[node.name] = pull(node, f"hf:{REPO}")
            threads = [threading.Thread(target=ask, args=(node,)) for node in nodes[:2]]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            ask(nodes[2])
            assert all(lines[-1] == {"status": "success"} for lines in answers.values()), answers
            assert sum(len(blobs(folder / node.name)) for node in nodes) == 1
            # Beyond the file once: its head, which each reads first.
            extra = servers.sent["stories-Q8_0.gguf"] - len(data)
            print(f"  {len(data)} bytes came once; {extra} more to look at it first")
            assert extra < 3 * MIB, extra
            texts = {say(node, "stories-Q8_0") for node in nodes}
            assert len(texts) == 1, texts
            goes_on_for_another_device(nodes, servers, folder)
            removed_everywhere(exo, nodes, folder)


def removed_everywhere(exo, nodes, folder):
    """What exo has downloaded or pulled from members goes on all devices; a person's own file stays."""
    own = folder / "mine" / "stories-Q8_0.gguf"
    own.parent.mkdir()
    own.write_bytes(large(24))
    command(exo, nodes[1], "pull", str(own))
    for route, body in (("unload", {}), ("load", {"spread": True})):
        status, answer = nodes[0].api.post(f"/v1/internal/{route}", {"model": "stories-Q8_0", **body})
        assert status == 200, answer
    tensors = [node.home / "tensors" for node in nodes]
    assert any(len(list(folder.glob("*"))) > 1 for folder in tensors), "no device has pulled tensors from another"
    done = command(exo, nodes[2], "rm", "stories-Q8_0", "--everywhere")
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert set(lines) == {node.name for node in nodes}, done.stdout
    assert sum("deleted" in said for said in lines.values()) >= 2, lines
    assert f"{own} stays: exo has not downloaded it" in lines[nodes[1].name], lines
    left = [blobs(folder / node.name) for node in nodes]
    assert own.exists() and left.count([]) >= 2, (left, lines)
    done = command(exo, nodes[1], "rm", str(own))
    assert "is forgotten: " in done.stdout and "stays" in done.stdout and own.exists(), done.stdout
    wait_for("the model to be gone", lambda: all("stories-Q8_0" not in models(node) for node in nodes))
    status, answer = nodes[0].api.request("DELETE", "/api/delete", {"model": "w-Q4_0", "everywhere": True})
    assert status == 200 and answer["ok"] and len(answer["devices"]) == 3, answer
    assert all(blobs(folder / node.name) == [] for node in nodes)
    left = [path.name for folder in tensors for path in folder.glob("*")]
    assert not left, left


def goes_on_for_another_device(nodes, servers, folder):
    """Who asked first goes away; the device that waits for the same gets it, and no byte comes twice."""
    data = large(8, "q4_0")
    repo = servers.repos["team/waited"] = Repo({"w-Q4_0.gguf": data})
    repo.slow = 0.2
    first = nodes[0].api.stream("/v1/internal/pull", {"model": "hf:team/waited"})
    while next(first).get("completed", 0) < MIB:
        pass
    second = nodes[1].api.stream("/v1/internal/pull", {"model": "hf:team/waited"})
    while next(second).get("note") != f"{nodes[0].name} is downloading it":
        pass
    time.sleep(1)  # the first one hears of it
    first.close()
    assert servers.sent["w-Q4_0.gguf"] < len(data), servers.sent
    repo.slow = 0
    assert list(second)[-1] == {"step": "done", "model": "w-Q4_0"}
    assert servers.sent["w-Q4_0.gguf"] - len(data) < 3 * MIB, (servers.sent, len(data))
    assert blobs(folder / nodes[0].name).count(sha256(data)) == 1 and say(nodes[1], "w-Q4_0")


def test_who_goes_away_ends_the_pull_and_the_next_goes_on(exo):
    with pulling(exo) as (node, servers, folder):
        data = large(8)
        repo = servers.repos[REPO] = Repo({"m-Q8_0.gguf": data})
        repo.slow = 0.2
        part = folder / "hf" / "hub" / "models--team--stories-GGUF" / "blobs" / f"{sha256(data)}.part"
        asked = subprocess.Popen([exo, "pull", f"hf:{REPO}", "--json"], stdout=subprocess.PIPE, text=True,
                                 env={**os.environ, "EXO_HOME": str(node.home)})
        event = {}
        while event.get("completed", 0) < 2 * MIB or not event["bytes_per_second"]:
            event = json.loads(asked.stdout.readline())
        assert event["step"] == "file" and event["total"] == len(data) and event["seconds_left"] > 0, event
        asked.kill()
        asked.wait()
        asked.stdout.close()
        wait_for("the pull to stop", lambda: part.with_name(part.name + ".json").exists() and
                 servers.sent["m-Q8_0.gguf"] == (time.sleep(5 * repo.slow), servers.sent["m-Q8_0.gguf"])[1])
        assert part.exists() and "m-Q8_0" not in models(node)
        before = servers.sent["m-Q8_0.gguf"]
        repo.slow = 0
        done = command(exo, node, "pull", f"hf:{REPO}")
        assert "m-Q8_0 is here" in done.stdout, (done.stdout, done.stderr)
        assert "m-Q8_0: 8.3 MiB; runs here" in done.stderr and "100 %  8.3 MiB of 8.3 MiB" in done.stderr, done.stderr
        assert servers.sent["m-Q8_0.gguf"] - before < len(data) - MIB // 2, (before, servers.sent)
        assert not part.exists() and say(node, "m-Q8_0")


def test_models_make_room_for_the_next_one(exo):
    with pulling(exo, EXO_DOWNLOAD_SPACE="12MiB") as (node, servers, folder):
        for name, mib, kind in (("a", 4, "q8_0"), ("b", 4, "q4_0"), ("c", 5, "f16"), ("big", 9, "f32")):
            servers.repos[f"team/{name}"] = Repo({f"{name}-Q8_0.gguf": large(mib, kind)})
        left = folder / "hf" / "hub" / "models--x--y" / "blobs" / f"{'0' * 64}.part"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"x")
        os.utime(left, (1, 1))
        for name in "ab":
            assert pull(node, f"hf:team/{name}")[-1] == {"status": "success"}
        assert not left.exists(), "a download that was broken off years ago is still there"
        assert say(node, "a-Q8_0") and node.api.post("/v1/internal/unload", {"model": "a-Q8_0"})[0] == 200
        time.sleep(1)  # seconds tell who was used last
        assert say(node, "b-Q8_0")
        # Nobody asks for a; b is loaded.
        done = command(exo, node, "pull", "hf:team/c")
        assert "deleted to make room: a-Q8_0" in done.stderr, done.stderr
        assert "a-Q8_0" not in models(node) and {"b-Q8_0", "c-Q8_0"} <= models(node)
        before = servers.sent.get("big-Q8_0.gguf", 0)
        [answer] = pull(node, "hf:team/big", stream=False)
        assert answer["http"] == 503 and "download_space" in answer["error"] and "is loaded" in answer["error"], answer
        assert servers.sent["big-Q8_0.gguf"] - before < 2 * MIB, "only its head was read"


def test_refusals_say_what_to_do(exo):
    with pulling(exo) as (node, servers, folder):
        data = stories()
        servers.repos[REPO] = Repo({"m-Q8_0.gguf": data, "m-Q4_K_M.gguf": data})
        servers.repos["team/gated"] = Repo({"m-Q8_0.gguf": data}, gated=True)
        servers.repos["team/weights"] = Repo({"model.safetensors": data})
        servers.repos["team/broken"] = Repo({"broken-Q8_0.gguf": b"GGUF" + b"\0" * 1000})
        servers.repos["team/climbing"] = Repo({"../../x-Q8_0.gguf": data})

        def refused(model, status, *words):
            [answer] = pull(node, model, stream=False)
            assert answer.get("http") == status, answer
            for word in words:
                assert word in answer["error"], (word, answer)
        refused("hf:team/missing", 404, "team/missing", "private", "HF_TOKEN")
        refused("hf:team/gated", 400, "accept its license", "team/gated", "HF_TOKEN")
        refused(f"hf:{REPO}:Q5_0", 404, "Q5_0", "Q4_K_M, Q8_0")
        refused(f"hf:{REPO}@v9", 404, "v9")
        refused("hf:team/weights", 404, "no GGUF file")
        refused("hf:team/climbing", 404, "no GGUF file")
        refused("nothing:7b", 404, "nothing:7b")
        refused("http://example.com/x.gguf", 400, "https://")
        refused("hf:../x", 400, "OWNER/REPO")
        # A client may not make this device ask its own network, by a name, an address or a registry of its choice.
        port = servers.servers[0].server_port
        before = len(servers.requests)
        for model in (f"https://localhost:{port}/m.gguf", f"https://127.0.0.1:{port}/m.gguf",
                      f"https://[::1]:{port}/m.gguf", f"https://2130706433:{port}/m.gguf",
                      f"localhost:{port}/team/m:1b", "https://192.168.0.1/m.gguf"):
            refused(model, 400, "private address" if "[" not in model else "")
        assert len(servers.requests) == before, servers.requests[before:]
        # What cannot be run is refused by its head.
        refused("hf:team/broken", 400, "broken-Q8_0", "GGUF version 0")
        assert "broken-Q8_0" not in models(node)
        # What is asked and not here: which pull may bring it.
        for name in ("team/stories", "llama9:1b"):
            assert f"exo pull {name}" in command(exo, node, "run", name, "x", code=4).stderr
        assert command(exo, node, "pull", "hf:team/missing", code=4).stderr.startswith("exo: there is no repository")


def test_a_gated_and_split_model_with_a_token(exo):
    folder = need_shared("data", "models", "stories260K", "gguf")
    parts = {f"f16/{path.name}": path.read_bytes() for path in sorted(folder.glob("*-of-*.gguf"))}
    with pulling(exo, HF_TOKEN="hf_secret") as (node, servers, _):
        servers.token = "hf_secret"
        servers.repos[REPO] = Repo(parts, gated=True)
        lines = pull(node, f"hf:{REPO}:f16")
        assert lines[-1] == {"status": "success"}, lines
        whole = node.api.post("/v1/internal/models", {"path": str(folder / "stories260K-f16.gguf")})[1]["model"]
        assert say(node, f"hf:{REPO}:f16") == say(node, whole)


def test_models_of_the_registry_and_of_its_own_store(exo):
    with pulling(exo) as (node, servers, folder):
        data = stories()
        servers.add_model("library/story", "1b", data)
        servers.add_model("library/story", "latest", stories("q4_0"))
        assert pull(node, "story:1b")[-1] == {"status": "success"}
        assert pull(node, "story")[-1] == {"status": "success"}
        assert {"story:1b", "story"} <= models(node), models(node)
        assert say(node, "story:1b") and say(node, "story:latest")
        assert (node.home / "models" / "blobs" / f"sha256-{sha256(data)}").exists()
        assert node.api.request("DELETE", "/api/delete", {"model": "story:1b"})[0] == 200
        assert not (node.home / "models" / "blobs" / f"sha256-{sha256(data)}").exists()
        # What Ollama has already is used where it lies.
        other = stories("f32")
        servers.add_model("library/known", "7b", other)
        store = folder / "ollama" / "blobs" / f"sha256-{sha256(other)}"
        store.parent.mkdir(parents=True)
        store.write_bytes(other)
        assert pull(node, "known:7b")[-1] == {"status": "success"}
        assert sha256(other) not in servers.sent and os.readlink(node.home / "models" / "known:7b.gguf") == str(store)
        assert node.api.request("DELETE", "/api/delete", {"model": "known:7b"})[0] == 200
        assert store.exists() and "known:7b" not in models(node)
        # A folder that may only be read: each model in it is used where it lies.
        nas = folder / "nas"
        nas.mkdir()
        (nas / "one.gguf").write_bytes(data)
        (nas / "two.gguf").write_bytes(b"GGUF")
        (nas / "notes.txt").write_text("no model")
        nas.chmod(0o555)
        done = command(exo, node, "pull", str(nas))
        assert done.stdout.startswith("one is known") and "two.gguf" in done.stderr, (done.stdout, done.stderr)
        assert say(node, "one") and not (node.home / "models" / "one.gguf").exists()
        nas.chmod(0o755)


if __name__ == "__main__":
    main([test_a_model_of_the_hub_is_pulled_shared_asked_and_removed, test_a_line_that_breaks_and_a_server_that_lies,
          test_three_devices_pull_each_byte_once, test_who_goes_away_ends_the_pull_and_the_next_goes_on,
          test_models_make_room_for_the_next_one, test_refusals_say_what_to_do,
          test_a_gated_and_split_model_with_a_token, test_models_of_the_registry_and_of_its_own_store])
