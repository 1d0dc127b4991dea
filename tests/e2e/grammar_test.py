"""Answers of a form that the request asks for: schemas, expressions, grammars and choices, on one node and over two."""
import json
import re

import jsonschema

from lib import cluster, main

CHAT = {"model": "exo-tiny", "messages": [{"role": "user", "content": "What is exo?"}], "max_tokens": 400,
        "temperature": 1.5}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "email": {"type": "string", "format": "email"},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 1, "maxItems": 3},
        "home": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/place"}]},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
                        "required": ["zip"]}},
}
SHORT_OBJECT = {"type": "object", "maxProperties": 3, "propertyNames": {"maxLength": 8},
                "additionalProperties": {"type": "string", "maxLength": 10}}


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, "strict": True}}


def chat(node, **fields):
    status, answer = node.api.post("/v1/chat/completions", {**CHAT, **fields})
    assert status == 200, answer
    return answer


def content(node, **fields):
    choice = chat(node, **fields)["choices"][0]
    assert choice["finish_reason"] == "stop", choice
    return choice["message"]["content"]


def check(text, schema):
    value = json.loads(text)
    jsonschema.Draft202012Validator(schema).validate(value)
    return value


def test_a_random_model_writes_only_what_the_schema_allows(exo):
    with cluster(exo, 1) as nodes:
        orders = set()
        for seed in range(12):
            value = check(content(nodes[0], seed=seed, response_format=form(PERSON)), PERSON)
            names = [name for name in PERSON["properties"] if name in value]
            assert list(value) == names, "members come in the order of the schema"
            orders.add(tuple(names))
            check(content(nodes[0], seed=seed, response_format=form(SHORT_OBJECT)), SHORT_OBJECT)
        assert len(orders) > 1, "optional members come and do not come"
        text = "".join(event["choices"][0]["delta"].get("content") or "" for event in nodes[0].api.stream(
            "/v1/chat/completions", {**CHAT, "seed": 1, "response_format": form(PERSON)}) if event["choices"])
        assert text == content(nodes[0], seed=1, response_format=form(PERSON))


def test_any_object_is_json_unless_it_is_cut(exo):
    with cluster(exo, 1) as nodes:
        ended = 0
        for seed in range(12):
            choice = chat(nodes[0], seed=seed, response_format={"type": "json_object"})["choices"][0]
            assert choice["message"]["content"].startswith("{")
            if choice["finish_reason"] == "stop":
                assert isinstance(json.loads(choice["message"]["content"]), dict)
                ended += 1
        assert ended > 0


def test_expressions_grammars_and_choices_on_both_routes(exo):
    with cluster(exo, 1) as nodes:
        for seed in range(4):
            fields = {"seed": seed, "temperature": 1.5, "max_tokens": 60}
            choices = ["yes", "no", "perhaps, \"later\""]
            date = r"[12][0-9]{3}-[01][0-9](?: [a-zß]{2,5})?"
            gbnf = 'root ::= "<" [a-f]+ ("," [0-9]{2}){1,3} ">"'
            assert content(nodes[0], **fields, choice=choices) in choices
            assert content(nodes[0], **fields, guided_choice=choices) in choices
            assert re.fullmatch(date, content(nodes[0], **fields, regex=date))
            raw = nodes[0].api.complete("exo-tiny", "Once", **fields, guided_regex=date)["choices"][0]
            assert re.fullmatch(date, raw["text"]), raw
            raw = nodes[0].api.complete("exo-tiny", "Once", **fields, grammar=gbnf)["choices"][0]
            assert raw["finish_reason"] == "length" or re.fullmatch("<[a-f]+(,[0-9]{2}){1,3}>", raw["text"]), raw
            raw = nodes[0].api.complete("exo-tiny", "Once", **fields, json_schema={"type": "boolean"})["choices"][0]
            assert raw["text"] in ("true", "false"), raw


def test_what_cannot_be_kept_is_refused_by_name(exo):
    with cluster(exo, 1) as nodes:
        for fields, param, word in (
            ({"response_format": form({"if": {"type": "null"}, "then": {"const": None}})}, "response_format", "if"),
            ({"response_format": form({"type": "array", "uniqueItems": True})}, "response_format", "uniqueItems"),
            ({"response_format": form({"$ref": "http://elsewhere/x.json"})}, "response_format", "elsewhere"),
            ({"response_format": form({"type": "string", "pattern": "(?=a)b"})}, "response_format", "look-around"),
            ({"response_format": {"type": "json_schema"}}, "response_format", "schema"),
            ({"response_format": {"type": "xml"}}, "response_format", "xml"),
            ({"regex": "a(b"}, "regex", "')'"),
            ({"grammar": "root ::= other"}, "grammar", "other"),
            ({"guided_choice": []}, "guided_choice", "guided_choice"),
            ({"regex": ""}, "regex", "empty"),
            ({"response_format": {}}, "response_format", "type"),
            ({"regex": "a", "grammar": 'root ::= "a"'}, "regex", "another field"),
        ):
            status, answer = nodes[0].api.post("/v1/chat/completions", {**CHAT, "max_tokens": 2, **fields})
            assert status == 400 and answer["error"]["param"] == param, (fields, answer)
            assert word in answer["error"]["message"], (fields, answer)


def test_where_there_is_one_token_it_is_not_computed(exo):
    with cluster(exo, 1) as nodes:
        text = "a" + "\x01\x02\x03" * 6 + "b"  # bytes that no longer token has
        schema = {"choice": [text]}
        answer = chat(nodes[0], **schema, temperature=0)
        assert answer["choices"][0]["message"]["content"] == text, answer
        with_logprobs = chat(nodes[0], **schema, temperature=0, logprobs=True)["choices"][0]
        assert with_logprobs["message"]["content"] == text
        assert len(with_logprobs["logprobs"]["content"]) == answer["usage"]["completion_tokens"]


def test_the_same_answer_over_two_nodes(exo):
    short = {"type": "object", "properties": {name: PERSON["properties"][name] for name in ("name", "age", "tags")},
             "required": ["name", "age", "tags"]}
    schema = {"type": "array", "items": short, "minItems": 5, "maxItems": 5}
    fields = {"seed": 5, "temperature": 1.5, "max_tokens": 900, "response_format": form(schema)}
    with cluster(exo, 1) as nodes:
        expected = content(nodes[0], **fields)
        check(expected, schema)
    with cluster(exo, 2) as nodes:
        status, plan = nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", "spread": True})
        assert status == 200, plan
        assert content(nodes[1], **fields) == expected


if __name__ == "__main__":
    main([test_a_random_model_writes_only_what_the_schema_allows, test_any_object_is_json_unless_it_is_cut,
          test_expressions_grammars_and_choices_on_both_routes, test_what_cannot_be_kept_is_refused_by_name,
          test_where_there_is_one_token_it_is_not_computed, test_the_same_answer_over_two_nodes])
