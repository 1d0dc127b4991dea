"""Texts as vectors and scores: the same bits on one node and over two, alone and beside others, in every dialect."""
import base64
import math
import struct

from lib import cluster, main

TEXTS = ["exo joins the devices of a home", "a phone, a laptop and an old box", "x", "what is exo? " * 60]


def embed(node, texts, **fields):
    status, answer = node.api.post("/v1/embeddings", {"model": "exo-tiny", "input": texts, **fields})
    assert status == 200, answer
    assert [one["index"] for one in answer["data"]] == list(range(len(answer["data"])))
    return [one["embedding"] for one in answer["data"]]


def test_vectors_have_length_one_and_the_same_bits_in_every_form(exo):
    with cluster(exo, 1) as nodes:
        node = nodes[0]
        together = embed(node, TEXTS)
        for text, vector in zip(TEXTS, together):
            assert abs(sum(value * value for value in vector) - 1) < 1e-6
            assert embed(node, text) == [vector], "alone as beside others"
        packed = embed(node, TEXTS, encoding_format="base64")
        width = len(together[0])
        assert [list(struct.unpack(f"<{width}f", base64.b64decode(one))) for one in packed] == [
            list(struct.unpack(f"<{width}f", struct.pack(f"<{width}f", *one))) for one in together]
        status, tokens = node.api.post("/tokenize", {"content": TEXTS[0], "add_special": True})
        assert status == 200 and embed(node, tokens["tokens"]) == together[:1]
        cut = embed(node, TEXTS[0], dimensions=8)[0]
        length = math.sqrt(sum(value * value for value in together[0][:8]))
        assert all(abs(a - b / length) < 1e-6 for a, b in zip(cut, together[0])) and len(cut) == 8
        status, ollama = node.api.post("/api/embed", {"model": "exo-tiny", "input": TEXTS})
        assert status == 200 and ollama["embeddings"] == together
        status, llama = node.api.post("/embedding", {"content": TEXTS[0]})
        assert status == 200 and llama[0]["embedding"] == together[:1]
        status, raw = node.api.post("/api/embeddings", {"model": "exo-tiny", "prompt": TEXTS[0]})
        scale = raw["embedding"][0] / together[0][0]
        assert all(abs(a - b * scale) < 1e-4 * abs(scale) for a, b in zip(raw["embedding"], together[0]))


def test_what_cannot_be_read_is_refused(exo):
    with cluster(exo, 1) as nodes:
        long = "word " * 20000
        for fields, param, word in (
            ({"input": long}, "input", "context"),
            ({"input": "a", "dimensions": 100000}, "dimensions", "have"),
            ({"input": [10 ** 6]}, "input", "vocabulary"),
            ({"input": "a", "model": "nobody"}, "model", "nobody"),
        ):
            status, answer = nodes[0].api.post("/v1/embeddings", {"model": "exo-tiny", **fields})
            assert status in (400, 404) and answer["error"]["param"] == param, (fields.keys(), answer)
            assert word in answer["error"]["message"], answer
        status, answer = nodes[0].api.post("/api/embed", {"model": "exo-tiny", "input": long})
        assert status == 200 and len(answer["embeddings"]) == 1, "cut, unless told otherwise"
        status, answer = nodes[0].api.post("/api/embed", {"model": "exo-tiny", "input": long, "truncate": False})
        assert status == 400, answer


def rank(node):
    status, answer = node.api.post("/v1/rerank", {
        "model": "exo-tiny", "query": "What is exo?", "documents": ["exo is one program", "bread is baked", ""]})
    if status == 400:  # no single token for the words
        return answer["error"]["message"]
    assert status == 200, answer
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    return answer["results"]


def test_two_nodes_read_as_one(exo):
    with cluster(exo, 1) as nodes:
        expected, ranked = embed(nodes[0], TEXTS), rank(nodes[0])
    with cluster(exo, 2) as nodes:
        status, plan = nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", "spread": True})
        assert status == 200, plan
        for node in nodes:
            assert embed(node, TEXTS) == expected
            assert rank(node) == ranked


if __name__ == "__main__":
    main([test_vectors_have_length_one_and_the_same_bits_in_every_form, test_what_cannot_be_read_is_refused,
          test_two_nodes_read_as_one])
