"""`exo demo`: the same answer from 1, 2, 3 and 5 nodes, its JSON, a clean end, also on Ctrl-C."""
import json
import os
import signal
import subprocess
import tempfile
import time

from lib import PATIENCE, main, need_shared, wait_for, within

PROMPT = "Once upon a time, there was a little dog"


def demo(exo, *arguments):
    done = subprocess.run([exo, "demo", "--json", *arguments], capture_output=True, text=True, timeout=5 * PATIENCE)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


def leftovers(folder):
    """exo processes whose EXO_HOME lies in `folder`, and what is left in it."""
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = open(f"/proc/{pid}/environ", "rb").read()
        except OSError:
            continue
        if f"EXO_HOME={folder}".encode() in environment:
            pids.append(int(pid))
    return pids, os.listdir(folder)


def test_every_number_of_nodes_gives_the_same_tokens(exo):
    settings = ["--raw", "--prompt", PROMPT, "--max-tokens", "40", "--temperature", "0.8", "--seed", "7"]
    one = demo(exo, "--nodes", "1", *settings)
    assert len(one["token_ids"]) > 10, one
    for nodes in (2, 3, 5):
        many = demo(exo, "--nodes", str(nodes), *settings)
        assert many["token_ids"] == one["token_ids"], (nodes, many["text"], one["text"])
        assert many["text"] == one["text"]
        assert len(many["stages"]) == nodes and len({s["node"] for s in many["stages"]}) == nodes, many["stages"]
        assert many["stages"][0]["first"] == 0 and many["stages"][-1]["last"] == 7, many["stages"]
        assert many["tokens_per_second"] > 0 and many["ttft_ms"] > 0
        for left, right in zip(many["stages"], many["stages"][1:]):
            assert right["first"] == left["last"] + 1, many["stages"]


def test_stories_of_every_format_over_three_nodes(exo):
    folder = need_shared("data/models/stories260K/gguf")
    for name in ("f32", "f16", "bf16", "q8_0", "q4_0", "f16-00001-of-00003"):
        settings = ["--raw", "--prompt", "Once upon", "--max-tokens", "24", "--model", str(folder / f"stories260K-{name}.gguf")]
        settings += ["--temperature", "0"]
        one, three = demo(exo, "--nodes", "1", *settings), demo(exo, "--nodes", "3", *settings)
        assert one["token_ids"] == three["token_ids"] and len(one["token_ids"]) == 24, (name, one, three)


def test_the_answer_makes_sense_and_nothing_is_left(exo):
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        done = subprocess.run([exo, "demo"], capture_output=True, text=True, timeout=5 * PATIENCE, env={**os.environ, "TMPDIR": folder})
        assert done.returncode == 0, done.stderr
        assert "tokens/s measured" in done.stdout and "layers" in done.stdout, done.stdout
        assert "exo" in done.stdout.split("exo-tiny:")[1], done.stdout
        assert leftovers(folder) == ([], []), leftovers(folder)
        print(f"  the demo took {time.monotonic() - start:.1f} s")


def test_a_reader_that_goes_away_leaves_nothing(exo):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(f"'{exo}' demo --max-tokens 4 | head -1", shell=True, capture_output=True, timeout=5 * PATIENCE,
                              env={**os.environ, "TMPDIR": folder})
        assert done.returncode == 0 and done.stdout.count(b"\n") == 1 and done.stderr == b"", done
        wait_for("the nodes to be gone", lambda: leftovers(folder) == ([], []))


def test_ctrl_c_leaves_nothing(exo):
    for delay in (0.2, 1.0):
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen([exo, "demo", "--max-tokens", "400"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       env={**os.environ, "TMPDIR": folder}, start_new_session=True)
            time.sleep(delay)
            start = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=PATIENCE)
            within("Ctrl-C", time.monotonic() - start, 1.5)
            # The signal itself, where it has not begun to look out for it.
            assert process.returncode in (0, 130, -signal.SIGINT), process.returncode
            wait_for("all nodes to be gone", lambda: leftovers(folder) == ([], []))


def test_bad_values_are_refused_in_words(exo):
    for arguments, word in ((["--nodes", "0"], "--nodes"), (["--model", "no-such"], "no-such"), (["--temperature", "9"], "temperature")):
        done = subprocess.run([exo, "demo", *arguments], capture_output=True, text=True, timeout=2 * PATIENCE)
        assert done.returncode != 0 and word in done.stderr, (arguments, done.returncode, done.stderr)


if __name__ == "__main__":
    main([test_every_number_of_nodes_gives_the_same_tokens, test_stories_of_every_format_over_three_nodes,
          test_the_answer_makes_sense_and_nothing_is_left,
          test_a_reader_that_goes_away_leaves_nothing, test_ctrl_c_leaves_nothing, test_bad_values_are_refused_in_words])
