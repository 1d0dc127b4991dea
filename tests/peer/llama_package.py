"""llama.cpp as npm's node-llama-cpp, and a Node that runs it; installed into build/peer when it is not there yet.

Debian 12 brings Node 18, which the package cannot use: npm has a newer one too.
"""
import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import lib  # noqa: E402
import npm  # noqa: E402

FOLDER = lib.ROOT / "build" / "peer"
VERSION = "3.22.1"


def platform_name():
    """The package of llama.cpp's libraries for this machine, without its scope."""
    return npm.platform_name()


@functools.cache
def package():
    """(folder, node): the folder that has node_modules/node-llama-cpp of the wanted version, and the program to run it."""
    wanted = {"node-llama-cpp": VERSION, f"@node-llama-cpp/{platform_name()}": VERSION}
    return FOLDER, npm.install(FOLDER, wanted)


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
