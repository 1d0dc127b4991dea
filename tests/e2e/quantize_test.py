"""exo quantize: every type, from one file and from a split one; what it writes runs and is nearly as good.

exo-tiny's rows are multiples of 256 values; those of stories260K are not, so that its K-quants are Q8_0.
"""
import array
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from lib import ROOT, TINY, main, need_shared

sys.path += [str(ROOT / "tools"), str(ROOT / "tests" / "peer")]
import reference  # noqa: E402
import synthetic  # noqa: E402

# The largest change of exo-tiny's perplexity on one short text that is no surprise.
LOSS = {"Q4_0": 0.10, "Q8_0": 0, "Q4_K": 0.06, "Q5_K": 0.03, "Q6_K": 0.01}
TEXT = ("A hen named Dot lived behind the bakery. Every morning she walked to the door and waited for crumbs. One day the "
        "door stayed shut. Dot was worried. She looked through the window and saw the baker asleep on a sack of flour. Dot "
        "made a loud noise. The baker woke up and laughed. \"Thank you, Dot,\" he said. He gave her a whole roll, and she "
        "shared it with the ducks at the pond.")


def run(exo, *arguments):
    return subprocess.run([str(exo), *map(str, arguments)], capture_output=True, text=True, timeout=300)


def quantize(exo, *arguments):
    done = run(exo, "quantize", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) <= 13, done.stderr
    return json.loads(done.stdout), done.stderr


def perplexity(exo, model):
    with tempfile.TemporaryDirectory(prefix="exo-quantize-") as folder:
        out = pathlib.Path(folder) / "logits.f32"
        done = run(exo, "logits", "--model", model, "--prompt", TEXT, "--raw", "--out", out, "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        values = array.array("f", out.read_bytes())
    ids, vocab = answer["ids"], answer["vocab"]
    nll = 0.0
    for t in range(len(ids) - 1):
        row = values[t * vocab:(t + 1) * vocab]
        best = max(row)
        nll += best + math.log(math.fsum(math.exp(v - best) for v in row)) - row[ids[t + 1]]
    return math.exp(nll / (len(ids) - 1))


def every_type_of_exo_tiny(exo):
    before = perplexity(exo, TINY)
    with tempfile.TemporaryDirectory(prefix="exo-quantize-") as folder:
        for kind, loss in LOSS.items():
            out = pathlib.Path(folder) / f"{kind}.gguf"
            summary, said = quantize(exo, TINY, out, kind)
            assert summary["bytes"] == out.stat().st_size, summary
            assert summary["tensors"][kind] >= 56, summary
            assert ("quantized already" in said) == (kind != "Q8_0"), said
            after = perplexity(exo, out)
            print(f"  {kind}: {summary['bits_per_weight']:.2f} bits a weight, perplexity {after:.3f} "
                  f"({100 * (after / before - 1):+.2f} %)")
            assert abs(after / before - 1) <= loss, (before, after)
            if kind == "Q4_K":
                bench = run(exo, "bench", "--model", out, "--pp", 16, "--tg", 4, "--runs", 1, "--json")
                assert bench.returncode == 0 and json.loads(bench.stdout)["tg_tps"] > 0, bench.stderr


def narrow_rows_become_q8_0_and_threads_do_not_matter(exo):
    folder = need_shared("data", "models", "stories260K", "gguf")
    source = folder / "stories260K-f32.gguf"
    before = perplexity(exo, source)
    with tempfile.TemporaryDirectory(prefix="exo-quantize-") as out:
        out = pathlib.Path(out)
        for kind in LOSS:
            summary, said = quantize(exo, source, out / kind, kind, "--threads", 1)
            quantize(exo, source, out / f"{kind}-3", kind, "--threads", 3)
            assert (out / kind).read_bytes() == (out / f"{kind}-3").read_bytes(), kind
            assert "quantized already" not in said, said
            assert kind in ("Q4_0", "Q8_0") or kind not in summary["tensors"], summary
            after = perplexity(exo, out / kind)
            print(f"  {kind}: {summary['tensors']}, perplexity {after:.3f} ({100 * (after / before - 1):+.2f} %)")
            # Q8_0 costs this small model half a percent on a short text, whoever writes it.
            assert abs(after / before - 1) <= (0.30 if kind == "Q4_0" else 0.01), (before, after)


def a_split_model_becomes_one_file(exo):
    folder = need_shared("data", "models", "stories260K", "gguf")
    with tempfile.TemporaryDirectory(prefix="exo-quantize-") as out:
        out = pathlib.Path(out)
        quantize(exo, folder / "stories260K-f16-00002-of-00003.gguf", out / "split.gguf", "Q8_0")
        quantize(exo, folder / "stories260K-f16.gguf", out / "single.gguf", "Q8_0")
        assert b"split.count" not in (out / "split.gguf").read_bytes()
        assert (out / "split.gguf").stat().st_size == (out / "single.gguf").stat().st_size
        assert perplexity(exo, out / "split.gguf") == perplexity(exo, out / "single.gguf")


def every_expert_is_written(exo):
    """The experts of a layer are one tensor: each value is within half a step of the code it became."""
    with tempfile.TemporaryDirectory(prefix="exo-quantize-") as folder:
        source, out = pathlib.Path(folder) / "in.gguf", pathlib.Path(folder) / "out.gguf"
        synthetic.write(source, "qwen3moe", {"": "f32"})
        before = reference.Gguf(str(source))
        summary, _ = quantize(exo, source, out, "Q8_0")
        after = reference.Gguf(str(out))
        experts = [name for name in before.where if "_exps" in name]
        assert len(experts) == 3 * synthetic.LAYERS and summary["tensors"]["Q8_0"] > len(experts), summary
        for name in experts:
            x, y = (file.tensor(name).astype(np.float32) for file in (before, after))
            assert x.shape == y.shape and len(x.shape) == 3, (name, x.shape, y.shape)
            blocks = x.reshape(-1, 32)
            step = np.abs(blocks).max(axis=1, keepdims=True) / 127
            worst = (np.abs(blocks - y.reshape(-1, 32)) / step).max()
            assert worst <= 0.5 + 127 / 2048, (name, worst)  # the step itself is a half-precision number
        assert (out.stat().st_size < 0.3 * source.stat().st_size), summary
        assert math.isfinite(perplexity(exo, out))


def what_cannot_be_done_is_refused(exo):
    with tempfile.TemporaryDirectory(prefix="exo-quantize-") as folder:
        folder = pathlib.Path(folder)
        copy, out = folder / "copy.gguf", folder / "out.gguf"
        copy.write_bytes(pathlib.Path(TINY).read_bytes())
        (folder / "link.gguf").symlink_to(copy)
        out.write_text("something precious")
        for arguments, said, code in [
                ((copy, folder / "new.gguf", "Q3_K"), "Q4_0, Q8_0, Q4_K, Q5_K, Q6_K", 2),
                ((copy, copy, "Q4_0", "--force"), "is the model that is read", 2),
                ((copy, folder / "link.gguf", "Q4_0", "--force"), "is the model that is read", 2),
                ((copy, out, "Q4_0"), "--force", 2),
                ((copy, folder, "Q4_0", "--force"), "not a regular file", 2),
                ((folder / "none.gguf", out, "Q4_0"), "none.gguf", 4),
                ((out, folder / "new.gguf", "Q4_0"), "too short for a GGUF file", 2),
                ((copy, folder / "absent" / "new.gguf", "Q4_0"), "absent", 4)]:
            done = run(exo, "quantize", *arguments)
            assert done.returncode == code and said in done.stderr, (arguments, done.returncode, done.stderr)
        assert out.read_text() == "something precious"
        assert sorted(p.name for p in folder.iterdir()) == ["copy.gguf", "link.gguf", "out.gguf"]
        quantize(exo, copy, out, "q4_0", "--force")
        assert out.read_bytes()[:4] == b"GGUF"


if __name__ == "__main__":
    main([every_type_of_exo_tiny, narrow_rows_become_q8_0_and_threads_do_not_matter, a_split_model_becomes_one_file,
          every_expert_is_written, what_cannot_be_done_is_refused])
