"""Runs of perstack whose sandboxes have a way out, which leads to a fake internet that the test made.

    with egress_box(tmp_path, "docker") as box:
        box.internet.site("api.example.com", "93.184.216.34")
        box.write(box.skill(extra='allowedDomains = ["api.example.com"]'))
        result = box.run(box.python("result = get('api.example.com')"))
        assert [arrival.server_name for arrival in box.internet.arrivals] == ["api.example.com"]

The internet lives in the network namespace of a container without a network, which the test starts and removes. The
user's own settings tell perstack to let the egress container join it (``[egress] network = "container:NAME"``) and to
ask the name server there, so nothing that a test sends can leave this machine; that is asserted before anything is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engines import Box, Engine, box, engine
from perstack.ids import new_id
from perstack.testing.fnet.internet import Internet
from perstack.testing.fnet.namespace import JoinedNamespace
from perstack.testing.model_server import Call
from perstack.testing.project import RunResult

NAMES = ("*.example.com", "*.wild.example.com", "*.example.org", "*.example.net")
"""What the certificate of the fake internet's servers is for."""
AUTHORITY = "/workspace/authority.crt"
"""Where a sandbox finds the authority's certificate."""
CLIENT = f"""
import http.client, os, ssl, socket
def tunnel(host, port=443, extra=b""):
    "The gate's answer to a CONNECT, and the socket."
    found = socket.create_connection(("127.0.0.1", 3128), timeout=20)
    found.sendall(f"CONNECT {{host}}:{{port}} HTTP/1.1\\r\\nHost: {{host}}:{{port}}\\r\\n\\r\\n".encode() + extra)
    head = b""
    while not head.endswith(b"\\r\\n\\r\\n"):
        byte = found.recv(1)
        if not byte: break
        head += byte
    status = int(head.split()[1]) if head else 0
    return status, found
def denied(host, port=443):
    "Status and code of the gate's answer."
    import json
    status, found = tunnel(host, port)
    if status == 200: found.close(); return [200, "open"]
    body = b""
    while chunk := found.recv(65536): body += chunk
    return [status, json.loads(body)["code"]]
def get(host, name=None, page="/"):
    "The body of a page over TLS through the gate."
    status, found = tunnel(host)
    assert status == 200, status
    context = ssl.create_default_context(cafile={AUTHORITY!r})
    with context.wrap_socket(found, server_hostname=name or host) as client:
        client.sendall(f"GET {{page}} HTTP/1.1\\r\\nHost: {{host}}\\r\\nConnection: close\\r\\n\\r\\n".encode())
        data = b""
        while chunk := client.recv(65536): data += chunk
    return data.partition(b"\\r\\n\\r\\n")[2].decode()
"""
"""What every program of `EgressBox.python` begins with: a client of the forwarder that hides nothing."""


@dataclass(kw_only=True)
class EgressBox(Box):
    """A box whose runs reach `internet` and nothing else."""

    internet: Internet
    settings_now: dict[str, object] = field(default_factory=dict)

    @staticmethod
    def python(source: str, tool: str = "python") -> Call:
        """A call that runs a program with `CLIENT` before it; what it leaves in `result` is the answer."""
        return Call(tool, {"source": CLIENT + source})

    def further(self, name: str, extra: str = "") -> str:
        """The table of one more hostile skill, whose tool to run a program is called as the skill is."""
        source = (self.workspace / "probe.py").read_text()
        (self.workspace / f"{name}.py").write_text(source.replace('"python": lambda', f'"{name}": lambda'))
        table = self.skill(name, extra, pick=[name])
        return table.replace("/workspace/probe.py", f"/workspace/{name}.py")

    @staticmethod
    def found(result: RunResult) -> list[object]:
        """What each call of the first step left in `result`, without what perstack says beside it."""
        texts = [one["result"][0]["text"] for one in result.values("resolveToolResults", "toolResults", "*")]
        return [readable(text) for text in texts]

    def settings(self, **egress: object) -> None:
        """The user's own settings: the table ``[egress]``."""
        lines = [f"{name} = {json.dumps(value)}" for name, value in egress.items()]
        self.user_settings("\n".join(["[egress]", *lines, ""]))
        self.settings_now = egress

    def user_settings(self, toml: str) -> None:
        """The user's own settings, whole."""
        place = self.project.directory.parent / "config" / "perstack"
        place.mkdir(parents=True, exist_ok=True)
        (place / "config.toml").write_text(toml)


def readable(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextmanager
def container_internet(
    real: Engine, folder: Path, names: Sequence[str] = NAMES, *, prefix: Sequence[str] = (), options: Sequence[str] = ()
) -> Iterator[tuple[str, Internet]]:
    """A fake internet, and the name of the container whose network namespace it is in.

    Args:
        real: The engine.
        folder: For certificates.
        names: Names that the servers' certificate is for.
        prefix: Words in front of the engine's command, such as those that make it another user's.
        options: Further options of its ``run``.
    """
    name = f"perstack-test-internet-{new_id()}"
    ipv6 = [f"--sysctl=net.ipv6.conf.{place}.disable_ipv6=0" for place in ("all", "lo")]  # engines switch it off
    run = [
        *prefix,
        real.name,
        "run",
        "-d",
        "--name",
        name,
        "--network=none",
        *ipv6,
        *options,
        real.base,
        "sleep",
        "infinity",
    ]
    command(*run, env=real.env)
    try:
        pid = int(command(*prefix, real.name, "inspect", "--format", "{{.State.Pid}}", name, env=real.env))
        with Internet(folder, names=names, namespace=JoinedNamespace(pid)) as internet:
            yield name, internet
    finally:
        command(*prefix, real.name, "kill", name, env=real.env)  # its first process has no handler for anything gentler
        command(*prefix, real.name, "rm", "-f", name, env=real.env)


def command(*words: str, env: Mapping[str, str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def egress_box(tmp_path: Path, name: str, *, at: str | None = None) -> Iterator[EgressBox]:
    """A box on the engine `name`, or on another of its kind, with a fake internet of its own."""
    folder = tmp_path / "internet"
    folder.mkdir(parents=True)
    with ExitStack() as undo:
        real = engine(name, at=at)
        names = ["127.0.0.1"]  # an engine that cannot mount a list of them takes that container's own
        options = [] if at is None else [f"--dns={one}" for one in names]
        container, internet = undo.enter_context(container_internet(real, folder, options=options))
        plain = box(tmp_path, name, at=at)
        made = EgressBox(engine=real, project=plain.project, internet=internet)
        made.settings(network=f"container:{container}", **({"nameServers": names} if at is None else {}))
        shutil.copy(internet.authority, made.workspace / "authority.crt")
        yield made
