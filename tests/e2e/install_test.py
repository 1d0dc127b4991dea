"""What is installed and how it runs as a service: files, units, the filter of system calls, `exo service`."""
import gzip
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from lib import PATIENCE, ROOT, Node, Skip, main

SERVICE_USER = 65534
MAX_EXPOSURE = 2.5
PROTOCOL = re.search(r"kProtocolVersion = (\d+)", (ROOT / "src/wire/messages.h").read_text())[1]

# A stand-in for systemctl: it remembers what it was asked, and what state that led to.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$0.calls"
state=$(cat "$0.state" 2>/dev/null || echo inactive)
case "$*" in
  *Version*) [ ! -e "$0.broken" ] || { echo "Failed to connect to bus: No medium found" >&2; exit 1; }
             echo Version=252;;
  *LoadState*) unit="$XDG_CONFIG_HOME/systemd/user/exo.service"
    if [ "$1" = --user ] && [ -e "$unit" ]; then
      printf 'LoadState=loaded\\nActiveState=%s\\nSubState=running\\nUnitFileState=enabled\\n' "$state"
      printf 'FragmentPath=%s\\nMainPID=42\\n' "$unit"
    else printf 'LoadState=not-found\\nActiveState=inactive\\nMainPID=0\\n'; fi;;
  *restart*) [ ! -e "$0.fails" ] || { echo "Job for exo.service failed." >&2; exit 1; }
             echo active > "$0.state";;
  *disable*) echo inactive > "$0.state";;
esac
"""


def run(command, **settings):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=2 * PATIENCE,
                          **{"stdin": subprocess.DEVNULL, **settings})


def unit_text(exo, *options):
    printed = run([exo, "service", "install", "--print", "--program", "/usr/bin/env", *options])
    assert printed.returncode == 0, printed.stderr
    return printed.stdout


class Home:
    """A folder of a user with a stand-in for systemctl in PATH."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.systemctl = self.folder / "bin" / "systemctl"
        self.systemctl.parent.mkdir()
        self.systemctl.write_text(SYSTEMCTL)
        self.systemctl.chmod(0o755)
        self.unit = self.folder / "config" / "systemd" / "user" / "exo.service"
        self.environment = {**os.environ, "HOME": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}",
                            "XDG_CONFIG_HOME": f"{folder}/config", "EXO_HOME": f"{folder}/data"}

    def exo(self, exo, *arguments):
        return run([exo, "service", *arguments], env=self.environment)

    def mark(self, what):
        pathlib.Path(f"{self.systemctl}.{what}").touch()

    def calls(self):
        return pathlib.Path(f"{self.systemctl}.calls").read_text().splitlines()


def test_the_version_tells_protocol_numerics_compiler_and_instructions(exo):
    told = json.loads(run([exo, "--version", "--json"]).stdout)
    assert str(told["protocol"]) == PROTOCOL and told["protocol_oldest"] <= told["protocol"], told
    assert re.fullmatch(r"\d+\.\d+\.\d+", told["version"]) and re.fullmatch("[0-9a-f]{64}", told["numerics"]), told
    assert told["compiler"] and told["isa"], told
    text = run([exo, "--version"]).stdout
    assert text.startswith(f"exo {told['version']}\n"), text
    assert told["numerics"] in text and told["isa"] in text and told["compiler"] in text, text


def test_the_units_are_valid_and_the_systems_is_locked_down(exo):
    if shutil.which("systemd-analyze") is None:
        raise Skip("systemd-analyze is not installed")
    with tempfile.TemporaryDirectory() as folder:
        unit = pathlib.Path(folder) / "exo.service"
        for options in ([], ["--system"]):
            unit.write_text(unit_text(exo, *options))
            scope = "--system" if options else "--user"
            verified = run(["systemd-analyze", scope, "verify", "--man=no", unit],
                           env={**os.environ, "XDG_RUNTIME_DIR": folder})
            assert verified.returncode == 0 and "exo.service" not in verified.stderr, verified.stderr
        rated = run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit]).stdout
        exposure = float(re.search(r"exposure level for exo.service: ([0-9.]+)", rated)[1])
        assert exposure <= MAX_EXPOSURE, rated


def test_a_node_serves_under_the_units_filter_of_system_calls(exo):
    """All that a service may call, and no more; systemd is told when it serves, and users where."""
    if shutil.which("systemd-analyze") is None:
        raise Skip("systemd-analyze is not installed")
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        unit, notify, shared = (pathlib.Path(folder) / name for name in ("exo.service", "notify", "run"))
        unit.write_text(unit_text(exo, "--system"))
        shared.mkdir()
        manager.bind(str(notify))
        manager.settimeout(PATIENCE)
        prefix = [sys.executable, str(pathlib.Path(__file__).with_name("seccomp_run.py")), str(unit)]
        forbidden = run([*prefix, sys.executable, "-c", "import os; os.setuid(os.getuid())"])
        assert forbidden.returncode == -31, "the filter lets through what it should not"  # SIGSYS
        node = Node(exo, folder, "", "filtered", prefix=prefix,
                    environment={"NOTIFY_SOCKET": str(notify), "RUNTIME_DIRECTORY": str(shared)})
        try:
            node.started()
            assert manager.recv(1000).startswith(b"READY=1\nSTATUS=API on port "), node.log.read_text()
            assert json.loads((shared / "node.json").read_text())["api_port"] == node.api.port
            assert (shared / "node.json").stat().st_mode & 0o777 == 0o644
            assert node.api.complete("exo-tiny", "Once", max_tokens=8)["choices"][0]["text"]
            node.stop()
            assert node.process.returncode == 0, node.process.returncode
            assert manager.recv(1000) == b"STOPPING=1"
        finally:
            node.kill()


def test_keys_of_the_machines_service_are_asked_of_its_node(exo):
    """Its folder is another user's: the node writes it, for who may read its token."""
    if os.geteuid() != 0 or run(["unshare", "-m", "true"]).returncode != 0:
        raise Skip("no mount namespace can be made here")
    with tempfile.TemporaryDirectory() as folder:
        state, shared, unreadable = (pathlib.Path(folder) / name for name in ("state", "run", "unreadable"))
        shared.mkdir()
        unreadable.mkdir()
        node = Node(exo, folder, "", "state", environment={"RUNTIME_DIRECTORY": str(shared)})

        def key(*arguments, data=state):
            """As a command of this machine sees the service's two folders."""
            mounts = "; ".join(f"mount -t tmpfs none {below} && mkdir {below}/exo && mount --bind {there} {below}/exo"
                               for below, there in {"/run": shared, "/var/lib": data}.items())
            environment = {"HOME": f"{folder}/home", "PATH": os.environ["PATH"]}
            return run(["unshare", "-m", "sh", "-ec", f'{mounts}; exec "$0" "$@"', exo, "key", *arguments], env=environment)

        try:
            node.started()
            added = key("add", "phone", "--scope", "infer,models", "--rate", "60", "--quota", "2M")
            assert added.returncode == 0 and "the key 'phone' of the machine's service (infer, models)" in added.stderr, added
            assert [kept["name"] for kept in json.loads((state / "api-keys.json").read_text())["keys"]] == ["phone"]
            models = node.api.request("GET", "/v1/models", headers={"Authorization": f"Bearer {added.stdout.strip()}"})
            assert models[0] == 200, models
            (shown,) = json.loads(key("list", "--json").stdout)
            assert abs(shown.pop("created") - time.time()) < 60, shown
            shown.pop("last_used")  # the node writes that later
            assert shown == {"name": "phone", "scopes": ["infer", "models"], "rate_per_minute": 60,
                             "quota_per_day": 2_000_000, "tokens_today": 0}, shown
            again = key("add", "phone")
            assert again.returncode == 2 and "there is a key 'phone' already" in again.stderr, again
            denied = key("add", "tablet", data=unreadable)
            assert denied.returncode == 6 and "only root may change: put sudo before" in denied.stderr, denied
            removed = key("rm", "phone")
            assert removed.stdout == "the key 'phone' of the machine's service is removed\n", removed
            assert key("rm", "phone").returncode == 4 and json.loads(key("list", "--json").stdout) == []
            assert not (pathlib.Path(folder) / "home").exists()
        finally:
            node.kill()
            node.process.wait()


def files_of_package(build, folder):
    """What the Debian package of a build folder has, beside folders."""
    made = run(["cpack", "--config", build / "CPackConfig.cmake", "-B", f"{folder}/package",
                "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=none", "-D", "CPACK_DEBIAN_PACKAGE_SHLIBDEPS=OFF"])
    assert made.returncode == 0, made.stdout + made.stderr
    (package,) = pathlib.Path(folder, "package").glob("exo_*.deb")
    listed = run(["dpkg-deb", "--contents", package]).stdout.splitlines()
    return {line.split()[5].removeprefix("./") for line in listed if not line.endswith("/")}


def test_installed_files_are_where_systems_look_and_the_installed_exo_answers(exo):
    build = pathlib.Path(exo).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        installed = run(["cmake", "--install", build, "--prefix", "/usr"], env={**os.environ, "DESTDIR": folder})
        assert installed.returncode == 0, installed.stderr
        usr = pathlib.Path(folder) / "usr"
        for file in ("share/exo/models/exo-tiny.gguf", "share/doc/exo/LICENSE", "share/bash-completion/completions/exo",
                     "share/zsh/vendor-completions/_exo", "share/fish/vendor_completions.d/exo.fish"):
            assert (usr / file).stat().st_size > 0, file
        pages = {page.name: gzip.decompress(page.read_bytes()).decode() for page in (usr / "share/man/man1").iterdir()}
        assert {"exo.1.gz", "exo-run.1.gz", "exo-key-add.1.gz"} <= pages.keys(), pages.keys()
        assert all(".SH NAME" in page for page in pages.values())
        assert gzip.decompress((usr / "share/doc/exo/changelog.gz").read_bytes()).startswith(b"exo (")
        assert b"# Changelog" in gzip.decompress((usr / "share/doc/exo/NEWS.gz").read_bytes())
        packed = files_of_package(build, folder)
        assert packed == {str(file.relative_to(folder)) for file in usr.rglob("*") if not file.is_dir()}, packed
        for kind, wanted in {"user": "default.target", "system": "multi-user.target"}.items():
            text = (usr / "lib/systemd" / kind / "exo.service").read_text()
            assert 'ExecStart="/usr/bin/exo" up\n' in text and f"WantedBy={wanted}" in text, text
        environment = {"HOME": folder, "PATH": os.environ["PATH"]}
        answer = run([usr / "bin/exo", "demo", "--nodes", "1", "--max-tokens", "4", "--json"], env=environment, cwd=folder)
        assert answer.returncode == 0 and json.loads(answer.stdout)["text"], answer.stderr


def test_the_container_has_the_libraries_that_exo_needs(exo):
    """The second image of Containerfile has nothing but what it names; libc is everywhere."""
    needed = re.findall(r"NEEDED.*\[(.+)\]", run(["readelf", "-d", exo]).stdout)
    where = dict(re.findall(r"(\S+) => (/\S+)", run(["ldd", exo]).stdout))
    assert len(needed) > 5 and set(needed) - {"ld-linux-x86-64.so.2"} <= where.keys(), (needed, where)
    files = [os.path.realpath(where[name]) for name in needed if name in where]
    # A package may say /lib where the loader says /usr/lib.
    owners = run(["dpkg", "-S", *files, *(file.removeprefix("/usr") for file in files)]).stdout
    packages = set(re.findall(r"^([^:\s]+):", owners, re.MULTILINE)) - {"libc6", "libgcc-s1"}
    named = (ROOT / "Containerfile").read_text().split("FROM debian:12-slim")[1].split("&& rm")[0].split()
    assert packages == {word for word in named if word.startswith("lib") or word == "zlib1g"}, (packages, named)


def test_the_list_of_parts_is_complete_and_can_be_repeated(exo):
    made = [run([ROOT / "tools/sbom", exo], env={**os.environ, "SOURCE_DATE_EPOCH": "0"}) for _ in range(2)]
    assert made[0].returncode == 0, made[0].stderr
    assert made[0].stdout == made[1].stdout
    parts = json.loads(made[0].stdout)
    assert (parts["bomFormat"], parts["specVersion"], parts["version"]) == ("CycloneDX", "1.5", 1)
    assert re.fullmatch("urn:uuid:[0-9a-f-]{36}", parts["serialNumber"])
    subject = parts["metadata"]["component"]
    assert subject["name"] == "exo" and re.fullmatch("[0-9a-f]{64}", subject["hashes"][0]["content"])
    references = [part["bom-ref"] for part in parts["components"]]
    assert len(set(references)) == len(references) and parts["dependencies"][0]["dependsOn"] == references
    for part in parts["components"]:
        assert part["type"] and part["name"] and part["version"] and part["purl"].startswith("pkg:"), part
    names = {part["name"] for part in parts["components"]}
    assert {"libssl3", "libsqlite3-0", "libcurl4", "nlohmann-json3-dev", "libboost1.81-dev", "exo-tiny"} <= names, names
    assert not {"libgtest-dev", "libssl-dev"} & names, names


def test_a_service_is_installed_shown_and_removed(exo):
    with tempfile.TemporaryDirectory() as folder:
        home = Home(folder)
        home.environment["EXO_THREADS"] = "2"
        installed = home.exo(exo, "install")
        assert installed.returncode == 0, installed.stderr
        assert f"installed {home.unit}" in installed.stdout and "exo service uninstall" in installed.stdout
        assert "does not see EXO_THREADS of this shell" in installed.stderr, installed.stderr
        text = home.unit.read_text()
        assert f'ExecStart="{pathlib.Path(exo).resolve()}" up' in text and f'Environment="EXO_HOME={folder}/data"' in text
        assert [call.split()[1] for call in home.calls()] == ["show", "daemon-reload", "enable", "restart"], home.calls()
        status = json.loads(home.exo(exo, "status", "--json").stdout)
        assert status["user"] == {"state": "active", "detail": "running", "process": 42, "enabled": True,
                                  "unit": str(home.unit)}, status
        assert status["system"] == {"state": "not installed"}, status
        assert "active (running), process 42" in home.exo(exo, "status").stdout
        removed = home.exo(exo, "uninstall")
        assert removed.returncode == 0 and not home.unit.exists(), removed.stderr
        assert f"stay in {folder}/data" in removed.stdout, removed.stdout
        again = home.exo(exo, "uninstall")
        assert again.returncode == 4 and "there is no user service" in again.stderr, again.stderr


def test_what_hinders_a_service_is_said(exo):
    with tempfile.TemporaryDirectory() as folder:
        home = Home(folder)
        home.mark("fails")
        failed = home.exo(exo, "install")
        assert failed.returncode == 1 and "journalctl --user -u exo says why" in failed.stderr, failed.stderr
        node = Node(exo, folder, "", "data").started()
        try:
            busy = home.exo(exo, "install")
            assert busy.returncode == 5 and f"(process {node.process.pid}): stop it first" in busy.stderr, busy.stderr
        finally:
            node.stop()
        home.mark("broken")
        silent = home.exo(exo, "install")
        assert silent.returncode == 1 and "systemd does not answer here" in silent.stderr, silent.stderr
        home.environment["PATH"] = folder
        for command in ("install", "uninstall", "status"):
            none = home.exo(exo, command)
            assert none.returncode == 1 and "there is no systemd on this machine" in none.stderr, none.stderr
        hidden = home.exo(exo, "install", "--system", "--print", "--program", f"{folder}/exo")
        assert hidden.returncode == 2 and "sudo make install" in hidden.stderr, hidden.stderr


def test_the_machines_service_is_roots(exo):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        home = Home(folder)
        as_other = {"user": SERVICE_USER} if os.geteuid() == 0 else {}
        program = shutil.copy(exo, folder)
        for command in ("install", "uninstall"):
            refused = run([program, "service", command, "--system", *(["--program", "/usr/bin/env"] * (command == "install"))],
                          env=home.environment, **as_other)
            assert refused.returncode == 2, refused
            assert f"sudo exo service {command} --system" in refused.stderr, refused.stderr


if __name__ == "__main__":
    main([test_the_version_tells_protocol_numerics_compiler_and_instructions,
          test_the_units_are_valid_and_the_systems_is_locked_down,
          test_a_node_serves_under_the_units_filter_of_system_calls,
          test_keys_of_the_machines_service_are_asked_of_its_node,
          test_installed_files_are_where_systems_look_and_the_installed_exo_answers,
          test_the_container_has_the_libraries_that_exo_needs,
          test_the_list_of_parts_is_complete_and_can_be_repeated,
          test_a_service_is_installed_shown_and_removed,
          test_what_hinders_a_service_is_said,
          test_the_machines_service_is_roots])
