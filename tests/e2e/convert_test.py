"""Folders of safetensors as models: the bits of the GGUF file with the same weights, run directly and converted."""
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np

import lib
from lib import ROOT, TINY, main, need_shared

sys.path += [str(ROOT / "tests" / "peer"), str(ROOT / "tests" / "support")]
import export_checkpoint  # noqa: E402
import make_adapter  # noqa: E402
import requantize  # noqa: E402
import synthetic  # noqa: E402

PROMPT = "Once upon a time, there was a little girl"


def run(exo, *arguments):
    return subprocess.run([str(exo), *map(str, arguments)], capture_output=True, text=True, timeout=300)


def logits(exo, model):
    with tempfile.TemporaryDirectory(prefix="exo-convert-") as folder:
        out = pathlib.Path(folder) / "logits.f32"
        done = run(exo, "logits", "--model", model, "--prompt", PROMPT, "--out", out, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["ids"], out.read_bytes()


def assert_same(exo, folder, file):
    ours, theirs = logits(exo, folder), logits(exo, file)
    assert ours[0] == theirs[0], f"{folder}: the ids {ours[0]}, of {file} {theirs[0]}"
    assert ours[1] == theirs[1], f"{folder}: other logits than {file}"


def published_folders_have_the_bits_of_their_files(exo):
    """Of stories260K there are folders that Hugging Face's library wrote."""
    root = need_shared("data", "models", "stories260K")
    assert_same(exo, root / "hf-f32", root / "gguf" / "stories260K-f32.gguf")
    with tempfile.TemporaryDirectory(prefix="exo-convert-") as place:
        out = pathlib.Path(place) / "bf16.gguf"
        done = run(exo, "convert", root / "hf-bf16-sharded", out)
        assert done.returncode == 0, done.stderr
        assert_same(exo, root / "hf-bf16-sharded", out)
        # In that GGUF file norms kept all bits, in the folder they are BF16 as well.
        ours, theirs = (export_checkpoint.reference.Gguf(str(f)) for f in (out, root / "gguf" / "stories260K-bf16.gguf"))
        assert ours.where.keys() == theirs.where.keys()
        for name, (_, _, shape, kind) in ours.where.items():
            assert (shape, kind) == theirs.where[name][2:], name
            bits = theirs.tensor(name).astype("<f4").view("<u4")
            rounded = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000
            assert (ours.tensor(name).astype("<f4").view("<u4") == rounded).all(), name


def convert_writes_every_type(exo):
    root = need_shared("data", "models", "stories260K")
    with tempfile.TemporaryDirectory(prefix="exo-convert-") as place:
        place = pathlib.Path(place)
        done = run(exo, "convert", root / "hf-f32", place / "plain.gguf", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["tensors"] == {"F32": 47}, done.stdout
        assert_same(exo, place / "plain.gguf", root / "gguf" / "stories260K-f32.gguf")
        for kind in ("F16", "BF16", "Q8_0", "Q4_0", "F32"):
            done = run(exo, "convert", root / "hf-f32", place / f"{kind}.gguf", "--type", kind)
            assert done.returncode == 0, done.stderr
            done = run(exo, "convert", root / "gguf" / "stories260K-f32.gguf", place / f"file-{kind}.gguf", "--type", kind)
            assert done.returncode == 0, done.stderr
            assert_same(exo, place / f"{kind}.gguf", place / f"file-{kind}.gguf")
        folder = place / "folder"
        shutil.copytree(root / "hf-f32", folder)
        for name in ("model.safetensors", "config.json"):
            before = (folder / name).read_bytes()
            refused = run(exo, "convert", folder, folder / name, "--force")
            assert refused.returncode == 2 and name in refused.stderr, refused.stderr
            assert (folder / name).read_bytes() == before, name
        refused = run(exo, "convert", root / "hf-f32", place / "plain.gguf")
        assert refused.returncode == 2 and "exists" in refused.stderr, refused.stderr


def every_architecture_reads_its_folder(exo):
    with tempfile.TemporaryDirectory(prefix="exo-convert-") as place:
        for architecture in ("llama", "qwen2moe", "qwen3moe", "gemma3"):
            file, folder = pathlib.Path(place) / f"{architecture}.gguf", pathlib.Path(place) / architecture
            synthetic.write(file, architecture, {"": "f32"})
            export_checkpoint.folder(file, folder, shards=2)
            assert_same(exo, folder, file)


def mlx_codes_mean_what_gguf_says(exo):
    """4 bits are Q4_1 blocks, exactly; 8 bits, and 4 with scales that F16 does not hold, are F32."""
    stories = need_shared("data", "models", "stories260K", "gguf", "stories260K-f32.gguf")
    with tempfile.TemporaryDirectory(prefix="exo-convert-") as place:
        place = pathlib.Path(place)
        mixture = place / "mixture.gguf"
        synthetic.write(mixture, "qwen3moe", {"": "f32"})
        for name, source, options in (
                ("four", stories, {"bits": 4, "group": 64}), ("eight", stories, {"bits": 8, "group": 32}),
                ("wide", stories, {"bits": 4, "group": 32, "dtype": np.float32}),
                ("experts", mixture, {"bits": 4, "group": 64})):
            meanings = export_checkpoint.folder(source, place / name, **options)
            assert len(meanings) > 20, len(meanings)
            write_meant(source, place / f"{name}.gguf", meanings)
            assert_same(exo, place / name, place / f"{name}.gguf")


def write_meant(source, out, meanings):
    """The source with what the codes mean in place of its matrices."""
    gguf = export_checkpoint.reference.Gguf(str(source))
    fields, count = requantize.metadata(source)
    infos, body = b"", b""
    for name, (_, _, shape, _) in gguf.where.items():
        kind, raw = meanings.get(name) or (0, gguf.tensor(name).astype("<f4").tobytes())
        infos += make_adapter.string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, len(body))
        body += raw + bytes(-len(raw) % 32)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(gguf.where), count) + fields + infos
    out.write_bytes(head + bytes(-len(head) % 32) + body)


def a_node_serves_a_folder(exo):
    """Found in a models folder by its name, like a file."""
    source = need_shared("data", "models", "stories260K", "hf-f32")
    with tempfile.TemporaryDirectory(prefix="exo-convert-") as place:
        folder = pathlib.Path(place) / "stories"
        folder.mkdir()
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        with lib.cluster(exo, 1, environment={"EXO_MODELS": place}) as (node,):
            answer = node.api.complete("stories", PROMPT, max_tokens=16)
            assert len(answer["exo"]["token_ids"]) == 16, answer
            assert "little girl named" in PROMPT + answer["choices"][0]["text"], answer


def damaged_folders_are_refused_by_name(exo):
    with tempfile.TemporaryDirectory(prefix="exo-convert-") as place:
        place = pathlib.Path(place)
        source = place / "source.gguf"
        synthetic.write(source, "llama", {"": "f32"})

        def refused(name, damage, *said):
            folder = place / name
            export_checkpoint.folder(source, folder)
            damage(folder)
            done = run(exo, "logits", "--model", folder, "--prompt", "x", "--out", place / "x.f32")
            assert done.returncode in (1, 2, 4) and all(text in done.stderr for text in said), (name, done.stderr)
            assert len(done.stderr) < 2000, name
            done = run(exo, "convert", folder, place / "x.gguf")
            assert done.returncode in (1, 2, 4) and all(text in done.stderr for text in said), (name, done.stderr)
            assert not (place / "x.gguf").exists(), name

        def head(change):
            def damage(folder):
                path = folder / "model.safetensors"
                data = path.read_bytes()
                size, = struct.unpack_from("<Q", data)
                text = json.loads(data[8:8 + size])
                change(text)
                text = json.dumps(text).encode()
                path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size:])
            return damage

        def document(name, change):
            def damage(folder):
                text = json.loads((folder / name).read_text())
                change(text)
                (folder / name).write_text(json.dumps(text))
            return damage

        norm = "model.norm.weight"
        refused("long-head", lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 7 + b"\0" + b"{}" * 99), "claims")
        refused("cut", lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-4000]),
                "beyond", "cut off")
        refused("shape", head(lambda t: t[norm].update(shape=[255])), norm, "255")
        refused("huge", head(lambda t: t[norm].update(shape=[1 << 40, 1 << 40])), norm)
        refused("overlap", head(lambda t: t[norm].update(data_offsets=[0, 1024])), norm, "overlap")
        refused("offsets", head(lambda t: t[norm].update(data_offsets=[-4, 4])), norm)
        refused("type", head(lambda t: t[norm].update(dtype="F8_E4M3", shape=[1024])), norm, "F8_E4M3")
        refused("missing", head(lambda t: t.pop(norm)), "output_norm.weight")
        refused("unknown", head(lambda t: t.update({"model.layers.0.surprise": t.pop(norm)})), "surprise")
        refused("no-tokenizer", lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json")
        refused("architecture", document("config.json", lambda c: c.update(model_type="mamba")), "mamba", "qwen3")
        refused("scaling", document("config.json", lambda c: c.update(rope_scaling={"rope_type": "yarn"})), "yarn")
        refused("gptq", document("config.json", lambda c: c.update(quantization_config={"quant_method": "gptq"})), "gptq")
        refused("no-json", lambda f: (f / "config.json").write_text("{\"model_type\": "), "config.json")
        refused("deep", lambda f: (f / "config.json").write_text("{\"a\":" + "[" * 200000), "config.json")
        refused("words", document("tokenizer.json", lambda t: t.update(pre_tokenizer={"type": "Whitespace"})), "Whitespace")
        refused("kind", document("tokenizer.json", lambda t: t["model"].update(type="WordLevel")), "WordLevel")
        refused("ids", document("tokenizer.json", lambda t: t["model"]["vocab"].update({"x!": 1 << 40})), "x!")
        refused("index", lambda f: (f / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "../other.safetensors"}})), "../other.safetensors")
        refused("shard", lambda f: (f / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}})), "model-00002-of-00002")
        done = run(exo, "logits", "--model", TINY.parent, "--prompt", "x", "--out", place / "x.f32")
        assert done.returncode == 2 and "config.json" in done.stderr, done.stderr


if __name__ == "__main__":
    main([published_folders_have_the_bits_of_their_files, convert_writes_every_type, every_architecture_reads_its_folder,
          mlx_codes_mean_what_gguf_says, a_node_serves_a_folder, damaged_folders_are_refused_by_name])
