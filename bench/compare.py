#!/usr/bin/python3
"""exo beside llama.cpp, on the same files, in the same run: the table of docs/performance.md.

    make build && bench/compare.py                    # everything (an hour or two on two cores)
    bench/compare.py --list                           # the rows
    bench/compare.py --rounds 3 'pp 1B Q4_0*'         # some of them

Needs the measuring tools (synthetic models, the peer's driver, the probe of the machine's limits) under
EXO_SHARED (default ../shared), g++, and npm, which brings llama.cpp as the package node-llama-cpp; models,
package and results lie in build/compare.  Every row runs exo and llama.cpp in turn, round after round; a
figure is the median of the rounds, a ratio the median of the rounds' ratios.  Decode rows also
read the memory's speed in each round, since it changes with the neighbours.
"""
import argparse
import fnmatch
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = pathlib.Path(os.environ.get("EXO_SHARED", ROOT.parent / "shared"))
WORK = ROOT / "build" / "compare"
PACKAGE = "node-llama-cpp@3.22.1"
SHAPES = {"1B": "llama-3.2-1b", "8B": "llama-3.1-8b", "0.6B": "qwen3-0.6b"}
# Matrix work of a prompt token in 1e9 operations, without the output matrix (make_synthetic_gguf.py --list).
GOP_PER_TOKEN = {"1B": 1.946, "8B": 13.959, "0.6B": 0.881}


class Row:
    """One line of the table: what is measured, on what, how."""

    def __init__(self, what, size, kind, threads, goal, **options):
        self.what, self.size, self.kind, self.threads, self.goal = what, size, kind, threads, goal
        self.options = {"pp": 0, "tg": 0, "depth": 0, "batch": 1, "kv": "f16", **options}
        self.busy = self.options.pop("busy", False)
        self.field = self.options.pop("field", "pp_tps" if self.options["pp"] else "tg_tps")
        extra = [f"behind {self.options['depth']}"] if self.options["depth"] else []
        extra += [f"x{self.options['batch']}"] if self.options["batch"] > 1 else []
        extra += [f"kv {self.options['kv']}"] if self.options["kv"] != "f16" else []
        extra += ["one core busy"] if self.busy else []
        self.name = " ".join([what, size, kind.upper(), f"{threads}t", *extra])

    def model(self):
        return f"{self.size.lower()}-{self.kind}"

    def arguments(self):
        return [part for key, value in self.options.items() for part in (f"--{key}", str(value))]


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
    for kv in ("f16", "q8_0"):
        table.append(Row("tg", "1B", "q4_0", 2, 2.3, tg=16, depth=16384, kv=kv))
    table.append(Row("pp", "1B", "q4_0", 2, 2.5, pp=128, depth=16384))
    table.append(Row("tg", "1B", "q4_0", 2, 2.0, tg=32, busy=True))
    table.append(Row("pp", "1B", "q4_0", 2, 2.0, pp=256, busy=True))
    table.append(Row("load", "8B", "q4_0", 2, 2.0, pp=1, field="load_all_s"))
    return table


def run(command, **settings):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1800, **settings)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nexit {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


def model_file(row):
    path = WORK / "models" / f"{row.model()}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"  making {path.name}", file=sys.stderr)
        run(["/usr/bin/python3", SHARED / "tools/make_synthetic_gguf.py", "--shape", SHAPES[row.size], "--type",
             row.kind, "-o", path])
    return path


def peer_package():
    folder = WORK / "peer"
    if not (folder / "node_modules/node-llama-cpp").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        print("  installing llama.cpp from npm", file=sys.stderr)
        version = PACKAGE.rsplit("@", 1)[1]
        run(["npm", "install", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", PACKAGE,
             f"@node-llama-cpp/linux-x64@{version}"], cwd=folder)
    return folder


def probe(*arguments):
    """What the probe of the machine's limits prints."""
    binary = WORK / "hwprobe"
    if not binary.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        run(["g++", "-O3", "-march=native", "-std=c++17", "-pthread", SHARED / "tools/hwprobe.cpp", "-o", binary])
    return json.loads(run([binary, "--json", *arguments]))


def bandwidth(threads):
    figures = probe("--only", "quick", "--threads", str(threads), "--mib", "512", "--reps", "3")
    return next(f["median"] for f in figures if f["threads"] == threads)


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


def measure(row, exo, rounds, runs):
    model, package = model_file(row), peer_package()
    common = ["--model", model, "--threads", row.threads, "--runs", runs, *row.arguments()]
    commands = {"exo": [exo, "bench", "--json", *common],
                "peer": ["node", SHARED / "tools/peer_llama.mjs", "--pkg", package, *common]}
    seen = {"exo": [], "peer": []}
    memory = []
    for _ in range(rounds):
        if row.what == "tg":
            memory.append(bandwidth(row.threads))
        with BusyCore(row.busy):
            for who, command in commands.items():
                seen[who].append(json.loads(run(command).strip().splitlines()[-1]))
    value = {who: [answer[row.field] for answer in answers] for who, answers in seen.items()}
    pairs = [a / b for a, b in zip(value["exo"], value["peer"])]
    if row.field == "load_all_s":
        pairs = [1 / pair for pair in pairs]
    result = {"row": row.name, "goal": row.goal, "ratio": statistics.median(pairs), "ratios": pairs,
              "exo": statistics.median(value["exo"]), "peer": statistics.median(value["peer"]),
              "exo_peak_mib": max(a["peak_rss_mib"] for a in seen["exo"]),
              "peer_peak_mib": max(a["peak_rss_mib"] for a in seen["peer"]),
              "file_mib": model.stat().st_size / 2**20, "isa": seen["exo"][0]["isa"]}
    if row.what == "pp" and row.size in GOP_PER_TOKEN and not row.options["depth"]:
        result["gops"] = result["exo"] * GOP_PER_TOKEN[row.size]
    if memory:
        result["bandwidth"] = statistics.median(memory)
    return result


def line(result):
    extra = f"{result['gops']:.0f} GOP/s" if "gops" in result else ""
    extra = f"memory {result['bandwidth']:.1f} GB/s" if "bandwidth" in result else extra
    low, high = min(result["ratios"]), max(result["ratios"])
    return (f"| {result['row']} | {result['exo']:.4g} | {result['peer']:.4g} | {result['ratio']:.2f} ({low:.2f}-{high:.2f}) "
            f"| {result['goal']} | {result['exo_peak_mib']} / {result['peer_peak_mib']} of {result['file_mib']:.0f} | {extra} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=["*"], help="names or patterns")
    parser.add_argument("--exo", default=ROOT / "build/release/exo", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=2, help="repetitions within a round")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    wanted = [r for r in rows() if any(fnmatch.fnmatch(r.name, pattern) for pattern in options.rows)]
    if options.list:
        return print("\n".join(r.name for r in wanted))
    if not (SHARED / "tools/peer_llama.mjs").exists():
        sys.exit(f"the measuring tools are not under {SHARED}: set EXO_SHARED")
    if not options.exo.exists():
        sys.exit(f"there is no {options.exo}: run make build first")
    print(f"| what | exo | llama.cpp | ratio (lowest-highest of {options.rounds}) | goal | peak MiB exo / llama.cpp | beside |")
    print("|---|---|---|---|---|---|---|")
    results = []
    for row in wanted:
        start = time.monotonic()
        results.append(measure(row, options.exo, options.rounds, options.runs))
        print(line(results[-1]), flush=True)
        print(f"  {row.name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
        (WORK / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
