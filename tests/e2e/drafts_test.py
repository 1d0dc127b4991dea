"""Guessing ahead: from a request's own text and by a small model. Answers stay the same."""
import pathlib
import subprocess
import tempfile

from lib import cluster, main, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHAT = {"model": "exo-tiny", "messages": [{"role": "user", "content": "What is exo?"}], "max_tokens": 60,
        "temperature": 0.7, "seed": 11}
LIST = {"model": "exo-tiny", "prompt": "one two three four five six. " * 12, "max_tokens": 60, "temperature": 0}


def text_of(choice):
    return choice["message"]["content"] if "message" in choice else choice["text"]


def ask(node, body):
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    status, answer = node.api.post(path, body)
    assert status == 200, answer
    return text_of(answer["choices"][0]), answer["timings"]


def test_text_that_repeats_is_drafted(exo):
    texts = []
    for switch in ("false", "true"):
        with cluster(exo, 1, environment={"EXO_SPECULATION": switch}) as nodes:
            def drafts():
                """Made where they pay by measured times, which others' load can spoil for a while."""
                text, timings = ask(nodes[0], LIST)
                texts.append(text)
                return timings["draft_n"] > 0
            if switch == "true":
                wait_for("drafts", drafts)
            else:
                assert not drafts(), texts
    assert len(set(texts)) == 1, texts


def test_drafts_change_no_answer_whatever_the_sampler_remembers(exo):
    """State (Mirostat's) and what depends on the text so far (DRY, penalties) inside a verify window."""
    settings = [
        {"temperature": 0.5, "mirostat": 2, "mirostat_tau": 1.5, "mirostat_eta": 0.3},
        {"temperature": 0.1, "dry_multiplier": 0.5, "dry_allowed_length": 95, "dry_sequence_breakers": []},
        {"temperature": 0.1, "repeat_penalty": 1.05, "repeat_last_n": -1, "frequency_penalty": 0.01},
        {"temperature": 0.1, "xtc_probability": 0.1, "xtc_threshold": 0.3, "typical_p": 0.9, "top_n_sigma": 2},
        {"temperature": 0.1, "logprobs": 3}]

    def answers(switch):
        with cluster(exo, 1, environment={"EXO_SPECULATION": switch}) as nodes:
            return [nodes[0].api.complete("exo-tiny", LIST["prompt"], **{"seed": 5, "max_tokens": 100, **one})
                    for one in settings]
    plain = answers("false")
    # Drafts are made where they pay by measured times, which others' load can spoil for a node's whole life: every
    # round compares everything, and rounds go on until drafts have been right and wrong.
    accepted = wrong = 0
    for _ in range(8):
        for one, a, b in zip(settings, plain, answers("true")):
            assert a["exo"]["token_ids"] == b["exo"]["token_ids"], one
            assert a["choices"][0]["logprobs"] == b["choices"][0]["logprobs"], one
            count, right = b["timings"]["draft_n"], b["timings"]["draft_n_accepted"]
            print(f"  {count:3d} drafted, {right:3d} accepted: {one}")
            assert a["timings"]["draft_n"] == 0, a["timings"]
            accepted, wrong = accepted + right, wrong + count - right
        if accepted > 0 and wrong > 0:
            return
    raise AssertionError(f"of all drafts {accepted} were right and {wrong} wrong")


def test_a_draft_model_changes_no_answer(exo):
    with tempfile.TemporaryDirectory() as folder:
        draft = pathlib.Path(folder) / "small.gguf"
        subprocess.run([exo, "quantize", str(ROOT / "models/exo-tiny.gguf"), str(draft), "Q4_0"], check=True,
                       capture_output=True, timeout=300)
        other = pathlib.Path(folder) / "other.gguf"
        with cluster(exo, 2) as nodes:
            plain, _ = ask(nodes[0], CHAT)
            nodes[0].api.post("/v1/internal/unload", {"model": "exo-tiny"})
            for spread in (False, True):
                load = {"model": "exo-tiny", "spread": spread, "draft": str(draft)}
                status, plan = nodes[0].api.post("/v1/internal/load", load)
                assert status == 200, plan

                def drafts_stand():
                    text, timings = ask(nodes[1], CHAT)
                    assert text == plain, (text, plain)
                    return timings["draft_n_accepted"] > 0
                wait_for("drafts that stand", drafts_stand)
                status, refused = nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", "draft": "no-such"})
                assert status == 404 and "no-such" in refused["error"]["message"], (status, refused)
                nodes[0].api.post("/v1/internal/unload", {"model": "exo-tiny"})
            status, refused = nodes[0].api.post("/v1/internal/load", {"model": "exo-tiny", "draft": str(other)})
            assert status in (400, 404) and "other.gguf" in refused["error"]["message"], (status, refused)


if __name__ == "__main__":
    main([test_text_that_repeats_is_drafted, test_drafts_change_no_answer_whatever_the_sampler_remembers,
          test_a_draft_model_changes_no_answer])
