"""A cluster of real nodes: trust, requests from every node, loss of a node, cancelling, limits, the command line."""
import contextlib
import datetime
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from lib import PATIENCE, ROOT, TINY, WORDY, Api, Node, alive, cluster, main, need_shared, small_socket, wait_alive, wait_for, within

sys.path.append(str(ROOT / "tests" / "peer"))
import synthetic  # noqa: E402

LETTERS = "[a-z ]{1200,}"  # a form that 400 tokens do not fill
LONG = {"model": "exo-tiny", "prompt": "Once upon a time", "temperature": 0.9, "seed": 3}


def spread(node, model="exo-tiny"):
    status, plan = node.api.post("/v1/internal/load", {"model": model, "spread": True})
    assert status == 200, plan
    return plan


def instances(node):
    return [i for i in node.api.cluster()["instances"] if i["state"] != "gone"]


def test_any_node_answers_with_the_same_text(exo):
    with cluster(exo, 3) as nodes:
        spread(nodes[0])
        texts = [n.api.complete(max_tokens=30, **{**LONG, "temperature": 0.9})["choices"][0]["text"] for n in nodes]
        assert texts[0] and texts == [texts[0]] * 3, texts
        answer = nodes[1].api.post("/v1/chat/completions", {"model": "exo-tiny", "messages": [
            {"role": "user", "content": "What is exo?"}], "temperature": 0})[1]
        assert "exo" in answer["choices"][0]["message"]["content"], answer
        assert answer["usage"]["prompt_tokens"] > 0 and len(answer["exo"]["stages"]) == 3


def test_requests_in_parallel_equal_requests_alone(exo):
    with cluster(exo, 2) as nodes:
        spread(nodes[0])
        def ask(seed):
            return nodes[seed % 2].api.complete("exo-tiny", f"One day {seed}", max_tokens=40, temperature=0.8, seed=seed)["choices"][0]["text"]
        alone = [ask(seed) for seed in range(6)]
        together = [None] * 6
        threads = [threading.Thread(target=lambda s=s: together.__setitem__(s, ask(s))) for s in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert together == alone, (alone, together)


def test_a_stranger_gets_nothing_but_a_refusal(exo):
    with cluster(exo, 2) as nodes:
        with tempfile.TemporaryDirectory() as folder:
            other = subprocess.run([exo, "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
            stranger = Node(exo, folder, other, "stranger", "--peer", f"127.0.0.1:{nodes[0].state['port']}").started()
            try:
                time.sleep(1.5)
                assert len(alive(stranger)) == 1, stranger.api.cluster()
                assert "stranger" not in [n["name"] for n in alive(nodes[0])]
                seen = json.dumps(stranger.api.cluster())
                assert "n1" not in seen and "n2" not in seen, seen
                # With the right secret it is in.
                stranger.stop()
                own = (nodes[0].home / "cluster.secret")
                joined = subprocess.run([exo, "join"], input=nodes[0].secret + "\n", text=True, capture_output=True,
                                        env={**os.environ, "EXO_HOME": str(stranger.home)})
                assert joined.returncode == 0, joined.stderr
                member = Node(exo, folder, "", "stranger", environment={"EXO_CLUSTER_SECRET": ""}).started()
                try:
                    wait_alive([member, nodes[0]], 3)
                finally:
                    member.stop()
            finally:
                stranger.kill()
                stranger.process.wait()


def chat(**fields):
    """A chat whose answer is long, and whose events are large (lib.WORDY): for readers that hold it up."""
    return {**WORDY, "model": "exo-tiny", "messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 400,
            "temperature": 0.9, "seed": 7, "regex": LETTERS, **fields}


def answer_to(node, ask):
    status, answer = node.api.post("/v1/chat/completions", ask)
    assert status == 200, answer
    return answer["choices"][0]["message"]["content"]


def killed_in_mid_answer(node, victim, ask):
    """The text of a chat during which another node is killed, its last event, and when that was."""
    text, killed = "", None
    for event in node.api.stream("/v1/chat/completions", ask, held=True):
        before, text = text, text + "".join(choice["delta"].get("content") or "" for choice in event.get("choices", []))
        if len(before) < 40 <= len(text):
            victim.kill()
            killed = time.monotonic()
    return text, event, killed


def test_an_answer_goes_on_when_a_node_of_it_is_lost(exo):
    with cluster(exo, 3) as nodes:
        plan = spread(nodes[0])
        names = [stage["node"] for stage in plan["stages"]]
        victim = next(n for n in nodes if n.name == names[-1])
        survivor = next(n for n in nodes if n is not victim)
        # A form, whose place in the answer must survive, and a draw that depends on the seed.
        ask = chat()
        expected = answer_to(survivor, ask)
        text, event, killed = killed_in_mid_answer(survivor, victim, ask)
        assert "error" not in event, event
        print(f"  the answer ended {time.monotonic() - killed:.2f} s after the kill")
        assert text == expected, (text, expected)
        assert victim.name not in [stage["node"] for stage in event["exo"]["stages"]], event["exo"]
        warned = [line for line in survivor.log.read_text().splitlines() if f"device {victim.name} with layers" in line and "warning" in line.lower()]
        assert len(warned) == 1 and "request=" in warned[0] and "tokens of the answer; it goes on" in warned[0], warned
        for node in nodes:
            if node is not victim:
                wait_for("the dead node to be noticed", lambda n=node: len(alive(n)) == 2)
        wait_for("no request to be left", lambda: all(i["active_requests"] == 0 for i in instances(survivor)))


def test_each_layer_over_two_nodes(exo):
    """A tensor split: the text of one node, and of one node again when the other is lost in the middle of it."""
    ask = {**LONG, "max_tokens": 400, "seed": 7}
    with cluster(exo, 2) as nodes:
        alone = nodes[0].api.post("/v1/completions", ask)[1]
        assert len(alone["exo"]["stages"]) == 1
        expected = answer_to(nodes[0], chat())
        assert nodes[0].api.post("/v1/internal/unload", {"model": "exo-tiny"})[0] == 200
        status, plan = nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", "split": "tensor"})
        assert status == 200 and plan["reason"].startswith("each layer split over the nodes"), plan
        heads = [stage["kv_heads"] for stage in plan["stages"]]
        assert len(heads) == 2 and heads[0][0] == 0 and heads[0][1] == heads[1][0], heads
        answer = nodes[1].api.post("/v1/completions", ask)[1]
        assert answer["choices"][0]["text"] == alone["choices"][0]["text"]
        assert [s["layer_end"] for s in answer["exo"]["stages"]] == [plan["layers"]] * 2, answer["exo"]
        a_request_is_traced(nodes[1], {"n1", "n2"})
        victim = next(n for n in nodes if n.name == plan["stages"][1]["node"])
        survivor = next(n for n in nodes if n is not victim)
        text, event, _ = killed_in_mid_answer(survivor, victim, chat())
        assert "error" not in event, event
        assert text == expected, (text, expected)
        assert [s["node"] for s in event["exo"]["stages"]][-1] == survivor.name, event["exo"]


def test_layers_over_groups_of_nodes(exo):
    """One node and two that share their layers: the text of one node, also when one of the two is lost in the middle."""
    ask = {**LONG, "max_tokens": 400, "seed": 7}
    with cluster(exo, 3) as nodes:
        alone = nodes[0].api.post("/v1/completions", ask)[1]
        assert len(alone["exo"]["stages"]) == 1
        expected = answer_to(nodes[0], chat())
        assert nodes[0].api.post("/v1/internal/unload", {"model": "exo-tiny"})[0] == 200
        status, plan = nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", "split": "hybrid"})
        assert status == 200 and plan["reason"].startswith("layers over groups of nodes, as asked: "), plan
        shards = [stage for stage in plan["stages"] if "kv_heads" in stage]
        assert len(plan["stages"]) == 3 and len(shards) == 2, plan
        assert shards[0]["layer_begin"] == shards[1]["layer_begin"] and shards[0]["layer_end"] == shards[1]["layer_end"], plan
        assert shards[0]["kv_heads"][1] == shards[1]["kv_heads"][0], plan
        answer = nodes[1].api.post("/v1/completions", ask)[1]
        assert answer["choices"][0]["text"] == alone["choices"][0]["text"]
        assert len(answer["exo"]["stages"]) == 3, answer["exo"]
        a_request_is_traced(nodes[1], {"n1", "n2", "n3"})
        victim = next(n for n in nodes if n.name == shards[1]["node"])
        survivor = next(n for n in nodes if n is not victim)
        text, event, _ = killed_in_mid_answer(survivor, victim, chat())
        assert "error" not in event, event
        assert text == expected, (text, expected)
        assert victim.name not in [s["node"] for s in event["exo"]["stages"]], event["exo"]


def test_each_layer_of_a_mixture_over_three_nodes(exo):
    """16 experts and 2 KV heads over 3 nodes: whole experts each, and cuts through the groups of the KV heads."""
    with tempfile.TemporaryDirectory(prefix="exo-mixture-") as folder, cluster(exo, 3) as nodes:
        path = pathlib.Path(folder) / "mixture.gguf"
        synthetic.write(path, "qwen3moe", {"": "q8_0"})
        status, made = nodes[0].api.post("/v1/internal/models", {"path": str(path)})
        assert status == 200, made
        ask = {**LONG, "model": made["model"], "max_tokens": 40, "seed": 7}
        alone = nodes[0].api.post("/v1/completions", ask)[1]
        assert len(alone["exo"]["stages"]) == 1, alone
        assert nodes[0].api.post("/v1/internal/unload", {"model": made["model"]})[0] == 200
        status, plan = nodes[0].api.post("/v1/internal/load", {"model": made["model"], "split": "tensor"})
        assert status == 200 and "(experts in proportion to speed: " in plan["reason"], plan
        stages = plan["stages"]
        assert [stage["query_heads"] for stage in stages] == [[0, 2], [2, 4], [4, 6]], stages
        assert [stage["kv_heads"] for stage in stages] == [[0, 1], [0, 2], [1, 2]], stages
        assert [stage["experts"][0] for stage in stages] == [0] + [stage["experts"][1] for stage in stages[:2]], stages
        assert stages[2]["experts"][1] == 16, stages
        answer = nodes[1].api.post("/v1/completions", ask)[1]
        assert len(answer["exo"]["stages"]) == 3, answer["exo"]
        assert answer["choices"][0]["text"] == alone["choices"][0]["text"], (answer, alone)


def test_a_lossy_wire_is_said_and_never_goes_on_as_another_text(exo):
    ask = {**LONG, "max_tokens": 400, "seed": 7}
    with cluster(exo, 2) as nodes:
        wired = {"model": "exo-tiny", "split": "layer", "wire": "int8"}
        assert nodes[0].api.post("/v1/internal/load", {**wired, "split": "tensor"})[0] == 400
        status, plan = nodes[0].api.post("/v1/internal/load", wired)
        assert status == 200 and plan["wire"] == "int8" and "int8" in plan["reason"], plan
        answers = [node.api.post("/v1/completions", ask)[1] for node in nodes]
        assert [answer["exo"]["wire"] for answer in answers] == ["int8"] * 2, answers
        assert answers[0]["choices"][0]["text"] == answers[1]["choices"][0]["text"]
        assert instances(nodes[1])[0]["wire"] == "int8"
        sent = [node.api.cluster()["sent"] for node in nodes]
        # 256 values: unit, 2 outliers, 8 groups of an f16 and 32 codes, instead of 1,024 bytes.
        assert all(one["rows"] > 0 and one["bytes"] == one["rows"] * (4 + 2 * 4 + 8 * 34) for one in sent), sent
        status, refused = nodes[0].api.post("/v1/internal/load", {**wired, "wire": "f32"})
        assert status == 503 and "int8 between devices" in refused["error"]["message"], refused
        victim = next(n for n in nodes if n.name == plan["stages"][1]["node"])
        survivor = next(n for n in nodes if n is not victim)
        expected = answer_to(survivor, chat())
        text, event, _ = killed_in_mid_answer(survivor, victim, chat())
        error = event.get("error")
        assert error and error["code"] == "device_lost" and "another text" in error["message"], (event, text)
        assert expected.startswith(text), (text, expected)
        # What begins anew is the exact answer of the one device that is left.
        answer = survivor.api.post("/v1/completions", ask)[1]
        assert answer["exo"]["wire"] == "f32" and len(answer["exo"]["stages"]) == 1, answer["exo"]


def test_a_request_right_after_a_loss_is_placed_again(exo):
    for delay in (0, 0.3, 1.5):
        with cluster(exo, 3) as nodes:
            plan = spread(nodes[0])
            names = [stage["node"] for stage in plan["stages"]]
            expected = nodes[0].api.complete(LONG["model"], LONG["prompt"], max_tokens=8)["choices"][0]["text"]
            victim = next(n for n in nodes if n.name == names[0 if delay == 0.3 else -1])
            survivor = next(n for n in nodes if n is not victim)
            victim.kill()
            time.sleep(delay)
            start = time.monotonic()
            answer = survivor.api.complete(LONG["model"], LONG["prompt"], max_tokens=8)
            print(f"  asked {delay} s after the kill, answered {time.monotonic() - start:.2f} s later")
            assert answer["choices"][0]["text"] == expected, answer
            assert victim.name not in [stage["node"] for stage in answer["exo"]["stages"]], answer["exo"]


def test_a_stopped_process_is_noticed(exo):
    with cluster(exo, 2) as nodes:
        nodes[1].kill(signal.SIGSTOP)
        start = time.monotonic()
        wait_for("a frozen node to be dead", lambda: len(alive(nodes[0])) == 1)
        noticed = time.monotonic() - start
        print(f"  noticed after {noticed:.1f} s")
        within("to notice it", noticed, 12)
        nodes[1].kill(signal.SIGCONT)
        wait_alive(nodes, 2)


def test_a_client_that_goes_away_frees_its_slot(exo):
    with cluster(exo, 2) as nodes:
        spread(nodes[0])
        for attempt in range(3):
            stream = nodes[0].api.stream("/v1/chat/completions", chat(seed=attempt), held=True)
            next(stream)
            stream.close()
            start = time.monotonic()
            wait_for("the slot to be free", lambda: all(i["active_requests"] == 0 for i in instances(nodes[0])), step=0.005)
            within("to free the slot", time.monotonic() - start, 1.5)
            ended = nodes[0].api.get("/v1/internal/requests")[1]["data"][0]  # the latest
            assert ended["state"] == "canceled" and ended["generated"] < 400, ended
        a_request_is_traced(nodes[0], {"n1", "n2"})
        a_request_is_traced(nodes[1], {"n1", "n2"})
        a_person_ends_a_request(nodes[1])


def asked(node, body):
    """The answer to a completion and the id of its request."""
    connection = node.api.connect()
    connection.request("POST", "/v1/completions", body=json.dumps(body), headers={"Content-Type": "application/json"})
    answer = connection.getresponse()
    request = answer.getheader("X-Request-Id")
    text = answer.read()
    connection.close()
    assert answer.status == 200 and re.fullmatch("[0-9a-f]{32}", request), (answer.status, request, text)
    return json.loads(text), request


def a_request_is_traced(node, devices):
    """Each token has its time on every device and, between them, on the wire: within its step, and within the request."""
    answer, request = asked(node, {**LONG, "max_tokens": 12})
    assert answer["usage"]["completion_tokens"] == 12, answer
    record = next(r for r in node.api.get("/v1/internal/requests")[1]["data"] if r["id"] == request)
    assert record["state"] == "done" and record["generated"] == 12 and record["entry"] == node.name, record
    assert set(record["devices"]) == devices and record["ttft_ms"] > 0, record
    trace = node.api.get(f"/v1/internal/requests/{request}/trace")[1]
    spans = trace["spans"]
    named = lambda name: [s for s in spans if s["name"] == name]
    assert trace["dropped"] == 0 and len(named("tokenize")) == 1 and named("tokenize")[0]["device"] == node.name, trace
    steps = named("prompt") + named("token")
    tokens = [s["token"] for s in steps if "token" in s]
    # Some bring several: as many as were guessed and right, and what is guessed depends on measured times.
    assert tokens[0] == 0 and tokens == sorted(set(tokens)) and 0 < tokens[-1] < 12, tokens
    whole = record["ended"] - record["started"] + 50
    for step in steps:
        parts = [s for s in spans if s.get("step") == step["step"] and s is not step]
        assert {p["device"] for p in parts if p["name"] == "stage"} == devices, parts
        if len(devices) > 1:
            assert {p["device"] for p in parts if p["name"] == "wire"} == devices, parts
        end = step["start_us"] + step["duration_us"]
        assert all(step["start_us"] <= p["start_us"] and p["start_us"] + p["duration_us"] <= end for p in parts), (step, parts)
        assert end <= whole * 1000, (step, record)
    chrome = node.api.get(f"/v1/internal/requests/{request}/trace?format=chrome")[1]["traceEvents"]
    assert devices <= {e["args"]["name"] for e in chrome if e["name"] == "process_name"}, chrome[:4]
    otlp = node.api.get(f"/v1/internal/requests/{request}/trace?format=otlp")[1]["resourceSpans"]
    assert sum(len(r["scopeSpans"][0]["spans"]) for r in otlp) == len(spans) + 1, otlp


def a_person_ends_a_request(node):
    stream = node.api.stream("/v1/chat/completions", chat(), held=True)
    next(stream)
    live = [r for r in node.api.get("/v1/internal/requests")[1]["data"] if r["state"] == "answering"]
    assert len(live) == 1 and live[0]["model"] == "exo-tiny" and live[0]["dialect"] == "OpenAI", live
    path = f"/v1/internal/requests/{live[0]['id']}"
    assert node.api.request("DELETE", path) == (200, {"ok": True})
    error = [event for event in stream if "error" in event][-1]["error"]
    assert error["code"] == "request_canceled", error
    assert node.api.request("DELETE", path)[0] == 409
    wait_for("the slot to be free", lambda: all(i["active_requests"] == 0 for i in instances(node)))
    ended = next(r for r in node.api.get("/v1/internal/requests")[1]["data"] if r["id"] == live[0]["id"])
    assert ended["state"] == "canceled" and ended["ended"] >= ended["started"], ended


def test_unload_gives_memory_back(exo):
    with cluster(exo, 2) as nodes:
        spread(nodes[0])
        wait_for("memory to be reserved", lambda: all(n["memory_reserved"] > 0 for n in nodes[0].api.cluster()["nodes"]))
        status, answer = nodes[1].api.post("/v1/internal/unload", {"model": "exo-tiny"})
        assert status == 200, answer
        wait_for("memory to be free", lambda: all(n["memory_reserved"] == 0 for n in nodes[0].api.cluster()["nodes"]))
        wait_for("it to be gone", lambda: not instances(nodes[0]))
        assert nodes[0].api.complete("exo-tiny", "Once", max_tokens=3)["choices"][0]["text"]


def test_a_node_without_the_file_pulls_its_layers(exo):
    folder = need_shared("data/models/stories260K/gguf")
    with cluster(exo, 2, environment={"EXO_LOG": "info"}) as nodes:
        status, added = nodes[0].api.post("/v1/internal/models", {"path": str(folder / "stories260K-q8_0.gguf")})
        assert status == 200, added
        name = "stories260K-q8_0"
        alone = nodes[0].api.complete(name, "Once upon", max_tokens=20)["choices"][0]["text"]
        wait_for("the other node to hear of it", lambda: name in json.dumps(nodes[1].api.get("/v1/models")[1]))
        nodes[0].api.post("/v1/internal/unload", {"model": name})
        spread(nodes[1], name)
        assert nodes[1].api.complete(name, "Once upon", max_tokens=20)["choices"][0]["text"] == alone
        pulled = list((nodes[1].home / "tensors").iterdir())
        assert pulled, "nothing was pulled"
        total = sum(p.stat().st_size for p in pulled)
        assert total < (folder / "stories260K-q8_0.gguf").stat().st_size, "more than its own layers was pulled"
        assert "from 1 of 1 members" in nodes[1].log.read_text()


def test_a_shard_without_the_file_pulls_only_the_blocks_that_it_reads(exo):
    with tempfile.TemporaryDirectory(prefix="exo-shard-") as folder, cluster(exo, 2, environment={"EXO_LOG": "info"}) as nodes:
        other = bytearray(TINY.read_bytes())
        other[len(other) // 2] ^= 1
        path = pathlib.Path(folder) / "other.gguf"
        path.write_bytes(other)
        status, made = nodes[0].api.post("/v1/internal/models", {"path": str(path)})
        assert status == 200, made
        ask = {**LONG, "model": made["model"], "max_tokens": 40, "seed": 7}
        alone = nodes[0].api.post("/v1/completions", ask)[1]
        assert len(alone["exo"]["stages"]) == 1, alone
        assert nodes[0].api.post("/v1/internal/unload", {"model": made["model"]})[0] == 200
        status, plan = nodes[0].api.post("/v1/internal/load", {"model": made["model"], "split": "tensor"})
        assert status == 200 and len(plan["stages"]) == 2, plan
        answer = nodes[1].api.post("/v1/completions", ask)[1]
        assert len(answer["exo"]["stages"]) == 2, answer["exo"]
        assert answer["choices"][0]["text"] == alone["choices"][0]["text"], (answer, alone)
        pulled = list((nodes[1].home / "tensors").iterdir())
        assert any("-" in p.name for p in pulled), "no tensor was pulled in part"
        total = sum(p.stat().st_size for p in pulled)
        said = [line for line in nodes[1].log.read_text().splitlines() if "from 1 of 1 members" in line]
        print(f"  pulled {total} of {len(other)} bytes; {said}")
        assert len(said) == 1 and total < 0.8 * len(other), (total, len(other), said)


def test_different_files_of_one_name_are_refused(exo):
    folder = need_shared("data/models/stories260K/gguf")
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        os.symlink(folder / "stories260K-f16.gguf", f"{first}/twin.gguf")
        with open(f"{second}/twin.gguf", "wb") as out:
            out.write((folder / "stories260K-q8_0.gguf").read_bytes())
        with cluster(exo, 2) as nodes:
            # A symbolic link is followed to its real name, so copy the first one as well.
            os.unlink(f"{first}/twin.gguf")
            with open(f"{first}/twin.gguf", "wb") as out:
                out.write((folder / "stories260K-f16.gguf").read_bytes())
            assert nodes[0].api.post("/v1/internal/models", {"path": f"{first}/twin.gguf"})[0] == 200
            assert nodes[1].api.post("/v1/internal/models", {"path": f"{second}/twin.gguf"})[0] == 200
            def refused():
                status, answer = nodes[0].api.post("/v1/completions", {"model": "twin", "prompt": "a", "max_tokens": 2})
                return status == 400 and "twin" in answer["error"]["message"] and "n2" in answer["error"]["message"]
            wait_for("the refusal by name", refused)


def test_errors_have_openai_shape(exo):
    with cluster(exo, 1) as nodes:
        api = nodes[0].api
        status, answer = api.post("/v1/chat/completions", {"model": "no-such", "messages": [{"role": "user", "content": "x"}]})
        assert status == 404 and answer["error"]["code"] == "model_not_found", answer
        status, answer = api.post("/v1/completions", {"model": "exo-tiny", "prompt": "a " * 3000, "max_tokens": 10})
        assert status == 400 and answer["error"]["code"] == "context_length_exceeded", answer
        assert "512" in answer["error"]["message"], answer
        assert api.request("POST", "/v1/completions", "{bad")[0] == 400
        assert api.request("GET", "/v1/models", headers={"Host": "evil.example"})[0] == 403


def other_hours():
    """A time of day that is not now, as the setting `hours` has it."""
    now = datetime.datetime.now()
    return f"{now + datetime.timedelta(hours=2):%H:%M}-{now + datetime.timedelta(hours=3):%H:%M}"


def test_the_command_line_speaks_to_the_node(exo):
    with cluster(exo, 2, environment=lambda name: {"EXO_HOURS": other_hours()} if name == "n2" else {}) as nodes:
        def run(*arguments, expect=0, **settings):
            done = subprocess.run([exo, *arguments], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, "EXO_HOME": str(nodes[0].home)}, **settings)
            assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
            return done.stdout + done.stderr
        wait_for("n2 to be listed", lambda: re.search("n2.* alive", run("devices")))
        assert len(json.loads(run("devices", "--json"))) == 2
        wait_for("n2 to say that it takes no part", lambda: "offers nothing (not its hours)" in run("devices"), step=0.2)
        health = {n["name"]: n["health"] for n in json.loads(run("devices", "--json"))}
        assert health["n2"]["share"] == 0 and health["n2"]["reasons"] == ["hours"], health
        assert health["n1"]["share"] > 0, health
        assert [s["node"] for s in json.loads(run("plan", "exo-tiny", "--spread", "--json"))["stages"]] == ["n1"]
        assert "exo-tiny" in run("models") and json.loads(run("models", "--json"))
        assert "predicted" in run("plan", "exo-tiny") and json.loads(run("plan", "exo-tiny", "--json"))["stages"]
        assert "no model is running" in run("ps")
        assert len(run("run", "exo-tiny", "Once upon a time", "--raw", "--max-tokens", "12")) > 10
        assert json.loads(run("run", "exo-tiny", "--json", "--max-tokens", "5", input="What is exo?"))["text"]
        assert "exo-tiny" in run("ps") and json.loads(run("ps", "--json"))[0]["stages"]
        compared = run("plan", "exo-tiny", "--explain").split("compared:")[1]
        assert compared.count("running now") == 1, compared
        assert "no-such" in run("run", "no-such", "x", expect=4)
        assert "process" in run("up", expect=5), "a second exo up must say who holds the folder"
        path = need_shared("data/models/stories260K/gguf") / "stories260K-f16.gguf"
        assert run("run", str(path), "Once upon", "--raw", "--max-tokens", "5", "--temperature", "0").strip()
        assert "stories260K-f16" in run("plan", str(path))


def read_events(api, last=None):
    """Yields (id, event, data) of the numbered events of /v1/internal/events."""
    connection = api.connect()
    connection.request("GET", "/v1/internal/events", headers=api.headers("/v1/internal/events")
                       | ({} if last is None else {"Last-Event-ID": str(last)}))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    try:
        fields = {}
        for line in answer:
            line = line.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                if "id" in fields:
                    yield int(fields["id"]), fields["event"], json.loads(fields["data"])
                fields = {}
    finally:
        connection.close()


def test_events_tell_what_changes(exo):
    with cluster(exo, 2) as nodes:
        stream = read_events(nodes[0].api)
        first, kind, data = next(stream)
        assert kind == "resync" and data["sequence"] == first, (kind, data)
        nodes[0].api.complete("exo-tiny", "Once", max_tokens=3)
        nodes[1].kill()
        seen = {}
        for number, kind, data in stream:
            seen.setdefault((kind, data["name"]), []).append(data["state"])
            assert number == first + sum(map(len, seen.values())), "a gap in the numbers"
            if seen.get(("peer", "n2"), [""])[-1] == "dead":
                break
        stream.close()
        assert seen[("request", "exo-tiny")] == ["started", "ended"], seen
        assert "ready" in seen[("instance", "exo-tiny")], seen
        # A client that comes back gets the same again, and one that was away too long hears so.
        again = read_events(nodes[0].api, first)
        assert next(again)[0] == first + 1
        again.close()
        old = read_events(nodes[0].api, 5)
        assert next(old)[1] == "missed"
        old.close()
        status, text = nodes[0].api.get("/metrics")
        assert status == 200 and "exo_generated_tokens_total 3\n" in text, text


def with_long_context(source, target, context=4096):
    """Copies stories260K with a longer context and without an end token, so that answers are long."""
    data = bytearray(source.read_bytes())
    for key, value in ((b"llama.context_length", context), (b"tokenizer.ggml.eos_token_id", 0)):
        at = data.index(key) + len(key)
        assert struct.unpack_from("<I", data, at)[0] == 4, "the value is not a u32"
        struct.pack_into("<I", data, at + 4, value)
    target.write_bytes(data)


def test_a_slow_reader_pauses_the_generation(exo):
    source = need_shared("data/models/stories260K/gguf/stories260K-q8_0.gguf")
    with cluster(exo, 2) as nodes, tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "long.gguf"
        with_long_context(source, path)
        assert nodes[0].api.post("/v1/internal/models", {"path": str(path)})[0] == 200
        spread(nodes[0], "long")
        def generated():
            text = nodes[0].api.get("/metrics")[1]
            return int(re.search(r"^exo_generated_tokens_total (\d+)", text, re.M)[1])
        body = json.dumps({"model": "long", "prompt": "Once", "temperature": 1, "seed": 5, "max_tokens": 3900, "stream": True})
        reader = small_socket("127.0.0.1", nodes[0].state["api_port"])
        reader.sendall(f"POST /v1/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        wait_for("the first tokens", lambda: generated() > 0, 20)
        def stands_still():
            before = generated()
            time.sleep(1)
            return generated() == before
        wait_for("the generation to stop", stands_still)
        paused_at = generated()
        assert paused_at < 3000, f"{paused_at} tokens were generated for a reader that reads nothing"
        print(f"  paused after {paused_at} tokens")
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # it goes quickly from here on
        received = b""
        while piece := reader.recv(65536):
            received += piece
        reader.close()
        events = [json.loads(line[6:]) for line in received.split(b"\n") if line.startswith(b"data: {")]
        last = events[-1]
        assert last["choices"][0]["finish_reason"] == "length", last
        assert len(last["exo"]["token_ids"]) == 3900 == generated(), generated()


def test_an_idle_node_costs_little(exo):
    """Once what it measures of itself and of the way to the other is done."""
    with cluster(exo, 2) as nodes:
        pid = nodes[0].process.pid

        def used():
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        shares = []

        def idle():
            before, start = used(), time.monotonic()
            time.sleep(5)
            shares.append((used() - before) / (time.monotonic() - start))
            return shares[-1] < 0.05
        wait_for("a node that rests", idle)
        rss = next(int(l.split()[1]) for l in open(f"/proc/{pid}/status") if l.startswith("VmRSS")) / 1024
        print(f"  idle: {100 * shares[-1]:.2f} % of a core after {5 * len(shares)} s, {rss:.0f} MiB resident")
        assert rss < 60, rss


STORIES = "stories260K-q8_0"  # trained with a context of 512


@contextlib.contextmanager
def uneven(exo, *limits):
    """Nodes with a memory limit each; the first one alone holds STORIES."""
    path = need_shared("data/models/stories260K/gguf") / f"{STORIES}.gguf"
    secret = subprocess.run([str(exo), "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="exo-e2e-") as folder:
        nodes = [Node(exo, folder, secret, f"n{i + 1}", "--memory-limit", limit) for i, limit in enumerate(limits)]
        try:
            for node in nodes:
                node.started()
            wait_alive(nodes, len(nodes))
            status, added = nodes[0].api.post("/v1/internal/models", {"path": str(path)})
            assert status == 200, added
            for node in nodes:
                wait_for(f"{node.name} to know the model", lambda n=node: STORIES in json.dumps(n.api.get("/v1/models")[1]))
            yield nodes
        except BaseException:
            for node in nodes:
                print(f"--- log of {node.name}\n{node.log.read_text()[-3000:]}")
            raise
        finally:
            for node in nodes:
                node.kill()
                node.process.wait()


def test_a_model_is_the_same_whoever_is_asked(exo):
    with uneven(exo, "200MiB", "200MiB") as (holder, other):
        long = [1] + [300] * 600
        for node in (other, holder):
            status, error = node.api.post("/v1/completions", {"model": STORIES, "prompt": long, "max_tokens": 5})
            assert status == 400 and error["error"]["code"] == "context_length_exceeded", (node.name, status, error)
        views = [next(m for m in n.api.get("/v1/models")[1]["data"] if m["id"] == STORIES) for n in (holder, other)]
        assert [v["max_model_len"] for v in views] == [512, 512], views
        plans = [n.api.post("/v1/internal/plan", {"model": STORIES}) for n in (holder, other)]
        assert all(status == 200 for status, _ in plans), plans
        assert all(p["predicted_tokens_per_second"] > 0 and p["reason"] for _, p in plans), plans
        status, loaded = other.api.post("/v1/internal/load", {"model": STORIES})
        assert status == 200 and loaded["predicted_tokens_per_second"] > 0 and loaded["reason"], loaded
        assert all(i["predicted_tokens_per_second"] > 0 and i["reason"] for n in (holder, other) for i in instances(n))


def goes_on_without_its_holder(exo, leave):
    with uneven(exo, "1MiB", "200MiB") as (holder, other):
        status, plan = other.api.post("/v1/internal/load", {"model": STORIES})
        assert status == 200 and [s["node"] for s in plan["stages"]] == ["n2"], plan
        before = other.api.complete(STORIES, "Once upon", max_tokens=20)["choices"][0]["text"]
        leave(holder)
        for _ in range(2):
            assert other.api.complete(STORIES, "Once upon", max_tokens=20)["choices"][0]["text"] == before
            wait_for("the holder to be missed", lambda: len(alive(other)) == 1, 10)
        time.sleep(16)  # longer than a lease
        assert other.api.complete(STORIES, "Once upon", max_tokens=20)["choices"][0]["text"] == before
        status, answer = other.api.post("/v1/internal/unload", {"model": STORIES})
        assert status == 200, answer
        assert not instances(other)


def test_a_model_goes_on_when_the_node_with_its_file_stops(exo):
    goes_on_without_its_holder(exo, lambda node: node.stop())


def test_a_model_goes_on_when_the_node_with_its_file_is_killed(exo):
    goes_on_without_its_holder(exo, lambda node: node.kill())


def restarted(exo, node, *arguments):
    """The same node in a new process, in the same folder."""
    node.stop()
    (node.home / "node.json").unlink(missing_ok=True)
    again = Node(exo, node.home.parent, node.secret, node.name, *arguments)
    node.process = again.process
    node.started()


def test_a_pulled_model_outlives_the_node_with_its_file(exo):
    with uneven(exo, "1MiB", "200MiB", "1MiB") as (holder, puller, other):
        status, plan = puller.api.post("/v1/internal/load", {"model": STORIES})
        assert status == 200 and [s["node"] for s in plan["stages"]] == ["n2"], plan
        before = puller.api.complete(STORIES, "Once upon", max_tokens=20)["choices"][0]["text"]
        holder.kill()
        restarted(exo, puller, "--memory-limit", "200MiB")
        wait_for("the other to see both", lambda: len(alive(other)) == 2, 20)
        for node in (puller, other):
            wait_for("the model to be listed", lambda n=node: STORIES in json.dumps(n.api.get("/v1/models")[1]))
            assert node.api.complete(STORIES, "Once upon", max_tokens=20)["choices"][0]["text"] == before, node.name
        assert puller.api.post("/v1/internal/unload", {"model": STORIES})[0] == 200
        wait_for("the other to hear of it", lambda: not instances(other))
        assert other.api.complete(STORIES, "Once upon", max_tokens=20)["choices"][0]["text"] == before


def test_idle_models_make_room(exo):
    folder = need_shared("data/models/stories260K/gguf")
    secret = subprocess.run([str(exo), "secret", "--new"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="exo-e2e-") as home:
        node = Node(exo, home, secret, "n1", "--memory-limit", "5MiB")
        try:
            node.started()
            names = [f"stories260K-{kind}" for kind in ("q8_0", "f16", "f32")]
            for name in names:
                status, added = node.api.post("/v1/internal/models", {"path": str(folder / f"{name}.gguf")})
                assert status == 200, added
            for name in [*names, names[0]]:
                assert node.api.complete(name, "Once", max_tokens=3)["choices"][0]["text"]
            assert len(instances(node)) < 3, instances(node)  # or the limit is too high for this test
        except BaseException:
            print(f"--- log of {node.name}\n{node.log.read_text()[-3000:]}")
            raise
        finally:
            node.kill()
            node.process.wait()


def test_a_model_that_nobody_asks_gives_its_memory_back(exo):
    with cluster(exo, 2) as nodes:
        ask = {"model": "exo-tiny", "prompt": "Once", "stream": False, "options": {"num_predict": 2}}
        status, answer = nodes[1].api.post("/api/generate", {**ask, "keep_alive": "100s"})
        assert status == 200 and answer["response"], answer
        wait_for("both to know how long", lambda: all([i["keep_alive"] for i in instances(n)] == [100] for n in nodes))
        status, running = nodes[0].api.get("/api/ps")
        left = datetime.datetime.fromisoformat(running["models"][0]["expires_at"]) - datetime.datetime.now(datetime.timezone.utc)
        assert 0 < left.total_seconds() < 101, running
        status, answer = nodes[1].api.post("/api/generate", {**ask, "keep_alive": "2s"})
        assert status == 200 and answer["response"], answer
        wait_for("the memory to be given back", lambda: not instances(nodes[0]) and not instances(nodes[1]))
        assert nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", "pinned": True})[0] == 200
        listed = subprocess.run([str(exo), "ps"], env={**os.environ, "EXO_HOME": str(nodes[0].home)}, capture_output=True,
                                text=True, timeout=PATIENCE).stdout
        assert "always" in listed, listed
        status, answer = nodes[1].api.post("/api/generate", {**ask, "keep_alive": "1s"})
        assert status == 200, answer
        time.sleep(3)
        assert [i["pinned"] for i in instances(nodes[1])] == [True], "whoever says a time as a habit undoes no pin"
        assert nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", "pinned": False})[0] == 200
        wait_for("it to be pinned no more", lambda: [i["pinned"] for i in instances(nodes[1])] == [False])
        status, answer = nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", "pinned": True, "keep_alive": 5})
        assert status == 400 and answer["error"]["param"] == "pinned", answer
        # To unload it waits for the answers of others.
        stream = nodes[0].api.stream("/v1/completions", {"model": "exo-tiny", "prompt": "Once", "max_tokens": 100,
                                                         "temperature": 0})
        next(stream)
        assert nodes[1].api.post("/api/generate", {"model": "exo-tiny", "keep_alive": 0})[1]["done_reason"] == "unload"
        last = list(stream)[-1]
        assert last.get("choices", [{}])[0].get("finish_reason") in ("stop", "length"), last
        wait_for("it to be unloaded", lambda: not instances(nodes[0]) and not instances(nodes[1]))


def test_the_memory_of_a_vocabulary_is_no_longer_there_for_stages(exo):
    def budget():
        return node.api.cluster()["nodes"][0]["memory_budget"]
    with cluster(exo, 1) as (node,):
        before = budget()
        assert node.api.post("/v1/internal/load", {"model": "exo-tiny"})[0] == 200
        loaded = budget()
        assert before - 1_000_000 < loaded < before, (before, loaded)
        node.api.complete("exo-tiny", "hi", max_tokens=1)
        assert budget() == loaded
    with cluster(exo, 1, "--memory-limit", "40MiB") as (node,):
        node.api.complete("exo-tiny", "hi", max_tokens=1)
        assert budget() == 40 << 20  # what the user says models may take


def test_models_come_back_after_a_restart_unless_unloaded(exo):
    with uneven(exo, "200MiB") as (node,):
        def restart():
            restarted(exo, node, "--memory-limit", "200MiB")
        assert node.api.post("/v1/internal/load", {"model": STORIES})[0] == 200
        restart()
        wait_for("the model to come back", lambda: [i for i in instances(node) if i["state"] == "ready"])
        assert node.api.post("/v1/internal/unload", {"model": STORIES})[0] == 200
        restart()
        time.sleep(7)
        assert not instances(node), instances(node)


def test_readers_that_read_nothing_hold_up_nobody_and_lose_nothing(exo):
    """Eight requests of 32 choices each fill the little KV memory there is and are paused; others are served at once."""
    body = {"model": "exo-tiny", "prompt": "Once upon a time there was", "max_tokens": 400, "n": 32, "temperature": 1,
            "seed": 5, "logprobs": 5, "stream": True}

    def texts(answer):
        told = [""] * 32
        for line in answer:
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    told[choice["index"]] += choice["text"]
        return told
    with cluster(exo, 1, "--threads", "1", "--memory-limit", "40MiB") as (node,):
        readers = []
        for number in range(8):
            connection = node.api.connect()
            connection.sock = small_socket(node.api.host, node.api.port, node.api.timeout)
            connection.request("POST", "/v1/completions", body=json.dumps({**body, "seed": number}),
                               headers={"Content-Type": "application/json", "User-Agent": "slow"})
            readers.append(connection)
        time.sleep(1)
        waits = []
        for number in range(4):
            start = time.monotonic()
            node.api.complete("exo-tiny", f"{number} hello there", max_tokens=20)
            waits.append(time.monotonic() - start)
        print(f"  others wait up to {max(waits):.2f} s")
        within("to answer others", max(waits), 10)
        late = texts(readers[3].getresponse())
        for connection in readers:
            connection.close()
        alone = node.api.connect()
        alone.request("POST", "/v1/completions", body=json.dumps({**body, "seed": 3}),
                      headers={"Content-Type": "application/json"})
        assert late == texts(alone.getresponse()) and len(set(late)) > 16


if __name__ == "__main__":
    main([test_any_node_answers_with_the_same_text, test_requests_in_parallel_equal_requests_alone,
          test_a_stranger_gets_nothing_but_a_refusal, test_an_answer_goes_on_when_a_node_of_it_is_lost,
          test_each_layer_over_two_nodes, test_layers_over_groups_of_nodes, test_each_layer_of_a_mixture_over_three_nodes,
          test_a_lossy_wire_is_said_and_never_goes_on_as_another_text,
          test_a_request_right_after_a_loss_is_placed_again,
          test_a_stopped_process_is_noticed, test_a_client_that_goes_away_frees_its_slot, test_unload_gives_memory_back,
          test_a_node_without_the_file_pulls_its_layers,
          test_a_shard_without_the_file_pulls_only_the_blocks_that_it_reads, test_different_files_of_one_name_are_refused,
          test_errors_have_openai_shape, test_the_command_line_speaks_to_the_node,
          test_events_tell_what_changes, test_a_slow_reader_pauses_the_generation,
          test_readers_that_read_nothing_hold_up_nobody_and_lose_nothing,
          test_a_model_is_the_same_whoever_is_asked, test_a_model_goes_on_when_the_node_with_its_file_stops,
          test_a_model_goes_on_when_the_node_with_its_file_is_killed,
          test_a_pulled_model_outlives_the_node_with_its_file,
          test_a_model_that_nobody_asks_gives_its_memory_back,
          test_the_memory_of_a_vocabulary_is_no_longer_there_for_stages, test_idle_models_make_room,
          test_models_come_back_after_a_restart_unless_unloaded, test_an_idle_node_costs_little])
