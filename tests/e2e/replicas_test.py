"""A model that is whole on two devices: requests are spread over them, texts are the same, and losing one loses nothing."""
import concurrent.futures
import contextlib
import time

from lib import main, wait_for
from slow_nodes_test import NAME, model, unequal_cluster

USERS = 6


def ready(node):
    return [stage["node"] for i in node.api.cluster()["instances"] if i["state"] == "ready" for stage in i["stages"]]


@contextlib.contextmanager
def replicas(exo):
    """Two nodes alike with the whole model on each."""
    with model() as models, unequal_cluster(exo, models, (None, None), spread=False) as (nodes, _):
        wish = {"model": NAME, "for": "throughput", "users": USERS}

        def loaded():
            # Speeds are measured meanwhile: on what is known at first it may be one device, or two that share each layer.
            assert nodes[0].api.post("/v1/internal/unload", {"model": NAME})[0] in (200, 404)
            status, plan = nodes[0].api.post("/v1/internal/load", wish)
            assert status == 200, plan
            time.sleep(1)
            return "with the whole model" in plan["reason"]
        wait_for("a plan with replicas", loaded, 300, 1)
        wait_for("both to be ready", lambda: sorted(ready(nodes[0])) == ["n1", "n2"])
        yield nodes


def ask(node, number, tokens=24):
    answer = node.api.complete(NAME, prompt=[1000 + number * 13 + i for i in range(16)], max_tokens=tokens, temperature=0)
    return answer["choices"][0]["text"], [stage["node"] for stage in answer["exo"]["stages"]]


def at_once(node, tokens=24):
    with concurrent.futures.ThreadPoolExecutor(USERS) as pool:
        return list(pool.map(lambda number: ask(node, number, tokens), range(USERS)))


def a_long_prompt_goes_where_it_was_before(nodes):
    for number in range(4):
        prompt = [2000 + number * 700 + i for i in range(600)]
        places = []
        for _ in range(3):
            answer = nodes[0].api.complete(NAME, prompt=prompt, max_tokens=4, temperature=0)
            places.append(answer["exo"]["stages"][0]["node"])
        assert len(set(places)) == 1, places
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 500, answer["usage"]


def test_requests_are_spread_and_a_lost_replica_loses_none(exo):
    with replicas(exo) as nodes:
        a_long_prompt_goes_where_it_was_before(nodes)
        answers = at_once(nodes[0])
        where = [stages[0] for _, stages in answers]
        assert all(len(stages) == 1 for _, stages in answers) and set(where) == {"n1", "n2"}, where
        print(f"  answered by {', '.join(where)}")
        alone = [ask(nodes[0], number)[0] for number in range(USERS)]
        assert [text for text, _ in answers] == alone
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            whole = pool.submit(at_once, nodes[0], 300)
            time.sleep(1)
            nodes[1].kill()
            texts = [text for text, _ in whole.result()]
        assert [text.startswith(short) for text, short in zip(texts, alone)] == [True] * USERS, (texts, alone)
        assert [ask(nodes[0], number, 300)[0] for number in range(2)] == texts[:2], "another text after a replica was lost"
        assert ready(nodes[0]) == ["n1"]


if __name__ == "__main__":
    main([test_requests_are_spread_and_a_lost_replica_loses_none])
