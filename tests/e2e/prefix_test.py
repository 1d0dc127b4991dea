"""The prefix store on disk: what was computed of a chat survives a restart, an unload and a re-plan, bit for bit."""
import contextlib
import pathlib
import shutil
import signal
import struct
import tempfile

from lib import TINY, cluster, main, restarted, wait_alive, wait_for

# About 850 tokens of exo-tiny: three whole pages of 256 and a part.
STORY = " ".join(
    f"On day {day} the hen named Dot walked to the door of the bakery and counted {day * 7} loaves before she ate."
    for day in range(1, 26))
SETTINGS = {"max_tokens": 24, "seed": 7, "temperature": 0}
STORE = ("--prefix-store", "1GiB")


@contextlib.contextmanager
def long_model():
    """The option that names a folder with exo-tiny as `long`, which says that it was trained for 2,048 positions."""
    folder = tempfile.mkdtemp(prefix="exo-prefix-")
    try:
        data = bytearray(TINY.read_bytes())
        key = b"llama.context_length"
        at = data.index(key) + len(key)
        assert struct.unpack_from("<II", data, at) == (4, 512), "not an uint32 of 512"
        struct.pack_into("<I", data, at + 4, 2048)
        (pathlib.Path(folder) / "long.gguf").write_bytes(data)
        yield ("--models", folder)
    finally:
        shutil.rmtree(folder)


def ask(api, prompt):
    """(text, prompt tokens, cached tokens)."""
    answer = api.complete("long", prompt, **SETTINGS)
    usage = answer["usage"]
    return (answer["choices"][0]["text"], usage["prompt_tokens"],
            usage.get("prompt_tokens_details", {}).get("cached_tokens", 0))


def metric(api, name):
    status, text = api.get("/metrics")
    assert status == 200, text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def settled(node, pages):
    """Waits until `pages` are written since the node's start, and nothing more comes."""
    wait_for(f"{pages} pages on {node.name}", lambda: metric(node.api, "exo_prefix_pages_written_total") >= pages)
    sizes = []

    def quiet():
        sizes.append(metric(node.api, "exo_prefix_store_bytes"))
        return len(sizes) > 10 and len(set(sizes[-10:])) == 1
    wait_for("the store to be quiet", quiet, step=0.05)


def two_turns(exo, models):
    """A chat of two turns without any reuse: the first answer, the second prompt and its answer."""
    with cluster(exo, 1, *models) as nodes:
        first, _, cached = ask(nodes[0].api, STORY)
        assert cached == 0
    prompt = STORY + first + " Then she said"
    with cluster(exo, 1, *models) as nodes:
        second, tokens, cached = ask(nodes[0].api, prompt)
        assert cached == 0 and tokens > 600, (cached, tokens)
    return first, prompt, second


def test_a_chat_goes_on_after_a_restart(exo):
    with long_model() as models:
        first, prompt, second = two_turns(exo, models)
        store = (*STORE, *models)
        with cluster(exo, 1, *store) as nodes:
            node = nodes[0]
            assert ask(node.api, STORY)[0] == first
            settled(node, 3)
            node.stop()
            nodes[0] = node = restarted(exo, node, *store)
            text, tokens, cached = ask(node.api, prompt)
            print(f"  after a restart {cached} of {tokens} tokens came from disk")
            assert text == second and cached > 512, (text, second, cached)
            assert metric(node.api, "exo_prefix_restored_tokens_total") == cached
            settled(node, 1)
            # An unload forgets what was in memory.
            node.api.post("/v1/internal/unload", {"model": "long"})
            text, _, cached = ask(node.api, prompt)
            assert text == second and cached > 512, (text, cached)
            # Killed: nothing was fsynced, and nothing needs to be.
            node.kill(signal.SIGKILL)
            node.process.wait()
            nodes[0] = node = restarted(exo, node, *store)
            text, _, cached = ask(node.api, prompt)
            assert text == second and cached > 512, (text, cached)
            for path in (node.home / "prefix").iterdir():
                assert path.suffix in (".page", ".text"), path
                assert path.stat().st_mode & 0o777 == 0o600, path
            assert (node.home / "prefix.key").stat().st_mode & 0o777 == 0o600


def test_damaged_and_foreign_files_are_computed_anew(exo):
    with long_model() as models:
        first, prompt, second = two_turns(exo, models)
        store = (*STORE, *models)
        with cluster(exo, 1, *store) as nodes:
            node = nodes[0]
            assert ask(node.api, STORY)[0] == first
            settled(node, 3)
            node.stop()
            for path in (node.home / "prefix").glob("*.page"):
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
            nodes[0] = node = restarted(exo, node, *store)
            text, _, cached = ask(node.api, prompt)
            assert text == second and cached == 0, (text, cached)
            assert metric(node.api, "exo_prefix_pages_missed_total") > 0
            settled(node, 2)
            node.stop()
            (node.home / "prefix.key").unlink()  # with another key nothing can be opened
            nodes[0] = node = restarted(exo, node, *store)
            text, _, cached = ask(node.api, prompt)
            assert text == second and cached == 0, (text, cached)


def test_over_two_nodes(exo):
    with long_model() as models:
        first, prompt, second = two_turns(exo, models)
        store = (*STORE, *models, "--threads", "1")

        def load(node):
            status, loaded = node.api.post("/v1/internal/load", {"model": "long", "spread": True})
            assert status == 200 and len(loaded["stages"]) == 2, loaded
            return [(stage["node"], stage["layer_begin"], stage["layer_end"]) for stage in loaded["stages"]]

        with cluster(exo, 2, *store) as nodes:
            def load_as_before():
                """Layers go to those that are fast, by what was measured lately: until they are the same ones."""
                nodes[0].api.post("/v1/internal/unload", {"model": "long"})
                return load(nodes[0]) == stages
            wait_for("speeds", lambda: all(node["decode_gbps"] > 0 for node in nodes[0].api.cluster()["nodes"]))
            stages = load(nodes[0])
            assert ask(nodes[0].api, STORY)[0] == first
            for node in nodes:
                settled(node, 3)
            wait_for("the same stages", load_as_before, step=0.5)
            text, tokens, cached = ask(nodes[1].api, prompt)
            print(f"  over two nodes {cached} of {tokens} tokens came from disk")
            assert text == second and cached > 512, (text, cached)
            # One node loses its pages: those of the other are of no use, and nothing fails.
            nodes[1].stop()
            for path in (nodes[1].home / "prefix").glob("*.page"):
                path.unlink()
            nodes[1] = restarted(exo, nodes[1], *store)
            wait_alive(nodes, 2)
            wait_for("the same stages", load_as_before, step=0.5)
            text, _, cached = ask(nodes[0].api, prompt)
            assert text == second and cached == 0, (text, cached)


if __name__ == "__main__":
    main([test_a_chat_goes_on_after_a_restart, test_damaged_and_foreign_files_are_computed_anew, test_over_two_nodes])
