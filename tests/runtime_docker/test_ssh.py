"""Docker on another machine, reached by the user's own ssh: a real sshd, behind which the far engine's socket is."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import eventually, python
from ordinary import Ordinary, ordinary_user
from perstack.testing.model_server import Turn
from perstack_containers.http import containers, volumes
from perstack_containers.labels import RUN

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("far")]

FAR = "/var/lib/perstack-test/docker.sock"


@pytest.fixture
def sshd(tmp_path) -> Iterator[tuple[int, Path]]:
    """The port of an ssh server that lets one key in, and a directory with that key and the server's."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "user.pub",
        "PermitRootLogin": "prohibit-password",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    (tmp_path / "sshd").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    found = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    assert found, "scripts/engines installs it"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([found, "-D", "-e", "-f", str(tmp_path / "sshd")], stderr=log)
    try:
        eventually(lambda: "listening" in (tmp_path / "log").read_text(), "sshd listens")
        yield port, tmp_path
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def ordinary(sshd) -> Iterator[Ordinary]:
    """A user whose ssh knows the machine ``perstack-far``."""
    port, keys = sshd
    with ordinary_user("docker", {"DOCKER_HOST": f"ssh://root@perstack-far{FAR}"}) as made:
        home = Path(pwd.getpwnam(made.user).pw_dir) / ".ssh"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
        shutil.copy(keys / "user", home / "key")
        kind, key = (keys / "host.pub").read_text().split()[:2]
        (home / "known").write_text(f"perstack-far {kind} {key}\n")
        (home / "config").write_text(
            f"Host perstack-far\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias perstack-far\n"
            f"  IdentityFile {home}/key\n  UserKnownHostsFile {home}/known\n"
        )
        subprocess.run(["chown", "-R", f"{made.user}:", str(home)], check=True)
        yield made
        shutil.rmtree(home)


def tunnels() -> set[str]:
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if words.startswith(b"ssh\0-N") and b"perstack-far" in words:
            found.add(place.name)
    return found


def test_AF12_AS6_AH1_over_ssh_skills_work_on_a_copy_and_the_connection_ends_with_the_run(ordinary) -> None:
    word = f"canary-{secrets.token_hex(8)}"
    (ordinary.workspace / "given").write_text(word)
    source = "import os\nresult = os.getuid()\nos.rename('/workspace/given', '/workspace/taken')"
    done = ordinary.run(expect=(Turn(calls=[python(source)]), Turn(text="done")))
    assert done.exit_code == 0, done.stderr
    assert (ordinary.workspace / "taken").read_text() == word
    assert (ordinary.workspace / "taken").stat().st_uid == ordinary.workspace.stat().st_uid != 0
    assert containers(FAR, {RUN: ""}) == volumes(FAR, {RUN: ""}) == []
    assert tunnels() == set()
    assert not list(Path(ordinary.env["XDG_RUNTIME_DIR"]).glob("perstack-*"))
    (Path(pwd.getpwnam(ordinary.user).pw_dir) / ".ssh/known").write_text("")
    refused = ordinary.run(expect=(Turn(text="not reached"),))
    assert refused.exit_code == 2
    assert "Host key verification failed" in refused.stderr, "a machine that the user's ssh does not know"
