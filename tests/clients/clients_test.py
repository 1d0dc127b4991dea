#!/usr/bin/env python3
"""The official npm clients against a real node with exo-tiny: every route that they have and exo serves.

Each client is a script, NAME.mjs, that prints a line for every check. `make test-clients` runs them and those of
agents_test.py, which CI leaves out.
"""
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import lib  # noqa: E402
import npm  # noqa: E402


def run(exo, script, packages="package.json", folder=lib.ROOT / "build" / "clients"):
    """Runs a script with the packages that a file names, beside a node; `folder` keeps them."""
    node = npm.install(folder, json.loads((HERE / packages).read_text())["dependencies"])
    # Modules are looked for beside the script.
    for source in HERE.glob("*.mjs"):
        (folder / source.name).write_text(source.read_text())
    # Nothing is asked of the internet.
    with lib.cluster(exo, 1, environment={"EXO_REGISTRY": "https://localhost:9"}) as nodes:
        environment = {**os.environ, "EXO_URL": f"http://127.0.0.1:{nodes[0].state['api_port']}", "NO_PROXY": "*",
                       "EXO_PROGRAM": exo, "EXO_HOME": str(nodes[0].home)}
        result = subprocess.run([node, script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    print(result.stdout, end="", flush=True)
    if result.returncode != 0:
        raise AssertionError(f"{script}: {result.stderr[-3000:]}")


def test_openai(exo):
    run(exo, "openai.mjs")


def test_anthropic(exo):
    run(exo, "anthropic.mjs")


def test_ollama(exo):
    run(exo, "ollama.mjs")


def test_mcp(exo):
    run(exo, "mcp.mjs")


if __name__ == "__main__":
    lib.main([test_openai, test_anthropic, test_ollama, test_mcp])
