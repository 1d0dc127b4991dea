"""llama.cpp as npm's node-llama-cpp, and a Node that runs it; installed into build/peer when it is not there yet.

Debian 12 brings Node 18, which the package cannot use: npm has a newer one too.
"""
import functools
import json
import pathlib
import platform
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import lib  # noqa: E402

FOLDER = lib.ROOT / "build" / "peer"
VERSION = "3.22.1"
NODE_VERSION, OLDEST_NODE = "22.23.3", 20


def platform_name():
    """The package of llama.cpp's libraries for this machine, without its scope."""
    cpu = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}.get(platform.machine())
    if platform.system() != "Linux" or cpu is None:
        raise lib.Skip("no package of llama.cpp is known for this machine")
    return cpu


def install(wanted):
    """Installs packages, {name: version}, unless exactly these are there."""

    def installed(name):
        try:
            return json.loads((FOLDER / "node_modules" / name / "package.json").read_text())["version"] == wanted[name]
        except (OSError, ValueError, KeyError):
            return False

    if all(map(installed, wanted)):
        return
    if shutil.which("npm") is None:
        raise lib.Skip("npm is not installed")
    print(f"  installing {', '.join(wanted)} from npm", file=sys.stderr)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "package.json").write_text('{"private": true}\n')
    # Without the optional ones: they are the builds for GPUs.
    command = ["npm", "install", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund",
               *[f"{name}@{version}" for name, version in wanted.items()]]
    try:
        run = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        raise lib.Skip("npm install took more than ten minutes") from None
    if run.returncode != 0 or not all(map(installed, wanted)):
        raise lib.Skip(f"npm install failed: {run.stderr[-500:]}")


def system_node():
    """The installed Node if it is new enough, or None."""
    node = shutil.which("node")
    if node is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60).stdout
    major = version.removeprefix("v").split(".")[0]
    return node if major.isdigit() and int(major) >= OLDEST_NODE else None


@functools.cache
def package():
    """(folder, node): the folder that has node_modules/node-llama-cpp of the wanted version, and the program to run it."""
    wanted = {"node-llama-cpp": VERSION, f"@node-llama-cpp/{platform_name()}": VERSION}
    node = system_node()
    if node is None:
        wanted[f"node-{platform_name()}"] = NODE_VERSION
        node = FOLDER / "node_modules" / f"node-{platform_name()}" / "bin" / "node"
    install(wanted)
    return FOLDER, node


def libraries():
    folder, _ = package()
    return folder / "node_modules" / "@node-llama-cpp" / platform_name() / "bins" / platform_name()


def ggml_base():
    """llama.cpp's library of block formats."""
    return libraries() / "libggml-base.so"


def libllama():
    """llama.cpp's library of models and samplers; its name has a version."""
    found = sorted(libraries().glob("libllama.*so"))
    if not found:
        raise lib.Skip(f"no libllama in {libraries()}")
    return found[0]
