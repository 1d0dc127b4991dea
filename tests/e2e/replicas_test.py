"""A model that runs several times: requests spread over its replicas, one that is lost, and prompts that go back to their KV."""
import contextlib
import threading
import time

from lib import alive, cluster, main, wait_for

MODEL = "exo-tiny"
# About 260 tokens each, of which most are known when they are asked again.
STORY = " ".join(f"On day {day} the hen named Dot walked to the bakery and ate {day * 7} loaves." for day in range(1, 12))


def ready(node):
    return [i for i in node.api.cluster()["instances"] if i["state"] == "ready"]


@contextlib.contextmanager
def replicas(exo, count=2):
    """Nodes that all run the model."""
    with cluster(exo, count, "--threads", "1") as nodes:
        # Devices are measured first: a plan for many needs to know how fast they are.
        wait_for("speeds", lambda: all(n["decode_gbps"] > 0 for n in nodes[0].api.cluster()["nodes"]), 60)
        status, plan = nodes[0].api.post("/v1/internal/load", {"model": MODEL, "for": "throughput"})
        assert status == 200, plan
        for node in nodes:
            wait_for(f"{node.name} to see {count} replicas", lambda n=node: len(ready(n)) == count, 30)
        yield nodes


def ask(node, number, tokens=120, prompt=None):
    status, answer = node.api.post("/v1/completions", {
        "model": MODEL, "prompt": prompt or f"One day {number}", "max_tokens": tokens, "temperature": 0.8, "seed": number})
    assert status == 200, answer
    return answer


def text_of(answer):
    return answer["choices"][0]["text"]


def where(answer):
    return answer["exo"]["stages"][0]["node"]


def at_once(node, count, tokens=120):
    """The answers to so many requests at once, in order."""
    answers = [None] * count
    threads = [threading.Thread(target=lambda i=i: answers.__setitem__(i, ask(node, i, tokens))) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert all(answers), answers
    return answers


def alone(exo, numbers, tokens=120):
    with cluster(exo, 1, "--threads", "1") as nodes:
        return [text_of(ask(nodes[0], number, tokens)) for number in numbers]


def test_requests_at_once_are_spread_and_have_the_texts_of_one_device(exo):
    expected = alone(exo, range(6))
    with replicas(exo) as nodes:
        answers = at_once(nodes[1], 6)
        assert [text_of(answer) for answer in answers] == expected
        places = [where(answer) for answer in answers]
        print(f"  {places}")
        assert set(places) == {"n1", "n2"}, places
        models = [m for m in nodes[0].api.get("/v1/models")[1]["data"] if m["exo"]["state"] == "ready"]
        assert [(m["id"], m["exo"]["replicas"]) for m in models] == [(MODEL, 2)], models
        metrics = nodes[0].api.get("/metrics")[1]
        metrics = metrics if isinstance(metrics, str) else metrics.decode()
        assert "exo_instances_ready 1\n" in metrics and f'exo_replicas_ready{{model="{MODEL}"}} 2\n' in metrics, metrics
        assert nodes[1].api.post("/v1/internal/unload", {"model": MODEL})[0] == 200
        for node in nodes:
            wait_for("no instance", lambda n=node: not ready(n), 10)


def test_a_replica_that_is_killed_loses_nothing(exo):
    tokens = 400
    expected = alone(exo, range(6), tokens)
    with replicas(exo) as nodes:
        results = []
        asking = threading.Thread(target=lambda: results.append(at_once(nodes[0], 6, tokens)))
        asking.start()
        wait_for("both to answer", lambda: sum(i["active_requests"] > 0 for i in ready(nodes[0])) == 2, 30)
        time.sleep(0.3)
        nodes[1].kill()
        asking.join(180)
        assert results, "the requests did not end"
        assert [text_of(answer) for answer in results[0]] == expected
        lost = [line for line in nodes[0].log.read_text().splitlines() if "tokens of the answer; it goes on" in line]
        print(f"  {len(lost)} of 6 answers went on at the other device")
        assert lost and any(where(answer) == "n1" for answer in results[0]), lost
        wait_for("one replica to be left", lambda: len(ready(nodes[0])) == 1, 15)
        assert len(alive(nodes[0])) == 1
        assert text_of(ask(nodes[0], 0, tokens)) == expected[0]


def test_a_long_prompt_goes_back_to_where_it_was(exo):
    with replicas(exo) as nodes:
        first = {}
        for number, name in enumerate(["Dot", "Kim", "Lee", "Zoe"]):
            prompt = STORY.replace("Dot", name) + f" Then {name}"
            first[prompt] = ask(nodes[0], number, 8, prompt)
        for number, (prompt, before) in enumerate(first.items()):
            after = ask(nodes[0], number, 8, prompt)
            assert where(after) == where(before), (where(before), where(after))
            assert text_of(after) == text_of(before)
            cached = after["usage"]["prompt_tokens_details"]["cached_tokens"]
            assert cached > after["usage"]["prompt_tokens"] / 2, after["usage"]


if __name__ == "__main__":
    main([test_requests_at_once_are_spread_and_have_the_texts_of_one_device,
          test_a_replica_that_is_killed_loses_nothing,
          test_a_long_prompt_goes_back_to_where_it_was])
