"""What a sandbox costs: whole runs beside a bare hardened container of the same image, and calls beside the bare pipe.

Everything that is compared is measured in turns, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import anyio
from perstack.plugins.manager import load
from perstack.plugins.selection import PluginSelection
from perstack.policy.base_skill import BUNDLED
from perstack.protocols import ConnectRequest
from perstack.testing import probe
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.runtime_kit import ORDINARY_USER, runtime_kit
from perstack.tools.stdio import StdioTransport
from perstack_containers.api import ApiEngine
from perstack_containers.image import Recipe, base_image
from perstack_containers.runtime import BASE_SKILL, ContainerRuntime

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("docker", "podman")
PERSTACK = Path(sys.executable).with_name("perstack")
CALLS = 300
FLAGS = (
    "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--ipc=private",
    "--memory=2g", "--memory-swap=2g", "--cpus=2", "--pids-limit=256", "--log-driver=none",
    "--tmpfs=/tmp:rw,nosuid,nodev,noexec,size=256m",
)  # fmt: skip
"""The hardening that any careful user would write out."""
PROJECT = """\
model = "scripted"
[provider]
providerName = "openai"
[experts.box]
instruction = "Go."
"""
SKILL = """\
[experts.box.skills.{tool}]
type = "mcpStdioSkill"
command = "python3"
args = ["-I", "/workspace/probe.py"]
pick = ["{tool}"]
"""
OTHERS = ("identity", "hang", "spawn")
"""Tools that three further skills have, each one of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Medians for one engine.

    Attributes:
        bare: Seconds from starting the engine's own command to the one byte that its container prints.
        first: Seconds from starting ``perstack run`` to the first tool's answer with the model, by number of skills.
        memory: Bytes that perstack needed at most with four skills.
    """

    bare: float
    first: Mapping[int, float]
    memory: float


def environment(engine: str) -> dict[str, str]:
    """Where the engine is: what `scripts/engines` has written, or the user's own.

    Raises:
        FileNotFoundError: There is no such engine; says so.
    """
    report = ROOT / "build" / "engines.json"
    found = json.loads(report.read_text(encoding="utf-8"))[engine]["env"] if report.exists() else {}
    env = {"PERSTACK_CACHE_DIR": str(ROOT / "build" / "cache"), **found}
    if subprocess.run([engine, "info"], env={**os.environ, **env}, capture_output=True, check=False).returncode:
        raise FileNotFoundError(f"{engine} does not answer here")
    return env


def starts(engine: str, runs: int) -> Measured:
    """Bare containers, runs with one skill and runs with four, in turns."""
    env = environment(engine)
    with _project() as folder:
        _first(engine, env, folder, 1)  # the image is there
        samples = [
            (_bare(engine, env), _first(engine, env, folder, 1), _first(engine, env, folder, 4)) for _ in range(runs)
        ]
    bare, one, four = zip(*samples, strict=True)
    return Measured(
        bare=median(bare),
        first={1: median(seconds for seconds, _ in one), 4: median(seconds for seconds, _ in four)},
        memory=median(memory for _, memory in four),
    )


@contextmanager
def _project() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="perstack-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        (folder / "workspace").mkdir()
        shutil.copy(probe.__file__, folder / "workspace" / "probe.py")
        if os.getuid() == 0:  # root's own files would be copied
            os.chown(folder / "workspace", ORDINARY_USER, ORDINARY_USER)
        yield folder


def _bare(engine: str, env: Mapping[str, str]) -> float:
    image = Recipe(uid=ORDINARY_USER, gid=ORDINARY_USER, base=base_image(env)).tag
    started = time.perf_counter()
    with subprocess.Popen(
        [engine, "run", "--rm", *FLAGS, image, "printf", "x"],
        env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        byte = process.stdout.read(1)
        seconds = time.perf_counter() - started
        if byte != b"x":
            raise RuntimeError(f"{engine} run failed: {process.communicate()[1].decode()[-300:]}")
    return seconds


def _first(engine: str, env: Mapping[str, str], folder: Path, skills: int) -> tuple[float, int]:
    """Seconds to the first tool's answer, and the most bytes that perstack needed."""
    others = [SKILL.format(tool=tool) for tool in OTHERS[: skills - 1]]
    (folder / "perstack.toml").write_text(PROJECT + "".join(others))
    arrived: list[float] = []

    def answer(_: object) -> Turn:
        arrived.append(time.perf_counter())
        return Turn(calls=[Call("healthCheck", {})]) if len(arrived) == 1 else Turn(text="done")

    # Linux adds what a process's parent held to its peak, so perstack is started by a small one, which reads the peak,
    # and the clock when it starts it.
    watch = "import os, sys, time; print(time.perf_counter(), flush=True); "
    watch += "pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); "
    watch += "_, status, usage = os.wait4(pid, 0); print(usage.ru_maxrss); sys.exit(os.waitstatus_to_exitcode(status))"
    with ModelServer(answer) as server:
        words = ["run", "box", "go", "--runtime", engine, "--state-dir", str(folder / "state")]
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", watch, str(PERSTACK), *words, "--workspace", str(folder / "workspace")],
            cwd=folder, env={**os.environ, **env, "OPENAI_API_KEY": "k" * 12, "OPENAI_BASE_URL": server.openai_url},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode or len(arrived) < 2:
        raise RuntimeError(f"the run failed: {done.stderr[-500:]}")
    started, *_, peak = done.stdout.splitlines()
    return arrived[1] - float(started), int(peak) * 1024


# --- calls -----------------------------------------------------------------------------------------------------------


def round_trip(engine: str) -> float:
    """Median seconds that a tool call takes above the same bytes through the engine's own pipe to the same server."""
    env = environment(engine)
    os.environ.update(env)
    return asyncio.run(_round_trip(engine))


async def _round_trip(engine: str) -> float:
    spec = load(PluginSelection(), names=[f"runtime-{engine}"]).runtime(engine)
    with runtime_kit(spec) as kit, anyio.fail_after(120):
        assert isinstance(kit.runtime, ContainerRuntime)
        api = kit.runtime.host.engine
        assert isinstance(api, ApiEngine)
        request = kit.request(*BUNDLED)
        async with kit.started(request) as (_, process):
            ask = ConnectRequest(
                policy=request.policy, process=process, workspace=kit.workspace, violation=print, notice=print
            )
            async with StdioTransport().connect(ask) as session:
                with _pipe(api) as pipe:
                    ours, bare = [], []
                    for _ in range(CALLS):
                        started = time.perf_counter()
                        await session.call("healthCheck", {}, timeout=10)
                        ours.append(time.perf_counter() - started)
                        bare.append(pipe.call())
    return median(ours) - median(bare)


class _Pipe:
    """The attached streams of a container, read and written by nothing but the socket's own methods."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "b"}})
        self._stream.sendall(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    def call(self) -> float:
        """Seconds for one call of a tool."""
        started = time.perf_counter()
        self._ask("tools/call", {"name": "healthCheck", "arguments": {}})
        return time.perf_counter() - started

    def _ask(self, method: str, params: Mapping[str, object]) -> None:
        self._stream.sendall(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"
        )
        while True:  # one frame a line, as the server writes it
            header = self._stream.recv(8, socket.MSG_WAITALL)
            text = self._stream.recv(int.from_bytes(header[4:], "big"), socket.MSG_WAITALL)
            if b'"result"' in text:
                return


@contextmanager
def _pipe(api: ApiEngine) -> Iterator[_Pipe]:
    body = {
        "Image": Recipe(uid=ORDINARY_USER, gid=ORDINARY_USER).tag,
        "Entrypoint": [],
        "Cmd": list(BASE_SKILL),
        **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr", "OpenStdin", "StdinOnce"), True),
        "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none", "Config": {}}},
    }
    container = api.create(body)  # type: ignore[arg-type]
    try:
        with api.attach(container) as stream:
            api.start(container)
            yield _Pipe(stream)
    finally:
        api.remove(container)
