"""The sampler through the API: logprobs, choices, biases, orders and Mirostat, on one node and spread over two."""
import math

from lib import cluster, main

CHAT = {"model": "exo-tiny", "messages": [{"role": "user", "content": "What is exo?"}], "max_tokens": 24, "seed": 7}


def chat(node, **fields):
    status, answer = node.api.post("/v1/chat/completions", {**CHAT, **fields})
    assert status == 200, answer
    return answer


def refused(node, **fields):
    status, answer = node.api.post("/v1/chat/completions", {**CHAT, **fields})
    assert status == 400, (status, answer)
    return answer["error"]["message"]


def streamed(node, **fields):
    """Text, logprobs and finish reason of each choice, and the usage."""
    texts, logprobs, ends, usage = {}, {}, {}, None
    body = {**CHAT, **fields, "stream_options": {"include_usage": True}}
    for event in node.api.stream("/v1/chat/completions", body):
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            index = choice["index"]
            texts[index] = texts.get(index, "") + (choice["delta"].get("content") or "")
            if choice["logprobs"]:
                logprobs.setdefault(index, []).extend(choice["logprobs"]["content"])
            if choice["finish_reason"]:
                ends[index] = choice["finish_reason"]
    return texts, logprobs, ends, usage


def spread(node):
    status, plan = node.api.post("/v1/internal/load", {"model": "exo-tiny", "spread": True})
    assert status == 200, plan


def test_logprobs_are_the_models_and_the_same_everywhere(exo):
    fields = {"logprobs": True, "top_logprobs": 5, "temperature": 0}
    with cluster(exo, 1) as nodes:
        alone = chat(nodes[0], **fields)
        choice = alone["choices"][0]
        tokens = choice["logprobs"]["content"]
        assert len(tokens) == alone["usage"]["completion_tokens"]
        text = b"".join(bytes(t["bytes"]) for t in tokens).decode(errors="replace")
        assert text == choice["message"]["content"], (text, choice)
        for token in tokens:
            top = token["top_logprobs"]
            assert len(top) == 5 and top[0]["bytes"] == token["bytes"] and top[0]["logprob"] == token["logprob"]
            values = [t["logprob"] for t in top]
            assert values == sorted(values, reverse=True) and sum(map(math.exp, values)) <= 1 + 1e-5
        # Of the model, not of the sampler: a penalty and a bias change tokens, no number of the first one.
        bent = chat(nodes[0], **{**fields, "temperature": 1.5, "top_k": 3, "logit_bias": {"5": -3}})
        assert bent["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == tokens[0]["top_logprobs"]
        plain = chat(nodes[0], temperature=0)["choices"][0]
        assert plain["logprobs"] is None and plain["message"] == choice["message"]
        raw = nodes[0].api.complete("exo-tiny", "Once", max_tokens=4, logprobs=2)["choices"][0]
        assert "".join(raw["logprobs"]["tokens"]) == raw["text"] and len(raw["logprobs"]["token_logprobs"]) == 4
    with cluster(exo, 2) as nodes:
        spread(nodes[0])
        for node in nodes:
            other = chat(node, **fields)
            assert len(other["exo"]["stages"]) == 2 and other["choices"] == alone["choices"]
            texts, logprobs, ends, _ = streamed(node, **fields)
            assert texts[0] == choice["message"]["content"] and logprobs[0] == tokens, (logprobs, tokens)
            assert ends[0] == choice["finish_reason"]


def test_choices_share_the_prompt_and_draw_for_themselves(exo):
    with cluster(exo, 2) as nodes:
        spread(nodes[0])
        long = {"temperature": 1.2, "messages": [  # pages are shared from 16 tokens on
            {"role": "user", "content": "Tell me about a small red boat that sailed over the wide blue sea one day."}]}
        one = chat(nodes[1], **long)
        three = chat(nodes[1], **long, n=3)
        texts = [c["message"]["content"] for c in three["choices"]]
        assert [c["index"] for c in three["choices"]] == [0, 1, 2]
        assert texts[0] == one["choices"][0]["message"]["content"] and len(set(texts)) > 1, texts
        ids = three["exo"]["choice_token_ids"]
        assert ids[0] == three["exo"]["token_ids"] == one["exo"]["token_ids"]
        usage = three["usage"]
        assert usage["prompt_tokens"] == one["usage"]["prompt_tokens"]
        assert usage["completion_tokens"] == sum(map(len, ids)), (usage, ids)
        streams, _, ends, counted = streamed(nodes[0], **long, n=3)
        assert [streams[i] for i in range(3)] == texts, (streams, texts)
        assert [ends[i] for i in range(3)] == [c["finish_reason"] for c in three["choices"]]
        assert counted["prompt_tokens"] == usage["prompt_tokens"]
        assert counted["completion_tokens"] == usage["completion_tokens"]
        # The node counts the prompt of each choice, and that all but the first one's were there.
        status, metrics = nodes[0].api.get("/metrics")
        cached = [line for line in metrics.split("\n") if line.startswith("exo_cached_prompt_tokens_total ")]
        assert status == 200 and float(cached[0].split()[1]) >= 2 * (usage["prompt_tokens"] - 1), cached


def test_biases_and_stop_tokens(exo):
    with cluster(exo, 1) as nodes:
        ids = chat(nodes[0], temperature=0)["exo"]["token_ids"]
        banned = chat(nodes[0], temperature=0, logit_bias={str(ids[0]): False})["exo"]["token_ids"]
        assert ids[0] not in banned, (ids, banned)
        forced = chat(nodes[0], temperature=0, max_tokens=3, logit_bias=[[ids[3], 100]])["exo"]["token_ids"]
        assert forced == [ids[3]] * 3, forced
        stopped = chat(nodes[0], temperature=0, stop_token_ids=[ids[4]])
        assert stopped["choices"][0]["finish_reason"] == "stop"
        assert stopped["exo"]["token_ids"] == ids[:ids.index(ids[4])]


def test_every_step_gives_the_same_tokens_wherever_it_runs(exo):
    settings = [
        {"typical_p": 0.7}, {"top_n_sigma": 1}, {"xtc_probability": 0.7, "xtc_threshold": 0.05}, {"min_p": 0.1},
        {"dry_multiplier": 2, "dry_allowed_length": 1, "dry_sequence_breakers": ["\n"]},
        {"repeat_penalty": 1.3, "repeat_last_n": -1, "frequency_penalty": 0.4, "presence_penalty": 0.4},
        {"mirostat": 2, "mirostat_tau": 2, "mirostat_eta": 0.2},
        {"samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"],
         "top_k": 40, "top_p": 0.95, "min_p": 0.05}]
    def ask(node, **more):
        fields = {"temperature": 1.3, "seed": 11, "max_tokens": 32, **more}
        return node.api.complete("exo-tiny", "Once upon a time", **fields)["exo"]["token_ids"]
    with cluster(exo, 1) as nodes:
        plain = ask(nodes[0])
        alone = [ask(nodes[0], **one) for one in settings]
        assert sum(ids != plain for ids in alone) >= len(settings) - 2, "most settings must show"
        # Something is said again and again unless DRY is on.
        again = ask(nodes[0], temperature=0, max_tokens=120)
        dry = ask(nodes[0], temperature=0, max_tokens=120, dry_multiplier=50, dry_allowed_length=1,
                  dry_sequence_breakers=[])
        pairs = [len(ids) - 1 - len(set(zip(ids, ids[1:]))) for ids in (again, dry)]
        assert pairs[1] == 0 < pairs[0], pairs
    with cluster(exo, 2) as nodes:
        spread(nodes[0])
        assert [ask(nodes[1], **one) for one in settings] == alone


def test_bad_values_are_said_with_their_range(exo):
    with cluster(exo, 1) as nodes:
        assert "'n' is 33, but must be from 1 to 32" == refused(nodes[0], n=33)
        assert "from 0 to 20" in refused(nodes[0], logprobs=True, top_logprobs=21)
        assert "'logprobs' is not true" in refused(nodes[0], top_logprobs=2)
        assert "9999999 of 'logit_bias' is outside the vocabulary" in refused(nodes[0], logit_bias={"9999999": 1})
        assert "must be one of penalties (e), dry (d)" in refused(nodes[0], samplers=["beam"])
        assert "must be 0 (off) or 2" in refused(nodes[0], mirostat=1)


if __name__ == "__main__":
    main([test_logprobs_are_the_models_and_the_same_everywhere, test_choices_share_the_prompt_and_draw_for_themselves,
          test_biases_and_stop_tokens, test_every_step_gives_the_same_tokens_wherever_it_runs,
          test_bad_values_are_said_with_their_range])
