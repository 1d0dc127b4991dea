#!/usr/bin/python3
"""exo beside llama.cpp, on the same files, in the same run: the table of docs/performance.md.

    make build && bench/compare.py                    # everything (an hour or two on two cores)
    bench/compare.py --list                           # the rows
    bench/compare.py --rounds 3 'pp 1B Q4_0*'         # some of them

Needs the measuring tools (synthetic models, the peer's driver, the probe of the machine's limits) under
EXO_SHARED (default ../shared), g++, and npm, which brings llama.cpp as the package node-llama-cpp; models
and results lie in build/compare.  Every row runs exo and llama.cpp in turn, round after round; a
figure is the median of the rounds, a ratio the median of the rounds' ratios.  Each round also reads what the
machine can do at that moment, since it changes with the neighbors: decode rows the memory's speed, prompt rows
the peak of integer dot products (F16: of float multiply-adds).  Rows at a context depth also run without it: the
difference is attention's part.  The last rows compare exo with itself.
"""
import argparse
import fnmatch
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "tests" / "peer"), str(ROOT / "tests" / "e2e")]
import lib  # noqa: E402
import llama_package  # noqa: E402

SHARED = lib.SHARED
WORK = ROOT / "build" / "compare"
SHAPES = {"1B": "llama-3.2-1b", "8B": "llama-3.1-8b", "0.6B": "qwen3-0.6b"}
# Matrix work of a prompt token in 1e9 operations, without the output matrix (make_synthetic_gguf.py --list).
GOP_PER_TOKEN = {"1B": 1.946, "8B": 13.959, "0.6B": 0.881}
# Bytes of a file that decode does not read: an embedding that is not the output matrix too, at 4.5 bits.
UNREAD = {"8B": 128256 * 4096 * 4.5 / 8}


class Row:
    """One line of the table: what is measured, on what, how."""

    def __init__(self, what, size, kind, threads, goal, **options):
        self.what, self.size, self.kind, self.threads, self.goal = what, size, kind, threads, goal
        self.options = {"pp": 0, "tg": 0, "depth": 0, "batch": 1, "kv": "f16", **options}
        self.busy = self.options.pop("busy", False)
        self.prompt_goal = self.options.pop("prompt_goal", None)  # the same runs also give a row for the prompt
        self.field = self.options.pop("field", "pp_tps" if what == "pp" else "tg_tps")
        extra = [f"at depth {self.options['depth']}"] if self.options["depth"] else []
        extra += [f"x{self.options['batch']}"] if self.options["batch"] > 1 else []
        extra += [f"kv {self.options['kv']}"] if self.options["kv"] != "f16" else []
        extra += ["one core busy"] if self.busy else []
        self.name = " ".join([what, size, kind.upper(), f"{threads}t", *extra])

    def model(self):
        return f"{self.size.lower()}-{self.kind}"


def rows():
    table = []
    for threads in (1, 2):
        for kind in ("q4_0", "q8_0", "q4_k_m"):
            table.append(Row("pp", "1B", kind, threads, 2.0, pp=512))
        table.append(Row("pp", "1B", "f16", threads, 2.5, pp=512))
        for kind in ("q4_0", "q4_k_m"):
            table.append(Row("tg", "1B", kind, threads, 1.2 if threads == 1 else 1.0, tg=128))
        for kind in ("q8_0", "f16"):
            table.append(Row("tg", "1B", kind, threads, 1.5, tg=64))
        table.append(Row("tg", "0.6B", "q4_k_m", threads, 1.25, tg=128))
        for kind in ("q4_0", "q4_k_m"):
            table.append(Row("pp", "8B", kind, threads, 2.0, pp=128))
            table.append(Row("tg", "8B", kind, threads, 1.2 if threads == 1 else 1.0, tg=16))
    for batch in (8, 16):
        table.append(Row("tg", "1B", "q4_0", 2, 2.5, tg=32, batch=batch))
    # llama.cpp needs eight minutes to fill 16k positions, and half an hour for those of an eight-bit cache.
    table.append(Row("tg", "1B", "q4_0", 2, 2.3, tg=16, depth=16384, pp=128, prompt_goal=2.5))
    table.append(Row("tg", "1B", "q4_0", 2, 2.3, tg=16, depth=4096, kv="q8_0"))
    table.append(Row("tg", "1B", "q4_0", 2, 2.0, tg=32, busy=True))
    table.append(Row("pp", "1B", "q4_0", 2, 2.0, pp=256, busy=True))
    table.append(Row("load", "8B", "q4_0", 2, 2.0, pp=1, field="load_all_s"))
    return table


def run(command, **settings):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1800, **settings)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nexit {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


def model_file(row, layers=None):
    """The synthetic model of a row; with `layers` it has only so many."""
    path = WORK / "models" / f"{row.model()}{f'-{layers}' if layers else ''}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"  making {path.name}", file=sys.stderr)
        run(["/usr/bin/python3", SHARED / "tools/make_synthetic_gguf.py", "--shape", SHAPES[row.size], "--type",
             row.kind, "-o", path, *(["--layers", layers] if layers else [])])
    return path


@functools.cache
def prober():
    """The probe of the machine's limits, or None: it is written with AVX-512's instructions."""
    binary = WORK / "hwprobe"
    if not binary.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        built = subprocess.run(["g++", "-O3", "-march=native", "-std=c++17", "-pthread", SHARED / "tools/hwprobe.cpp", "-o", binary],
                               capture_output=True, timeout=600)
        if built.returncode != 0:
            print("  the machine's limits are not read: their probe does not compile for this processor", file=sys.stderr)
            return None
    return binary


def probe(*arguments):
    """What the probe of the machine's limits prints."""
    return json.loads(run([prober(), "--json", *arguments])) if prober() else None


def bandwidth(threads):
    """GB/s, or None."""
    figures = probe("--only", "quick", "--threads", str(threads), "--mib", "512", "--reps", "3")
    return figures and next(f["median"] for f in figures if f["threads"] == threads)


def compute_peak(kind, threads):
    """GOP/s of integer dot products, or GFLOP/s for F16: the fastest instruction that the machine has. Or None."""
    figures = probe("--only", "compute", "--threads", str(threads), "--reps", "3")
    unit = "GFLOP/s" if kind == "f16" else "GOP/s"
    return figures and max(f["median"] for f in figures
                           if f["threads"] == threads and f["unit"] == unit and "bf16" not in f["what"])


class BusyCore:
    """A process that computes on the last core, as another program of the user would."""

    def __init__(self, wanted):
        self.wanted, self.process = wanted, None

    def __enter__(self):
        if self.wanted:
            core = str((os.cpu_count() or 1) - 1)
            self.process = subprocess.Popen(["taskset", "-c", core, "sh", "-c", "while :; do :; done"])

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()


def commands(row, exo, runs, **changed):
    model, (package, node) = model_file(row), llama_package.package()
    options = {**row.options, **changed}
    common = ["--model", model, "--threads", row.threads, "--runs", runs,
              *(part for key, value in options.items() for part in (f"--{key}", str(value)))]
    return {"exo": [exo, "bench", "--json", *common],
            "peer": [node, SHARED / "tools/peer_llama.mjs", "--pkg", package, *common]}


def answer(command, **settings):
    return json.loads(run(command, **settings).strip().splitlines()[-1])


def measure(row, exo, rounds, runs):
    seen = {"exo": [], "peer": []}
    empty = {"exo": [], "peer": []}  # the same without a context
    limits = []
    for _ in range(rounds):
        if row.what == "tg":
            limits.append(bandwidth(row.threads))
        elif row.what == "pp":
            limits.append(compute_peak(row.kind, row.threads))
        with BusyCore(row.busy):
            for who, command in commands(row, exo, runs).items():
                seen[who].append(answer(command))
            if row.options["depth"]:
                for who, command in commands(row, exo, runs, depth=0).items():
                    empty[who].append(answer(command))
    return [compare(row, seen, empty, limits)] + prompt_row(row, seen)


def prompt_row(row, seen):
    if row.prompt_goal is None:
        return []
    options = {"pp": row.options["pp"], "depth": row.options["depth"]}
    return [compare(Row("pp", row.size, row.kind, row.threads, row.prompt_goal, **options), seen, {"exo": []}, [])]


def compare(row, seen, empty, limits):
    value = {who: [a[row.field] for a in answers] for who, answers in seen.items()}
    pairs = [a / b for a, b in zip(value["exo"], value["peer"])]
    if row.field == "load_all_s":
        pairs = [1 / pair for pair in pairs]
    result = {"row": row.name, "goal": row.goal, "ratio": statistics.median(pairs), "ratios": pairs,
              "exo": statistics.median(value["exo"]), "peer": statistics.median(value["peer"]),
              "exo_peak_mib": max(a["peak_rss_mib"] for a in seen["exo"]),
              "peer_peak_mib": max(a["peak_rss_mib"] for a in seen["peer"]),
              "file_mib": model_file(row).stat().st_size / 2**20, "isa": seen["exo"][0]["isa"]}
    if row.what == "pp" and not row.options["depth"] and None not in limits:
        rates = [tps * GOP_PER_TOKEN[row.size] for tps in value["exo"]]
        result["limit"] = "{:.0f} {}/s = {:.0f} % of {:.0f}".format(
            statistics.median(rates), "GFLOP" if row.kind == "f16" else "GOP",
            100 * statistics.median(r / l for r, l in zip(rates, limits)), statistics.median(limits))
    if row.what == "tg" and not row.options["depth"] and row.options["batch"] == 1 and None not in limits:
        read = (model_file(row).stat().st_size - UNREAD.get(row.size, 0)) / 1e9
        rates = [tps * read for tps in value["exo"]]
        result["limit"] = "{:.1f} GB/s = {:.0f} % of {:.1f}".format(
            statistics.median(rates), 100 * statistics.median(r / l for r, l in zip(rates, limits)),
            statistics.median(limits))
    if empty["exo"]:
        part = {who: [1e3 / deep[row.field] - 1e3 / flat[row.field] for deep, flat in zip(seen[who], empty[who])]
                for who in seen}
        result["limit"] = "attention {:.1f} of {:.1f} ms: {:.1f} x".format(
            statistics.median(part["exo"]), statistics.median(part["peer"]),
            statistics.median(peer / own for own, peer in zip(part["exo"], part["peer"])))
    return result


def line(result):
    low, high = min(result["ratios"]), max(result["ratios"])
    return (f"| {result['row']} | {result['exo']:.4g} | {result['peer']:.4g} | {result['ratio']:.2f} ({low:.2f}-{high:.2f}) "
            f"| {result['goal']} | {result['exo_peak_mib']} / {result['peer_peak_mib']} of {result['file_mib']:.0f} | {result.get('limit', '')} |")


def two_nodes(exo, rounds, runs):
    """One request over two nodes of one core each, beside one node: the ratio of decode speeds."""
    model = model_file(Row("tg", "1B", "q4_0", 1, 0.9))
    ratios = []
    for _ in range(rounds):
        speed = [answer([exo, "bench", "--json", "--model", model, "--nodes", nodes, "--threads", 1, "--pp", 8, "--tg", 64,
                         "--runs", runs])["tg_tps"] for nodes in (1, 2)]
        ratios.append(speed[1] / speed[0])
    return f"two nodes of one core, one request, decode 1B Q4_0: {statistics.median(ratios):.2f} of one node " \
           f"({min(ratios):.2f}-{max(ratios):.2f}; goal 0.9)"


def deep(exo, model, depth, kv):
    """Milliseconds of a token behind `depth` positions, and of a prompt's token there."""
    figures = answer([exo, "bench", "--json", "--model", model, "--threads", 2, "--runs", 1, "--pp", 128, "--tg", 32, "--depth", depth,
                      "--kv", kv])
    return 1e3 / figures["tg_tps"], 1e3 / figures["pp_tps"]


def eight_bit_cache(exo, rounds, _):
    """Attention at growing depth: whether it grows evenly, and what an eight-bit cache gains over f16.

    Filling 32,768 positions takes many minutes: attention is measured in 4 of the 16 layers and counted four times.
    """
    whole = deep(exo, model_file(Row("tg", "1B", "q4_0", 2, 1.0)), 0, "f16")
    part = model_file(Row("tg", "1B", "q4_0", 2, 1.0), layers=4)
    seen = {(kv, depth): [deep(exo, part, depth, kv) for _ in range(rounds)]
            for depth in (0, 8192, 16384, 32768) for kv in ("f16", "q8_0")}
    median = {what: tuple(map(statistics.median, zip(*figures))) for what, figures in seen.items()}
    alone = {(kv, depth): tuple(4 * (a - b) for a, b in zip(figures, median[kv, 0])) for (kv, depth), figures in median.items()}
    lines = [f"1B Q4_0 2t: a token {whole[0]:.1f} ms, of a prompt {whole[1]:.2f} ms"]
    for depth in (8192, 16384, 32768):
        for kv in ("f16", "q8_0"):
            token, prompt = alone[kv, depth]
            lines.append(f"attention to {depth} positions, {kv}: {token:.1f} ms of a token, {prompt:.2f} ms of a prompt's token")
        f16, q8_0 = alone["f16", depth][0], alone["q8_0", depth][0]
        lines.append(f"eight-bit cache at depth {depth}: decode {(whole[0] + f16) / (whole[0] + q8_0):.2f} of f16 (goal 1.25 at "
                     f"32768), attention alone {f16 / q8_0:.2f} (goal 1.7)")
    return "\n- ".join(lines)


def second_thread(exo, rounds, runs):
    """Decode of the smallest model with two threads against one: what a second thread costs or gains."""
    steps = {1: [], 2: []}
    for _ in range(rounds):
        for threads, seen in steps.items():
            seen.append(1e3 / answer([exo, "bench", "--json", "--model", ROOT / "models/exo-tiny.gguf", "--threads", threads, "--pp", 8,
                                      "--tg", 400, "--runs", runs])["tg_tps"])
    one, two = statistics.median(steps[1]), statistics.median(steps[2])
    return f"a token of exo-tiny: {one:.3f} ms with one thread, {two:.3f} ms with two"


def hop(exo, rounds, runs):
    """What a hop over loopback adds: half of what a second node adds to a step of the smallest model."""
    hops = []
    for _ in range(rounds):
        step = [1e3 / answer([exo, "bench", "--json", "--model", ROOT / "models/exo-tiny.gguf", "--nodes", nodes, "--threads", 1,
                              "--pp", 8, "--tg", 400, "--runs", runs])["tg_tps"] for nodes in (1, 2)]
        hops.append((step[1] - step[0]) / 2)
    return f"a hop: {statistics.median(hops):.3f} ms ({min(hops):.3f}-{max(hops):.3f}; goal 0.3)"


def prepared(exo, rounds, _):
    """The second start of a large model: seconds until its weights are there."""
    model = model_file(Row("load", "8B", "q4_0", 2, 0.5))
    home = {**os.environ, "EXO_HOME": str(WORK / "home")}
    run([exo, "prepare", model], env=home)
    seen = [answer([exo, "bench", "--json", "--model", model, "--threads", 2, "--runs", 1, "--pp", 1, "--tg", 0], env=home)
            for _ in range(rounds)]
    seconds = [a["load_all_s"] for a in seen]
    return f"start of 8B Q4_0 from a prepared file: {statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f}; goal 0.5)"


def prepared_decode(exo, rounds, runs):
    """Decode from a prepared file against packed memory: from its mapping, and after the copy in the background."""
    model = model_file(Row("tg", "1B", "q4_0", 1, 1))
    home = {**os.environ, "EXO_HOME": str(WORK / "home-1b")}
    run([exo, "prepare", model], env=home)
    # Enough tokens before those that count that the copy is complete: each run counts, the median is of late ones.
    command = [exo, "bench", "--json", "--model", model, "--threads", 1, "--runs", 5 * runs, "--pp", 0, "--tg", 32]
    ways = {"packed": {"EXO_HOME": str(WORK / "no-home")}, "mapped": {"EXO_COPY_PREPARED": "false"}, "copied": {}}
    seen = {way: [] for way in ways}
    for _ in range(rounds):
        for way, more in ways.items():
            figures = answer(command, env={**home, **more})["tg_runs"]
            seen[way].append(statistics.median(figures[len(figures) // 2:]))
    parts = []
    for way in ("mapped", "copied"):
        ratios = [a / b for a, b in zip(seen[way], seen["packed"])]
        parts.append(f"{way} {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    return f"decode 1B Q4_0 1t from a prepared file, of packed memory's speed: {', '.join(parts)}; goal 1"


OWN = {"own eight-bit cache": eight_bit_cache, "own two nodes": two_nodes, "own hop": hop, "own prepared": prepared,
       "own prepared decode": prepared_decode, "own second thread": second_thread}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=["*"], help="names or patterns")
    parser.add_argument("--exo", default=ROOT / "build/release/exo", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=2, help="repetitions within a round")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = lambda name: any(fnmatch.fnmatch(name, pattern) for pattern in options.rows)
    wanted = [r for r in rows() if chosen(r.name)]
    own = {name: how for name, how in OWN.items() if chosen(name)}
    if options.list:
        return print("\n".join([r.name for r in wanted] + list(own)))
    if not (SHARED / "tools/peer_llama.mjs").exists():
        sys.exit(f"the measuring tools are not under {SHARED}: set EXO_SHARED")
    if not options.exo.exists():
        sys.exit(f"there is no {options.exo}: run make build first")
    print(f"| what | exo | llama.cpp | ratio (lowest-highest of {options.rounds}) | goal | peak MiB exo / llama.cpp | beside |")
    print("|---|---|---|---|---|---|---|", flush=True)
    results = []
    for row in wanted:
        start = time.monotonic()
        for result in measure(row, options.exo, options.rounds, options.runs):
            results.append(result)
            print(line(result), flush=True)
        print(f"  {row.name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
        (WORK / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for how in own.values():
        print(f"\n{how(options.exo, options.rounds, options.runs)}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except lib.Skip as reason:
        sys.exit(str(reason))
