"""Packages of npm for tests, and a Node new enough to run them; installed under build/ when not there yet.

Debian 12 brings Node 18, which they cannot use: npm has a newer one too.
"""
import json
import platform
import shutil
import subprocess
import sys

import lib

NODE_VERSION, OLDEST_NODE = "22.23.3", (20, 0)


def platform_name():
    cpu = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}.get(platform.machine())
    if platform.system() != "Linux" or cpu is None:
        raise lib.Skip("no packages of npm are known for this machine")
    return cpu


def system_node(oldest):
    """The installed Node if it is at least of version `oldest`, (major, minor); or None."""
    node = shutil.which("node")
    if node is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60).stdout
    numbers = version.strip().removeprefix("v").split(".")[:2]
    return node if all(map(str.isdigit, numbers)) and tuple(map(int, numbers)) >= oldest else None


def install(folder, wanted, oldest=OLDEST_NODE):
    """Installs packages, {name: version}, into `folder` unless exactly these are there; the Node that runs them."""
    wanted = dict(wanted)
    node = system_node(oldest)
    if node is None:
        wanted[f"node-{platform_name()}"] = NODE_VERSION
        node = folder / "node_modules" / f"node-{platform_name()}" / "bin" / "node"

    def installed(name):
        try:
            return json.loads((folder / "node_modules" / name / "package.json").read_text())["version"] == wanted[name]
        except (OSError, ValueError, KeyError):
            return False

    if all(map(installed, wanted)):
        return node
    if shutil.which("npm") is None:
        raise lib.Skip("npm is not installed")
    print(f"  installing {', '.join(wanted)} from npm", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    # Without the optional ones: they are the builds for GPUs.
    command = ["npm", "install", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund",
               *[f"{name}@{version}" for name, version in wanted.items()]]
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        raise lib.Skip("npm install took more than ten minutes") from None
    if run.returncode != 0 or not all(map(installed, wanted)):
        raise lib.Skip(f"npm install failed: {run.stderr[-500:]}")
    return node


if __name__ == "__main__":
    # For scripts: the path of a Node that is new enough. npm.py [FOLDER OLDEST PACKAGE@VERSION...] has FOLDER below
    # build/, made where it is not there, hold the packages, for which Node must be at least OLDEST: 22.19.
    name, oldest, *packages = sys.argv[1:] or ["node", "20.0"]
    folder = lib.ROOT / "build" / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        wanted = dict(package.rsplit("@", 1) for package in packages)
        print(install(folder, wanted, tuple(map(int, oldest.split(".")))))
    except lib.Skip as reason:
        sys.exit(str(reason))
