"""Tool calls that must come, from a model that would never call one, in every dialect."""
import json

import jsonschema

from lib import cluster, main

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1, "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 14}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
ZONE = {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"], "additionalProperties": False}
SCHEMAS = {"weather": CITY, "time": ZONE}
TOOLS = [{"type": "function", "function": {"name": name, "description": "Looks.", "parameters": schema}}
         for name, schema in SCHEMAS.items()]
CHAT = {"model": "exo-tiny", "messages": [{"role": "user", "content": "What is exo?"}], "max_tokens": 400, "temperature": 1.5,
        "tools": TOOLS}
NAMED = {"type": "function", "function": {"name": "weather"}}


def post(node, path, body):
    status, answer = node.api.post(path, body)
    assert status == 200, answer
    return answer


def check(name, arguments):
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(arguments)


def test_chat_completions(exo):
    with cluster(exo, 1) as nodes:
        seen = set()
        for seed in range(8):
            choice = post(nodes[0], "/v1/chat/completions", {**CHAT, "seed": seed, "tool_choice": "required",
                                                             "parallel_tool_calls": False})["choices"][0]
            assert choice["finish_reason"] == "tool_calls", choice
            assert choice["message"]["content"] is None, choice
            (call,) = choice["message"]["tool_calls"]
            assert call["type"] == "function" and call["id"], call
            check(call["function"]["name"], json.loads(call["function"]["arguments"]))
            seen.add(call["function"]["name"])
        assert seen == set(SCHEMAS), seen
        body = {**CHAT, "seed": 3, "tool_choice": NAMED, "parallel_tool_calls": False}
        whole = post(nodes[0], "/v1/chat/completions", body)["choices"][0]["message"]["tool_calls"][0]["function"]
        assert whole["name"] == "weather", whole
        name, arguments, reasons, pieces = "", "", [], 0
        for event in nodes[0].api.stream("/v1/chat/completions", body):
            for choice in event["choices"]:
                assert not choice["delta"].get("content"), event
                for call in choice["delta"].get("tool_calls", []):
                    name += call["function"].get("name", "")
                    arguments += call["function"]["arguments"]
                    pieces += 1
                reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
        assert (name, arguments, reasons) == ("weather", whole["arguments"], ["tool_calls"])
        assert pieces > 3, "the arguments are streamed"
        # Cut anywhere it is the beginning of that call, and no text.
        for limit in (1, 3, 9):
            cut = post(nodes[0], "/v1/chat/completions", {**body, "max_tokens": limit})["choices"][0]
            assert cut["finish_reason"] == "length" and cut["message"]["content"] is None, cut
            begun = cut["message"]["tool_calls"][0]["function"]
            assert begun["name"] == "weather" and whole["arguments"].startswith(begun["arguments"]), (cut, whole)
        # Its own call goes back into the prompt.
        call = {"id": "abcdefghi", "type": "function", "function": whole}
        post(nodes[0], "/v1/chat/completions", {**CHAT, "messages": [
            *CHAT["messages"], {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "abcdefghi", "content": "sun"}], "tool_choice": "none"})


def test_what_cannot_be_called_is_refused(exo):
    with cluster(exo, 1) as nodes:
        for body, word in [({"tool_choice": {"type": "function", "function": {"name": "other"}}}, "'other'"),
                           ({"tool_choice": "required", "tools": []}, "no tools"),
                           ({"tool_choice": "required", "response_format": {"type": "json_object"}}, "one of them")]:
            status, answer = nodes[0].api.post("/v1/chat/completions", {**CHAT, **body})
            assert status == 400 and word in answer["error"]["message"], answer
            assert answer["error"]["param"] == "tool_choice", answer


def test_responses(exo):
    with cluster(exo, 1) as nodes:
        flat = [{"type": "function", "name": name, "parameters": schema} for name, schema in SCHEMAS.items()]
        body = {"model": "exo-tiny", "input": "What is exo?", "max_output_tokens": 400, "seed": 1, "tools": flat,
                "tool_choice": {"type": "function", "name": "weather"}, "parallel_tool_calls": False}
        answer = post(nodes[0], "/v1/responses", body)
        (call,) = answer["output"]
        assert call["type"] == "function_call" and call["name"] == "weather", answer
        check("weather", json.loads(call["arguments"]))
        followed = post(nodes[0], "/v1/responses", {
            "model": "exo-tiny", "previous_response_id": answer["id"], "max_output_tokens": 8, "seed": 1,
            "input": [{"type": "function_call_output", "call_id": call["call_id"], "output": "sun"}]})
        assert followed["output"][0]["type"] == "message", followed


def test_messages(exo):
    with cluster(exo, 1) as nodes:
        tools = [{"name": name, "input_schema": schema} for name, schema in SCHEMAS.items()]
        body = {"model": "exo-tiny", "messages": CHAT["messages"], "max_tokens": 400, "seed": 2, "tools": tools}
        for choice in [{"type": "any"}, {"type": "tool", "name": "time"}]:
            answer = post(nodes[0], "/v1/messages", {**body, "tool_choice": {**choice, "disable_parallel_tool_use": True}})
            assert answer["stop_reason"] == "tool_use", answer
            (block,) = answer["content"]
            assert block["type"] == "tool_use", answer
            check(block["name"], block["input"])
        assert block["name"] == "time"


def test_ollama(exo):
    with cluster(exo, 1) as nodes:
        # The dialect has no field for a call that must come; a tool that is not called changes nothing.
        answer = post(nodes[0], "/api/chat", {"model": "exo-tiny", "messages": CHAT["messages"], "tools": TOOLS, "stream": False,
                                              "options": {"temperature": 0, "num_predict": 12}})
        assert answer["message"]["content"] and "tool_calls" not in answer["message"], answer


if __name__ == "__main__":
    main([test_chat_completions, test_what_cannot_be_called_is_refused, test_responses, test_messages, test_ollama])
