"""Low-rank adapters of exo-tiny: what they compute, per request, over one node and several, and bad files."""
import array
import concurrent.futures
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from lib import ROOT, TINY, cluster, main, need_shared, restarted, wait_for, within

sys.path += [str(ROOT / "tools"), str(ROOT / "tests" / "support")]
import make_adapter  # noqa: E402
import reference  # noqa: E402

PROMPT = "A hen named Dot lived behind the bakery. Every morning she walked to the door and waited for"


def run(exo, *arguments, home=None):
    import os
    environment = {**os.environ, "NO_COLOR": "1", **({"EXO_HOME": str(home)} if home else {})}
    return subprocess.run([str(exo), *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          stdin=subprocess.DEVNULL, env=environment)


def logits(exo, model, *arguments):
    """(ids, logits [positions, vocab])."""
    with tempfile.TemporaryDirectory(prefix="exo-adapters-") as folder:
        out = pathlib.Path(folder) / "logits.f32"
        done = run(exo, "logits", "--model", model, "--prompt", PROMPT, "--kv", "f32", "--out", out, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        values = np.frombuffer(array.array("f", out.read_bytes()), np.float32).astype(np.float64)
    return answer["ids"], values.reshape(answer["positions"], answer["vocab"])


def expected_logits(model, ids, adapters):
    model = reference.Model(reference.Gguf(str(model)), [(reference.Gguf(str(path)), scale) for path, scale in adapters])
    return model.forward(ids)[0]


def size(values):
    return float(np.sqrt((values * values).mean()))


def test_logits_are_those_of_float64(exo):
    with tempfile.TemporaryDirectory(prefix="exo-adapters-") as folder:
        one, two = pathlib.Path(folder) / "one.gguf", pathlib.Path(folder) / "two.gguf"
        make_adapter.make_adapter(str(TINY), str(one), rank=8, alpha=16, kind="f16", seed=1)
        make_adapter.make_adapter(str(TINY), str(two), rank=32, alpha=0, kind="q8_0", seed=2, effect=0.4)
        ids, plain = logits(exo, TINY)
        for adapters in ([(one, 1.0)], [(one, 0.5), (two, -0.75)]):
            lora = [f for path, scale in adapters for f in ("--lora", f"{path}:{scale}")]
            _, got = logits(exo, TINY, *lora)
            change = expected_logits(TINY, ids, adapters) - expected_logits(TINY, ids, [])
            error = size((got - plain) - change) / size(change)
            print(f"  {len(adapters)} adapter(s): the logits change by {size(change) / size(plain):.2f} of their size, "
                  f"{100 * error:.2f} % beside float64")
            assert size(change) > 0.1 * size(plain), "no visible effect"
            assert error < 0.08, error
            for threads in (1, 2):
                assert (logits(exo, TINY, *lora, "--threads", threads, "--chunk", 7)[1] == got).all()


def test_f32_logits_are_within_a_thousandth(exo):
    model = need_shared("data", "models", "stories260K", "gguf", "stories260K-f32.gguf")
    with tempfile.TemporaryDirectory(prefix="exo-adapters-") as folder:
        path = pathlib.Path(folder) / "adapter.gguf"
        make_adapter.make_adapter(str(model), str(path), rank=4, alpha=8, seed=3)
        ids, plain = logits(exo, model)
        _, got = logits(exo, model, "--lora", f"{path}:0.8")
        worst = np.abs(got - expected_logits(model, ids, [(path, 0.8)])).max()
        print(f"  largest difference: {worst:.1e}; the adapter changes logits by up to {np.abs(got - plain).max():.1f}")
        assert worst < 1e-3 and np.abs(got - plain).max() > 1


def tokens_of(api, lora=None, prompt=PROMPT, count=24, **settings):
    body = {"max_tokens": count, "seed": 7, **settings}
    if lora is not None:
        body["lora"] = lora
    answer = api.complete("exo-tiny", prompt, **body)
    return answer["choices"][0]["text"], answer["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0)


REQUESTS = [[], [{"id": 0, "scale": 1}], [{"id": 1, "scale": 1}], [{"id": 0, "scale": 0.5}],
            [{"id": 0, "scale": 0.5}, {"id": 1, "scale": -0.5}], [{"id": 1, "scale": 0}]]


def answers_of(exo, nodes_count, adapters, split="layer"):
    """The answers to REQUESTS, one by one and all at once, with only the first node holding the adapters."""
    with cluster(exo, nodes_count, "--threads", "1") as nodes:
        api = nodes[0].api
        plain, _ = tokens_of(api)
        api.post("/v1/internal/unload", {"model": "exo-tiny"})
        status, loaded = api.post("/v1/internal/load", {
            "model": "exo-tiny", "split": split if nodes_count > 1 else "auto",
            "adapters": [{"file": str(path), "scale": 1 if i == 0 else 0} for i, path in enumerate(adapters)]})
        assert status == 200, loaded
        assert len(loaded["stages"]) == nodes_count, loaded
        listed = [m for m in api.get("/v1/models")[1]["data"]]
        assert [m["id"] for m in listed] == ["exo-tiny"], "adapters are no models"
        assert [(a["id"], a["name"], a["scale"]) for a in listed[0]["exo"]["adapters"]] == [(0, "one", 1), (1, "two", 0)]
        alone = []
        for lora in REQUESTS:
            text, cached = tokens_of(api, lora)
            again, cached_again = tokens_of(api, lora)
            assert cached == (0 if lora != REQUESTS[5] else cached), (lora, cached)
            assert again == text and cached_again > 0, (lora, cached_again)
            alone.append(text)
        assert alone[0] == plain == alone[5], "without adapters, or at scale 0, nothing changes"
        assert len(set(alone)) == 5, alone
        assert tokens_of(api)[0] == alone[1], "the scales that the model was loaded with"
        # All at once, from the last node: each as alone.
        together = [None] * len(REQUESTS)

        def ask(i):
            together[i] = tokens_of(nodes[-1].api, REQUESTS[i])[0]
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(REQUESTS))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert together == alone, (together, alone)
        status, answer = api.post("/v1/completions", {"model": "exo-tiny", "prompt": PROMPT, "lora": [{"id": 2}]})
        assert status == 400 and "adapter 2" in answer["error"]["message"], answer
        for bad in ({"id": 0}, [{"id": 0}, {"id": 0}], [{"id": -1}], [{"id": 0, "scale": "x"}], [3]):
            status, answer = api.post("/v1/completions", {"model": "exo-tiny", "prompt": PROMPT, "lora": bad})
            assert status == 400 and answer["error"]["param"] == "lora", (bad, answer)
        # What runs is not changed under its users.
        status, answer = api.post("/v1/internal/load", {"model": "exo-tiny", "adapters": [{"file": str(adapters[1])}]})
        assert status == 503 and "exo stop" in json.dumps(answer), answer
        return alone


def test_requests_of_one_batch_have_their_own_adapters_over_one_two_and_three_nodes(exo):
    with tempfile.TemporaryDirectory(prefix="exo-adapters-") as folder:
        adapters = [pathlib.Path(folder) / "one.gguf", pathlib.Path(folder) / "two.gguf"]
        make_adapter.make_adapter(str(TINY), str(adapters[0]), rank=8, kind="f16", seed=1)
        make_adapter.make_adapter(str(TINY), str(adapters[1]), rank=3, kind="f32", seed=2)
        one = answers_of(exo, 1, adapters)
        for count in (2, 3):
            assert answers_of(exo, count, adapters) == one, count
        assert answers_of(exo, 2, adapters, "tensor") == one, "each layer split over two nodes"


def test_settings_and_options_load_models_with_adapters(exo):
    with tempfile.TemporaryDirectory(prefix="exo-adapters-") as folder:
        path = pathlib.Path(folder) / "house style.gguf"
        make_adapter.make_adapter(str(TINY), str(path), seed=4)
        with cluster(exo, 1, "--threads", "1", "--lora", f"exo-tiny={path}:0.75") as (node,):
            assert tokens_of(node.api)[0] != tokens_of(node.api, [])[0]
            model = node.api.get("/v1/models")[1]["data"][0]
            assert [(a["name"], a["scale"]) for a in model["exo"]["adapters"]] == [("house style", 0.75)], model
            by_setting = tokens_of(node.api)[0]
            assert run(exo, "stop", "exo-tiny", home=node.home).returncode == 0
            done = run(exo, "run", "exo-tiny", PROMPT, "--raw", "--max-tokens", 24, "--temperature", 0, "--lora",
                       f"{path}:0.75", home=node.home)
            assert done.returncode == 0 and done.stdout.strip() == by_setting.strip(), (done, by_setting)
            done = run(exo, "run", "exo-tiny", PROMPT, "--lora", f"{path}:0.5", home=node.home)
            assert done.returncode == 5 and "exo stop" in done.stderr, done


def create(api, body):
    status, answer = api.post("/api/create", {"stream": False, **body})
    assert (status, answer) == (200, {"status": "success"}), answer


def create_many(api):
    """Names of large models that are created at the same time, beside which the node answers others."""
    names = [f"large{i}" for i in range(24)]
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        made = [pool.submit(create, api, {"model": name, "from": "exo-tiny", "system": "z" * 200_000}) for name in names]
        slowest = 0
        while not all(one.done() for one in made):
            start = time.monotonic()
            assert api.get("/health")[0] == 200
            slowest = max(slowest, time.monotonic() - start)
        for one in made:
            one.result()
    within("the longest time that the node stood still", slowest, 3)
    return set(names)


def poem_of(api):
    """What the created model says, which is what its model says with the same words around it."""
    question = {"role": "user", "content": "What is exo?"}
    status, answer = api.post("/v1/chat/completions", {"model": "poet", "messages": [question]})
    assert status == 200 and answer["model"] == "poet" and answer["usage"]["completion_tokens"] <= 12, answer
    status, same = api.post("/v1/chat/completions", {
        "model": "exo-tiny", "messages": [{"role": "system", "content": "Rhyme."}, question], "temperature": 0, "max_tokens": 12})
    assert status == 200 and same["choices"][0]["message"] == answer["choices"][0]["message"], (same, answer)
    return answer["choices"][0]["message"]["content"]


def test_a_model_comes_back_with_its_adapters_and_its_draft(exo):
    with tempfile.TemporaryDirectory(prefix="exo-adapters-") as folder:
        style, draft = pathlib.Path(folder) / "style.gguf", pathlib.Path(folder) / "small.gguf"
        make_adapter.make_adapter(str(TINY), str(style), seed=4)
        assert run(exo, "quantize", TINY, draft, "Q4_0").returncode == 0
        with cluster(exo, 1, "--threads", "1") as nodes:
            node, = nodes
            status, loaded = node.api.post("/v1/internal/load", {
                "model": "exo-tiny", "draft": str(draft), "adapters": [{"file": str(style), "scale": 0.5}]})
            assert status == 200, loaded
            before = tokens_of(node.api)[0]
            assert before != tokens_of(node.api, [])[0]
            create(node.api, {"model": "poet", "from": "exo-tiny", "system": "Rhyme.",
                              "parameters": {"temperature": 0, "num_predict": 12}})
            poem = poem_of(node.api)
            large = create_many(node.api)
            node.stop()
            nodes[0] = node = restarted(exo, node, "--threads", "1")
            models = lambda: {m["id"]: m for m in node.api.get("/v1/models")[1]["data"]}  # noqa: E731
            wait_for("the model to come back", lambda: "exo-tiny" in models() and models()["exo-tiny"]["exo"]["state"] == "ready")
            model = models()["exo-tiny"]
            assert [(a["name"], a["scale"]) for a in model["exo"]["adapters"]] == [("style", 0.5)], model
            assert tokens_of(node.api)[0] == before
            assert model["exo"]["draft"] == "small", model
            assert "(draft: small)" in run(exo, "ps", home=node.home).stdout
            assert poem_of(node.api) == poem, "created models come back, too"
            assert large <= models().keys(), models().keys()
            # A created model has adapters of its own: its model is loaded with exactly these.
            create(node.api, {"model": "styled", "from": "poet", "adapters": ["style"]})
            ask = {"model": "styled", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
            status, refused = node.api.post("/v1/chat/completions", ask)
            assert status == 503 and "style" in refused["error"]["message"], refused
            assert node.api.post("/v1/internal/unload", {"model": "styled"})[0] == 200
            assert node.api.post("/v1/chat/completions", ask)[0] == 200
            styled = models()["styled"]["exo"]
            assert [(a["name"], a["scale"]) for a in styled["adapters"]] == [("style", 1)], styled
            assert styled["base"] == "exo-tiny" and models()["exo-tiny"]["exo"]["base"] is None, styled
            status, wrong = node.api.post("/api/create", {"model": "w", "from": "exo-tiny", "adapters": ["small"]})
            assert status == 400 and "small" in wrong["error"], wrong
            # They are kept like models that were named by path, and are forgotten like them.
            for name in ("style", "small"):
                done = run(exo, "rm", name, home=node.home)
                assert done.returncode == 0, done


def loaded(node):
    """State, context, KV type and adapters of exo-tiny."""
    running = [i for i in node.api.cluster()["instances"] if i["state"] == "ready"]
    models = node.api.get("/v1/models")[1]["data"]  # none, as long as a node that starts looks for files
    adapters = models[0]["exo"]["adapters"] if models else []
    return [(i["context"], i["kv"], [(a["name"], a["scale"]) for a in adapters]) for i in running]


def test_what_came_from_settings_follows_them_after_a_restart(exo):
    with tempfile.TemporaryDirectory(prefix="exo-adapters-") as folder, cluster(exo, 1, "--threads", "1") as nodes:
        one, two = pathlib.Path(folder) / "one.gguf", pathlib.Path(folder) / "two.gguf"
        make_adapter.make_adapter(str(TINY), str(one), seed=4)
        make_adapter.make_adapter(str(TINY), str(two), seed=5)

        def restart(*settings):
            nodes[0].stop()
            nodes[0] = restarted(exo, nodes[0], "--threads", "1", *settings)
            return wait_for("exo-tiny to come back", lambda: loaded(nodes[0]))

        def load(**options):
            nodes[0].api.post("/v1/internal/unload", {"model": "exo-tiny"})
            status, answer = nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", **options})
            assert status == 200, answer
            return loaded(nodes[0])
        first = load()
        assert first[0][1:] == ("f16", []), first
        assert restart() == first
        assert restart("--lora", f"exo-tiny={one}:0.5", "--kv", "q8_0") == [(first[0][0], "q8_0", [("one", 0.5)])]
        assert "context" in nodes[0].log.read_text()
        other = ("--lora", f"exo-tiny={two}", "--default-context", "256")
        assert restart(*other) == [(256, "f16", [("two", 1)])]
        assert restart() == first
        # What the request named stays.
        assert load(kv="f32", adapters=[{"file": str(one)}]) == [(first[0][0], "f32", [("one", 1)])]
        assert restart(*other) == [(256, "f32", [("one", 1)])]
        assert load(context=320) == [(320, "f16", [("two", 1)])]
        assert restart("--kv", "q8_0") == [(320, "q8_0", [])]


def test_a_plan_counts_adapters_and_draft(exo):
    with tempfile.TemporaryDirectory(prefix="exo-adapters-") as folder:
        style, draft = pathlib.Path(folder) / "style.gguf", pathlib.Path(folder) / "small.gguf"
        make_adapter.make_adapter(str(TINY), str(style), seed=4)
        assert run(exo, "quantize", TINY, draft, "Q4_0").returncode == 0

        def planned(*arguments):
            done = run(exo, "plan", "exo-tiny", *arguments, "--json", home=node.home)
            assert done.returncode == 0, done
            return sum(stage["bytes"] for stage in json.loads(done.stdout)["stages"])
        with cluster(exo, 1) as (node,):
            plain, adapted, drafted = planned(), planned("--lora", style), planned("--draft", draft)
            assert adapted > plain + style.stat().st_size and drafted > plain + draft.stat().st_size, (plain, adapted, drafted)
            assert planned("--lora", style, "--draft", draft) == adapted + drafted - plain
            assert node.api.get("/v1/models")[1]["data"][0]["exo"]["state"] == ""
            done = run(exo, "run", "exo-tiny", "hi", "--lora", "nope", home=node.home)
            assert done.returncode == 4 and "the adapter nope" in done.stderr, done
            done = run(exo, "run", "exo-tiny", "hi", "--context", 1_000_000, home=node.home)
            assert done.returncode == 2 and "1000000" in done.stderr and "trained" in done.stderr, done
            assert run(exo, "run", "exo-tiny", "hi", "--max-tokens", 2, "--kv", "f16", home=node.home).returncode == 0
            done = run(exo, "run", "exo-tiny", "hi", "--kv", "q8_0", home=node.home)
            assert done.returncode == 5 and "`exo stop exo-tiny`" in done.stderr, done
        with cluster(exo, 1, "--lora", f"nope={style}", "--lora", "exo-tiny=/no/such.gguf") as (node,):
            def warned():
                log = node.log.read_text()
                return "'nope'" in log and "the adapter /no/such.gguf" in log
            wait_for("the warnings", warned)


def damaged(folder):
    """(file, words of the refusal) of bad adapters."""
    def make(name, change=None, **options):
        path = pathlib.Path(folder) / name
        make_adapter.make_adapter(str(TINY), str(path), **options)
        if change:
            path.write_bytes(change(path.read_bytes()))
        return path

    def renamed(old, new):
        return lambda data: data.replace(old.encode(), new.encode(), 1)
    q = "blk.0.attn_q.weight.lora_"
    return [
        (make("other-model.gguf", architecture="gemma3"), ["gemma3"]),
        (make("no-pair.gguf", renamed(q + "a", q + "c"), targets="attn_q"), [q + "c"]),
        (make("half.gguf", renamed(q + "a", "blk.9.attn_q.weight.lora_a"), targets="attn_q"), ["blk."]),
        (make("norm.gguf", lambda d: d.replace(b"blk.1.attn_q.weight", b"blk.1.attn_x.weight"), targets="attn_q"),
         ["blk.1.attn_x.weight"]),
        (make("other-kind.gguf", renamed("lora", "ltra")), ["ltra"]),
        (make("cut.gguf", lambda d: d[:len(d) // 2]), ["cut.gguf"]),
        (make("shape.gguf", targets="attn_k", change=lambda d: d.replace(b"attn_k", b"attn_q")), ["attn_q", "shape"]),
        (make("nan.gguf", lambda d: d.replace(struct.pack("<f", 16.0), struct.pack("<f", float("nan")), 1)), ["alpha"]),
    ]


def test_bad_adapters_are_refused_by_name(exo):
    with tempfile.TemporaryDirectory(prefix="exo-adapters-") as folder, cluster(exo, 1, "--threads", "1") as (node,):
        for path, words in damaged(folder):
            status, answer = node.api.post("/v1/internal/load", {"model": "exo-tiny", "adapters": [{"file": str(path)}]})
            message = json.dumps(answer)
            print(f"  {status} {answer.get('error', {}).get('message', answer)}")
            assert status >= 400 and all(word in message for word in [path.name, *words]), (path.name, words, message)
            done = run(exo, "logits", "--model", TINY, "--prompt", "x", "--out", pathlib.Path(folder) / "l", "--lora", path)
            assert done.returncode != 0 and path.name in done.stderr and done.returncode > 0, done
        good = pathlib.Path(folder) / "good.gguf"
        make_adapter.make_adapter(str(TINY), str(good))
        status, answer = node.api.post("/v1/internal/load", {"model": "exo-tiny", "adapters": [{"file": str(TINY)}]})
        assert status == 400 and "no adapter" in json.dumps(answer), answer
        for command in (["run", good, "hello"], ["bench", "--model", good], ["plan", good]):
            done = run(exo, *command, home=node.home)
            assert done.returncode != 0 and "adapter" in done.stderr and "--lora" in done.stderr, done
        # In a folder of models it is listed nowhere.
        models = node.home / "models"
        models.mkdir(exist_ok=True)
        shutil.copy(good, models / "lying-there.gguf")
        wait_for("the adapter to be read", lambda: node.api.post("/v1/internal/load", {
            "model": "exo-tiny", "adapters": [{"file": "lying-there"}]})[0] == 200)
        assert [m["id"] for m in node.api.get("/v1/models")[1]["data"]] == ["exo-tiny"]


if __name__ == "__main__":
    main([test_logits_are_those_of_float64, test_f32_logits_are_within_a_thousandth,
          test_requests_of_one_batch_have_their_own_adapters_over_one_two_and_three_nodes,
          test_settings_and_options_load_models_with_adapters,
          test_a_model_comes_back_with_its_adapters_and_its_draft,
          test_what_came_from_settings_follows_them_after_a_restart, test_a_plan_counts_adapters_and_draft, test_bad_adapters_are_refused_by_name])
