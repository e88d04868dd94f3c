"""An engine at ``ssh://``: its socket on another machine is one here, while an `ssh` of the run's own is connected.

The user's ssh decides whom it trusts and how it logs in, and is never asked anything.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from perstack.errors import SandboxUnavailable
from perstack_proxy.sanitise import sanitise_line

from perstack_containers.host import Service

REMOTE_SOCKET = "/var/run/docker.sock"
"""Where an address without a path has it."""
SOCKET = "docker.sock"
CONNECT_SECONDS = 30.0
POLL_SECONDS = 0.02
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "KRB5CCNAME", "LANG")
"""Variables that ssh logs in with; it sees no others."""
OPTIONS = {
    "BatchMode": "yes",
    "ControlPath": "none",  # a connection that others share would keep the socket when ours ends
    "ExitOnForwardFailure": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "StreamLocalBindMask": "0177",
    "ServerAliveInterval": "15",
}


def tunnel(asked: str, directory: Path, environ: Mapping[str, str]) -> Service:
    """What makes a socket called `SOCKET` in `directory`, which leads to the engine.

    Args:
        asked: ``ssh://[USER@]MACHINE[:PORT][/PATH-OF-SOCKET]``.
        directory: Made before it starts, and removed after it.
        environ: The user's variables.

    Raises:
        ValueError: It is no such address.
    """
    url = urlsplit(asked)
    there = url.path.rstrip("/") or REMOTE_SOCKET
    if url.scheme != "ssh" or not url.hostname or url.password or url.query or url.fragment or ":" in there:
        raise ValueError(asked)
    options = [f"-o{name}={value}" for name, value in OPTIONS.items()]
    port = [f"-p{url.port}"] if url.port else []
    machine = f"{url.username}@{url.hostname}" if url.username else url.hostname
    return Service(
        command=("ssh", "-N", "-T", *options, *port, f"-L{directory / SOCKET}:{there}", "--", machine),
        directory=directory,
        environment={name: environ[name] for name in PASSED_ON if name in environ},
    )


@contextmanager
def tried(asked: str, environ: Mapping[str, str]) -> Iterator[str]:
    """The path of a socket that leads to the engine inside this block.

    Raises:
        SandboxUnavailable: There is none; carries what ssh says.
    """
    with tempfile.TemporaryDirectory(prefix="perstack-") as name:
        service = tunnel(asked, Path(name), environ)
        try:
            process = subprocess.Popen(
                service.command,
                env=service.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError:
            raise SandboxUnavailable("There is no ssh command.", hint="Install OpenSSH's client.") from None
        with process:
            try:
                _wait(process, Path(name) / SOCKET)
                yield str(Path(name) / SOCKET)
            finally:
                process.kill()


def _wait(process: subprocess.Popen[bytes], socket: Path) -> None:
    deadline = time.monotonic() + CONNECT_SECONDS
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            words = process.stderr.read().decode("utf-8", "replace").strip() if process.stderr else ""
            raise SandboxUnavailable(
                f"ssh: {sanitise_line(words) or 'it does not connect'}",
                hint="Log in there once with your own ssh; it must not ask for anything then.",
            )
        time.sleep(POLL_SECONDS)
