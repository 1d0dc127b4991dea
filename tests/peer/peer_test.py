#!/usr/bin/python3
"""exo beside llama.cpp on the same files: tokens, greedy text and perplexity; the block formats and the quantizer.

    /usr/bin/python3 tests/peer/peer_test.py --exo build/release/exo [test ...]

llama.cpp comes as npm's node-llama-cpp; it is installed into build/peer when it is not there yet.  Both
sides get the same token ids, temperature 0 and a KV cache of f16.  Greedy text must be the same up to the
first step at which llama.cpp's best and second logit are less than 0.1 apart: from there on rounding may
choose.  Perplexities must agree within 0.5 %.

Architectures without a trained model at hand are compared on synthetic files (synthetic.py), also logit by logit.
"""
import array
import base64
import json
import math
import pathlib
import subprocess
import sys
import tempfile

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ("e2e", "support")]
import lib  # noqa: E402
import make_adapter  # noqa: E402
import pretokenizers  # noqa: E402
import requantize  # noqa: E402
import synthetic  # noqa: E402
from llama_package import ggml_base, libllama, package  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
STEPS = 48
MARGIN = 0.1
PERPLEXITY = 0.005
LONGEST = 499  # tokens of a scored text

PROMPTS = [
    "Once upon a time",
    "Once upon a time, there was a little girl named Lily.",
    "Tom had a red ball. He",
    "The old man looked at the sea and",
    "One day, a small bird",
    "\"Why are you sad?\" asked the cat.",
    "The sun was hot, so the children",
    "Mia found a key under the tree. She wanted to",
    "There was a boat in the river.",
    "It was dark in the forest, and the fox",
    "Grandma made a cake for",
    "The dog ran and ran until",
    "In a village far away lived a boy who",
    "\"Can I come with you?\" said Ben.",
    "At night the moon",
    "The teacher showed the class a big map.",
    "A frog sat on a stone. It saw",
    "Sara and her brother played in the snow.",
    "The box was too heavy, but",
    "They all laughed and",
]

# Written for this test: no model has seen them.
TEXTS = [
    "A hen named Dot lived behind the bakery. Every morning she walked to the door and waited for crumbs. One "
    "day the door stayed shut. Dot was worried. She looked through the window and saw the baker asleep on a sack "
    "of flour. Dot made a loud noise. The baker woke up and laughed. \"Thank you, Dot,\" he said. \"Without you "
    "there would be no bread today.\" He gave her a whole roll, and she shared it with the ducks at the pond.",
    "The boys wanted to build a bridge over the stream. Sam brought wood and Leo brought rope. They worked all "
    "day, but the bridge fell into the water. Leo was angry and kicked a stone. \"Let us ask my aunt,\" said Sam. "
    "His aunt showed them how to put two long trees side by side. Now the bridge was strong. The boys ran over it "
    "and back again. They were tired and very happy.",
    "It rained for three days. Ana sat at the window and counted the drops. Then she saw a snail on the glass. "
    "It was slow, but it did not stop. Ana gave the snail a name and told it a story about the sun. On the fourth "
    "day the sun came out. Ana opened the window and put the snail on a green leaf. \"Go and find your friends,\" "
    "she said.",
    "Two mice lived in an old clock. The big mouse liked the sound it made. The little mouse could not sleep. "
    "\"We must move,\" said the little mouse. They looked at a shoe, but it smelled bad. They looked at a box, but "
    "it was wet. In the end they found a warm drawer full of socks. The big mouse missed the clock, so the little "
    "mouse learned to sing tick and tock before bed.",
]


def run_json(command, given=""):
    run = subprocess.run([str(c) for c in command], input=given, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, f"{command[:3]}: exit {run.returncode}: {run.stderr[-1500:]}"
    return json.loads(run.stdout)


def llama(model, lora=(), **request):
    folder, node = package()
    request["lora"] = [{"file": str(path), "scale": scale} for path, scale in lora]
    return run_json([node, HERE / "llama.mjs", "--pkg", folder, "--model", model], json.dumps(request))


def exo_rows(exo, model, text, kv, lora=()):
    """The ids of a text as exo scores it, BOS included, the size of the vocabulary and all logits in a row."""
    adapters = [f for path, scale in lora for f in ("--lora", f"{path}:{scale}")]
    with tempfile.TemporaryDirectory(prefix="exo-peer-") as folder:
        out = pathlib.Path(folder) / "logits.f32"
        answer = run_json([exo, "logits", "--model", model, "--prompt", text, "--threads", 1, "--kv", kv, "--raw",
                           "--out", out, "--json", *adapters])
        values = array.array("f", out.read_bytes())
    ids, vocab = answer["ids"], answer["vocab"]
    assert len(values) == len(ids) * vocab, f"{len(values)} logits for {len(ids)} positions"
    return ids, vocab, values


def exo_logits(exo, model, text):
    """The ids of a text as exo scores it and its negative log-likelihood."""
    ids, vocab, values = exo_rows(exo, model, text, "f16")
    nll = 0.0
    for t in range(len(ids) - 1):
        row = values[t * vocab:(t + 1) * vocab]
        best = max(row)
        nll += best + math.log(math.fsum(math.exp(v - best) for v in row)) - row[ids[t + 1]]
    return ids, nll


def cut(exo, model, text):
    """The text without the words that take it past the longest length."""
    while True:
        count = run_json([exo, "tokenize", "--model", model, "--json"], text)["count"]
        if count < LONGEST:
            return text
        words = text.split(" ")
        text = " ".join(words[:min(len(words) - 1, len(words) * (LONGEST - 1) // count)])


def check_greedy(exo, model, enough=MARGIN, lora=()):
    ids = [run_json([exo, "tokenize", "--model", model, "--json"], p)["ids"] for p in PROMPTS]
    bare = llama(model, texts=PROMPTS)
    for prompt, ours, theirs in zip(PROMPTS, ids, bare["texts"]):
        assert ours == theirs, f"{prompt!r}: exo's tokens {ours}, llama.cpp's {theirs}"
    if bare["bos"] is not None:
        ids = [[bare["bos"], *i] for i in ids]
    peer = llama(model, lora, greedy=ids, steps=STEPS)["greedy"]
    with lib.cluster(exo, 1, environment={"EXO_MODELS": str(pathlib.Path(model).parent)}) as (node,):
        name = pathlib.Path(model).stem
        if lora:
            status, loaded = node.api.post("/v1/internal/load", {
                "model": name, "adapters": [{"file": str(path), "scale": scale} for path, scale in lora]})
            assert status == 200, loaded
        own = [node.api.complete(name, i, max_tokens=STEPS)["exo"]["token_ids"] for i in ids]
    compared, whole, problems = [], 0, []
    for prompt, ours, theirs in zip(PROMPTS, own, peer):
        steps = 0
        for step, (token, margin, end) in enumerate(zip(theirs["ids"], theirs["margins"], theirs["ends"])):
            if margin < enough:
                break
            # exo stops before or with an end token.
            if end and len(ours) <= step + 1 and (len(ours) == step or ours[step] == token):
                whole += 1
                break
            if step >= len(ours) or ours[step] != token:
                got = ours[step] if step < len(ours) else "the end"
                problems.append(f"{prompt!r}, step {step}: llama.cpp {token}, margin {margin:.3f}; exo {got}")
                break
            steps += 1
        else:
            whole += 1
        compared.append(steps)
    full = sum(ours[:STEPS] == theirs["ids"][:len(ours)] for ours, theirs in zip(own, peer))
    print(f"  {name}: {sum(compared)} tokens of {len(PROMPTS)} prompts compared ({min(compared)} to {max(compared)}), "
          f"{whole} prompts to their end; the whole text is the same for {full}")
    assert not problems, "\n".join(problems)
    return sum(compared)


def check_perplexity(exo, model, texts, tolerance=PERPLEXITY):
    texts = [cut(exo, model, t) for t in texts]
    scored = [exo_logits(exo, model, t) for t in texts]
    peer = llama(model, score=[ids for ids, _ in scored])
    tokens = sum(len(ids) - 1 for ids, _ in scored)
    assert tokens == sum(s["tokens"] for s in peer["score"])
    ours = math.exp(sum(nll for _, nll in scored) / tokens)
    theirs = math.exp(sum(s["nll"] for s in peer["score"]) / tokens)
    worst = max(abs(math.exp((nll - s["nll"]) / s["tokens"]) - 1) for (_, nll), s in zip(scored, peer["score"]))
    print(f"  {pathlib.Path(model).stem}: perplexity over {tokens} tokens: exo {ours:.4f}, llama.cpp {theirs:.4f} "
          f"({100 * (ours / theirs - 1):+.3f} %; of one text at most {100 * worst:.3f} %)")
    assert abs(ours / theirs - 1) <= tolerance, f"perplexity {ours:.4f}, llama.cpp's {theirs:.4f}"


def check_logits(exo, model, texts, tolerance, lora=()):
    """Nine of ten positions must have logits whose differences, root mean square, are this small a part of the
    spread of llama.cpp's; and those positions the same best token, unless two are nearly equal."""
    scored = [exo_rows(exo, model, cut(exo, model, t), "f32", lora) for t in texts]
    peer = llama(model, lora, logits=[ids for ids, _, _ in scored], kv="f32")["logits"]
    parts, clear, wrong = [], 0, 0
    for (ids, vocab, all_ours), all_theirs in zip(scored, peer):
        all_theirs = array.array("f", base64.b64decode(all_theirs))
        assert len(all_ours) == len(all_theirs)
        for at in range(0, len(all_theirs), vocab):
            ours, theirs = all_ours[at:at + vocab], all_theirs[at:at + vocab]
            mean = math.fsum(theirs) / vocab
            spread = math.sqrt(math.fsum((v - mean) ** 2 for v in theirs) / vocab)
            parts.append(math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(ours, theirs)) / vocab) / spread)
            second, best = sorted(theirs)[-2:]
            if best - second >= 4 * tolerance * spread:
                clear += 1
                wrong += theirs.index(best) != ours.index(max(ours))
    parts.sort()
    quantile = parts[len(parts) * 9 // 10]
    print(f"  {pathlib.Path(model).stem}: logits of {len(parts)} positions: differences {parts[len(parts) // 2]:.1e} of "
          f"their spread (median), {quantile:.1e} (nine of ten), {parts[-1]:.1e} (all); {clear - wrong} best tokens of "
          f"{clear} clear ones")
    assert quantile <= tolerance, f"differences of {quantile:.1e} of the spread (at most {tolerance:.0e})"
    assert wrong <= clear // 10, f"{wrong} of {clear} best tokens differ"


def check_synthetic(exo, architecture, kinds, tolerance, margin=MARGIN):
    package()
    with tempfile.TemporaryDirectory(prefix="exo-peer-") as folder:
        path = pathlib.Path(folder) / f"{architecture}-{'-'.join(dict.fromkeys(kinds.values()))}.gguf"
        synthetic.write(path, architecture, kinds)
        check_logits(exo, path, TEXTS, tolerance)
        if margin is not None:
            check_greedy(exo, path, margin)


def stories():
    """Four stories that stories260K was not made from, where they are at hand."""
    path = lib.SHARED / "data" / "models" / "stories260K" / "reference" / "nll_text.txt"
    if not path.exists():
        return []
    return [s.strip() for s in path.read_text().split("<|endoftext|>") if s.strip()][:4]


def formats(exo):
    """Every block format dequantized by both, and the quantizers: built with the tests, beside exo."""
    tool = pathlib.Path(exo).resolve().parent / "tests" / "ggml_blocks"
    if not tool.exists():
        raise lib.Skip(f"{tool} is absent: build the target ggml_blocks")
    run = subprocess.run([tool, ggml_base(), lib.TINY], capture_output=True, text=True, timeout=600)
    print("".join(f"  {line}\n" for line in run.stdout.splitlines()), end="")
    assert run.returncode == 0, run.stderr


def samplers(exo):
    """Every step of the sampler, their orders and Mirostat 2 on the same logits, through llama.cpp's library."""
    tool = pathlib.Path(exo).resolve().parent / "tests" / "llama_samplers"
    if not tool.exists():
        raise lib.Skip(f"{tool} is absent: build the target llama_samplers")
    run = subprocess.run([tool, libllama()], capture_output=True, text=True, timeout=600)
    print("".join(f"  {line}\n" for line in run.stdout.splitlines()), end="")
    assert run.returncode == 0, run.stderr


def pretokenizer_words(exo):
    """The hashes that the program's own test compares its words with are still those of llama.cpp."""
    package()
    golden = json.loads(pretokenizers.GOLDEN.read_text())
    found = pretokenizers.ask()
    differing = [n for part in ("names", "bert") for n in found[part] if found[part][n] != golden[part].get(n)]
    assert found == golden, differing or "other texts"
    print(f"  {len(found['names'])} names of rules, BERT's words by {len(found['bert'])} sets of options")


def tiny_greedy(exo):
    package()
    # Twenty prompts of a trained model: far more than this many tokens have a clear margin.
    compared = check_greedy(exo, lib.TINY)
    assert compared >= 200, f"only {compared} tokens could be compared"


def tiny_perplexity(exo):
    package()
    check_perplexity(exo, lib.TINY, TEXTS + stories())


def stories_f16(exo):
    package()
    model = lib.need_shared("data", "models", "stories260K", "gguf", "stories260K-f16.gguf")
    check_greedy(exo, model)
    check_perplexity(exo, model, TEXTS + stories())


def stories_q8_0(exo):
    package()
    model = lib.need_shared("data", "models", "stories260K", "gguf", "stories260K-q8_0.gguf")
    check_greedy(exo, model)
    check_perplexity(exo, model, TEXTS + stories())


QUANTIZED = {"": "q8_0", "ffn_": "q4_0", "token_embd": "f16"}

# Parts of the spread of logits, with an f32 cache. F32 weights: the order of sums; in gemma3 also llama.cpp's table
# of f16 for GELU. F16: llama.cpp narrows activations. Quantized: it rounds their scales to f16. With experts
# such a difference sends a token elsewhere where two experts are nearly equal, in 1 of 100 choices or so, and
# there are more than 20 before a logit: so their texts are not compared where the cache is f16 and a margin thin.
EXACT, EXACT_ROUTED, GELU, HALF, COARSE, ROUTED = 2e-5, 5e-5, 1e-3, 5e-2, 5e-2, 2e-1
ROUTED_MARGIN = 0.3


def llama_biases(exo):
    check_synthetic(exo, "llama", {"": "f32"}, EXACT)


def qwen2moe(exo):
    check_synthetic(exo, "qwen2moe", {"": "f32"}, EXACT_ROUTED, ROUTED_MARGIN)
    check_synthetic(exo, "qwen2moe", QUANTIZED, ROUTED, None)


def qwen3moe(exo):
    check_synthetic(exo, "qwen3moe", {"": "f32"}, EXACT, ROUTED_MARGIN)
    check_synthetic(exo, "qwen3moe", {"": "f16"}, HALF, None)
    check_synthetic(exo, "qwen3moe", QUANTIZED, ROUTED, None)


def gemma3(exo):
    # TEXTS are longer than the window of synthetic.py.
    check_synthetic(exo, "gemma3", {"": "f32"}, GELU)
    check_synthetic(exo, "gemma3", QUANTIZED, COARSE)


def embeddings(exo):
    """Vectors of the last token and the mean of all, both scaled to length one."""
    package()
    mean, last = 1, 3  # llama.cpp's numbers
    for pooling in (None, mean, last):
        more = [] if pooling is None else [("pooling_type", synthetic.U32, pooling)]
        with tempfile.TemporaryDirectory(prefix="exo-peer-") as folder:
            path = pathlib.Path(folder) / f"qwen3moe-pooling-{pooling}.gguf"
            synthetic.write(path, "qwen3moe", {"": "f32"}, more=more)
            with lib.cluster(exo, 1, environment={"EXO_MODELS": folder, "EXO_KV": "f32"}) as (node,):
                status, answer = node.api.post("/v1/embeddings", {"model": path.stem, "input": TEXTS})
                assert status == 200, answer
                ids = []
                for text in TEXTS:
                    status, tokens = node.api.post("/tokenize", {"model": path.stem, "content": text, "add_special": True})
                    assert status == 200, tokens
                    ids.append(tokens["tokens"])
            peer = llama(path, embed=ids, kv="f32")["embed"]
            worst = 0.0
            for ours, theirs in zip([one["embedding"] for one in answer["data"]], peer):
                length = math.sqrt(math.fsum(value * value for value in theirs))
                worst = max(worst, math.sqrt(math.fsum((a - b / length) ** 2 for a, b in zip(ours, theirs))))
            print(f"  {path.stem}: {len(peer)} vectors of {len(peer[0])} values, the longest difference {worst:.1e} of their length")
            assert worst <= EXACT


def adapters(exo):
    """Low-rank adapters, alone and two at once."""
    package()
    models = [(lib.TINY, COARSE)]
    f32 = lib.SHARED / "data" / "models" / "stories260K" / "gguf" / "stories260K-f32.gguf"
    if f32.exists():
        models.append((f32, EXACT))
    for model, tolerance in models:
        with tempfile.TemporaryDirectory(prefix="exo-peer-") as folder:
            one, two = pathlib.Path(folder) / "one.gguf", pathlib.Path(folder) / "two.gguf"
            make_adapter.make_adapter(str(model), str(one), rank=8, alpha=16, kind="f32", seed=1, effect=0.3)
            make_adapter.make_adapter(str(model), str(two), rank=16, alpha=0, kind="f32", seed=2, effect=0.2)
            for lora in ([(one, 1.0)], [(one, 0.5), (two, -0.75)]):
                check_logits(exo, model, TEXTS[:2], tolerance, lora)
            check_greedy(exo, model, 0.5 if model == lib.TINY else MARGIN, lora)


def quantized(exo):
    """llama.cpp loads what exo quantize writes and finds the same perplexity in it."""
    package()
    with tempfile.TemporaryDirectory(prefix="exo-peer-") as folder:
        for kind in ("Q4_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K"):
            out = pathlib.Path(folder) / f"exo-tiny-{kind}.gguf"
            run_json([exo, "quantize", lib.TINY, out, kind, "--json"])
            check_perplexity(exo, out, TEXTS)


def other_formats(exo):
    """The formats that exo reads but does not write: the same perplexity in files of llama.cpp's quantizers."""
    with tempfile.TemporaryDirectory(prefix="exo-peer-") as folder:
        for kind in requantize.FORMATS:
            out = pathlib.Path(folder) / f"exo-tiny-{kind}.gguf"
            requantize.write(ggml_base(), lib.TINY, out, kind)
            check_perplexity(exo, out, TEXTS, requantize.TOLERANCES.get(kind, PERPLEXITY))


if __name__ == "__main__":
    lib.main([formats, samplers, pretokenizer_words, quantized, other_formats, tiny_greedy, tiny_perplexity, stories_f16,
              stories_q8_0, llama_biases, qwen2moe, qwen3moe, gemma3, embeddings, adapters])
