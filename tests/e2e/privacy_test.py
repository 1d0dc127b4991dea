"""What people write stays out of logs, lists, traces and metrics: a word that no text of exo has is looked for everywhere."""
import json
import uuid

from lib import cluster, main, wait_for

WORD = "xylophonequagga"
TEXT = f"Tell me about the {WORD}."
TOOL = {"type": "function", "function": {"name": WORD, "description": TEXT, "parameters": {
    "type": "object", "properties": {WORD: {"enum": [WORD]}}, "required": [WORD], "additionalProperties": False}}}
CHAT = {"model": "exo-tiny", "max_tokens": 24, "temperature": 0,
        "messages": [{"role": "system", "content": TEXT}, {"role": "user", "content": TEXT}]}
CALLED = {"role": "assistant", "content": TEXT, "tool_calls": [
    {"id": WORD, "type": "function", "function": {"name": WORD, "arguments": json.dumps({WORD: WORD})}}]}

ANSWERED = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "tools": [TOOL], "tool_choice": "required", "max_tokens": 200}),
    ("/v1/chat/completions", {**CHAT, "stop": [WORD], "user": WORD, "response_format": {"type": "json_schema", "json_schema": {
        "name": WORD, "strict": True, "schema": TOOL["function"]["parameters"]}}, "max_tokens": 200}),
    ("/v1/chat/completions", {**CHAT, "messages": [*CHAT["messages"], CALLED, {"role": "tool", "tool_call_id": WORD, "content": TEXT}]}),
    ("/v1/completions", {"model": "exo-tiny", "prompt": [TEXT, TEXT], "max_tokens": 8}),
    ("/v1/responses", {"model": "exo-tiny", "instructions": TEXT, "input": TEXT, "max_output_tokens": 16}),
    ("/v1/messages", {"model": "exo-tiny", "system": TEXT, "messages": CHAT["messages"][1:], "max_tokens": 8}),
    ("/api/chat", {**CHAT, "stream": False}),
    ("/api/generate", {"model": "exo-tiny", "prompt": TEXT, "system": TEXT, "stream": False, "options": {"num_predict": 8}}),
    ("/completion", {"prompt": TEXT, "n_predict": 8}),
    ("/tokenize", {"content": TEXT}),
    ("/apply-template", {"messages": CHAT["messages"]}),
    ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "chat", "arguments": {"model": "exo-tiny", "prompt": TEXT, "max_tokens": 8}}}),
]

# Errors quote what is wrong, to their client only.
REFUSED = [
    ("/v1/chat/completions", "{\"messages\": \"" + TEXT),
    ("/v1/chat/completions", {**CHAT, "messages": TEXT}),
    ("/v1/chat/completions", {**CHAT, "messages": [{"role": WORD, "content": TEXT}]}),
    ("/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": TEXT * 3000}]}),
    ("/v1/chat/completions", {**CHAT, "temperature": TEXT}),
    ("/v1/chat/completions", {**CHAT, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": WORD + "s"}}}),
    ("/v1/chat/completions", {**CHAT, "chat_template_kwargs": WORD, "logit_bias": {WORD: 1}}),
    ("/v1/chat/completions", {**CHAT, "response_format": {"type": "json_schema", "json_schema": {
        "name": "a", "strict": True, "schema": {"$ref": "#/" + WORD}}}}),
    ("/v1/completions", {"model": "exo-tiny", "prompt": TEXT, "grammar": "root ::= " + WORD}),
    ("/v1/completions", {"model": "exo-tiny", "prompt": TEXT, "regex": "(" + WORD}),
    ("/v1/completions", {"model": "exo-tiny", "prompt": [TEXT, 5]}),
    ("/v1/messages", {"model": "exo-tiny", "max_tokens": 8, "messages": [{"role": "user", "content": [{"type": WORD, "text": TEXT}]}]}),
    ("/api/generate", {"model": "exo-tiny", "prompt": TEXT, "template": "{{ if " + WORD, "stream": False}),
    ("/v1/conversations/import", {"exo_conversations": 1, "data": [{"id": WORD, "title": TEXT, "messages": []}]}),
    ("/v1/conversations", {"title": TEXT * 50}),
]


def kept_conversation(api):
    status, made = api.post("/v1/conversations", {"title": TEXT, "settings": {"system": TEXT}})
    assert status == 200, made
    path = f"/v1/conversations/{made['id']}"
    status, written = api.request("PUT", f"{path}/messages/{uuid.uuid4().hex}", {"role": "user", "content": TEXT})
    assert status == 200, written
    status, found = api.get(f"/v1/conversations?search={WORD}&limit=5")
    assert status == 200 and found["data"][0]["id"] == made["id"], found
    for query in (f"search={WORD * 30}", f"search={WORD}&limit={WORD}", f"search={WORD}&before={WORD}"):
        assert api.get(f"/v1/conversations?{query}")[0] == 400, query
    return made["id"]


def told(node):
    """All that the node tells about what it did, by where."""
    api = node.api
    texts = {"log": node.log.read_text()}
    for path in ("/v1/internal/logs?follow=false", "/metrics", "/v1/cluster", "/v1/internal/requests", "/v1/internal/audit",
                 "/slots", "/v1/internal/settings"):
        status, answer = api.request("GET", path, headers={"Authorization": f"Bearer {api.token}"})
        assert status in (200, 501), (path, answer)
        texts[path] = answer if isinstance(answer, str) else json.dumps(answer)
    for request in api.get("/v1/internal/requests")[1]["data"]:
        for form in ("", "?format=chrome", "?format=otlp"):
            path = f"/v1/internal/requests/{request['id']}/trace{form}"
            status, answer = api.get(path)
            assert status in (200, 404), (path, answer)
            texts[path] = json.dumps(answer)
    return texts


def test_what_people_write_is_told_nowhere(exo):
    with cluster(exo, 2, "--log", "debug") as nodes:
        node, other = nodes
        answers = []
        for path, body in ANSWERED:
            status, answer = node.api.post(path, body)
            assert status == 200, (path, answer)
            answers.append(json.dumps(answer))
        # A client that goes away in the middle of its answer.
        stream = node.api.stream("/v1/chat/completions", {**CHAT, "max_tokens": 2000})
        next(stream)
        stream.close()
        for path, body in REFUSED:
            status, answer = node.api.post(path, body)
            assert 400 <= status < 500, (path, json.dumps(body)[-200:], status, str(answer)[:300])
        conversation = kept_conversation(node.api)
        # The other member has it, too, and says as little of it.
        wait_for("the conversation at the other member", lambda: other.api.get(f"/v1/conversations/{conversation}")[0] == 200)
        assert node.api.request("DELETE", f"/v1/conversations/{conversation}")[0] == 200
        assert any(WORD in answer for answer in answers), "answers repeat it, so the search finds what there is"
        leaks = [f"{one.name}: {where}: {line[:300]}" for one in nodes for where, text in told(one).items()
                 for line in text.splitlines() if WORD in line.lower()]
        assert not leaks, "\n".join(leaks)
        assert "request=" in nodes[0].log.read_text(), "there is a log at all"


if __name__ == "__main__":
    main([test_what_people_write_is_told_nowhere])
