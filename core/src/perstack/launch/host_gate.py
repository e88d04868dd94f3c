"""A gate on this machine for perstack's own connections: ``engineEgress = "proxy"``.

It is the same gate as that of the skills, with the direct dialer. It ends with its standard input, and so with us.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from perstack_proxy.sanitise import sanitise_line

from perstack.background import background
from perstack.errors import SandboxUnavailable
from perstack.events import SkillNotice
from perstack.sandbox.audit_trail import AuditTrail
from perstack.sandbox.egress import gate_policy, identity
from perstack.skill_policy import EgressGrant, Origin, SkillPolicy

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, ByteSendStream, Process

    from perstack.engine.recorder import Recorder
    from perstack.launch.plan import RunPlan
    from perstack.messages import JsonObject

START_SECONDS = 20.0
END_SECONDS = 5.0
"""For tunnels to be closed and told of, once the run has ended."""
LINE_BYTES = 1024 * 1024
MODEL = ""
"""The expert and the skill of the model's own entry; no other entry has an empty name."""
BUDGETS: JsonObject = {
    "skill": {"bytes_up": 2**50, "bytes_down": 2**50},
    "host": {"bytes_up": 2**50, "bytes_down": 2**50},
    "idle_seconds": 24 * 3600,
    "tunnel_seconds": 7 * 24 * 3600,
}
"""Perstack bounds its own requests; each step of a long job sends the whole conversation again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gates:
    """Unix sockets that lead through the gate; without one, perstack connects itself.

    Attributes:
        model: For the model's provider.
        skills: For remote skills, by `perstack.sandbox.egress.identity`.
    """

    model: str | None = None
    skills: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def open_gate(plan: RunPlan, recorder: Recorder) -> AsyncIterator[Gates]:
    """The gate for a job's own connections, where the user's settings ask for one.

    Raises:
        SandboxUnavailable: It does not start, so nothing may be connected to.
    """
    if plan.loaded.project.policy.engine_egress == "direct":
        yield Gates()
        return
    grants = plan.provider_context.network.grants or ()
    model = _model_entry([str(grant) for grant in grants if grant.gated], plan.provider.name)
    policies = [model, *(policy for policy in plan.decision.skills if policy.endpoint)]
    folder = tempfile.gettempdir()
    sockets = {identity(one): f"{folder}/perstack-{secrets.token_hex(8)}.sock" for one in policies}
    line = gate_policy(
        policies,
        socket=lambda one: sockets[identity(one)],
        parent=_parent(plan),
        budgets=BUDGETS,
    )

    def tell(text: str) -> None:
        recorder.notify(SkillNotice(**recorder.stamp(recorder.job_id), skill_name="engine", message=text))

    trail = AuditTrail(policies, job_id=recorder.job_id, run_id=recorder.job_id, notify=recorder.notify, problem=tell)
    try:
        async with _running(line) as gate:
            trail.take(await _ready(gate))
            async with _followed(gate, trail, tell):
                yield Gates(model=sockets[identity(model)], skills=sockets)
    finally:
        _remove(sockets.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Running:
    """A gate's process and its three channels."""

    process: Process
    stdin: ByteSendStream
    lines: BufferedByteReceiveStream
    stderr: ByteReceiveStream


@asynccontextmanager
async def _running(policy: bytes) -> AsyncIterator[_Running]:
    """The gate's process, which is gone after the block."""
    gate = await _started(policy)
    try:
        yield gate
    finally:
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                gate.process.kill()
            await gate.process.aclose()


@asynccontextmanager
async def _followed(gate: _Running, trail: AuditTrail, tell: Callable[[str], None]) -> AsyncIterator[None]:
    """The gate's record is taken down until the gate has ended, which the end of the block asks it to."""
    ended, closing = anyio.Event(), anyio.Event()

    async def follow() -> None:
        with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError):
            while True:
                trail.take(await gate.lines.receive_until(b"\n", LINE_BYTES))
        if not closing.is_set():
            tell("the gate for perstack's own connections ended; nothing is connected to any more")
        ended.set()

    async with background() as tasks:
        tasks.start_soon(follow)
        try:
            yield
        finally:
            closing.set()
            with anyio.move_on_after(END_SECONDS, shield=True):
                await gate.stdin.aclose()
                await ended.wait()


def _remove(paths: Iterable[str]) -> None:
    """The gate removes its sockets itself, unless it was killed."""
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _parent(plan: RunPlan) -> str | None:
    """The proxy that leads out of this network: the one of the user's settings, or that of the variables."""
    proxy = plan.provider_context.network.proxy
    return plan.egress.parent_proxy or (proxy.url if proxy is not None else None)


def _model_entry(hosts: list[str], provider: str) -> SkillPolicy:
    origin = Origin(source=f"provider {provider}")
    egress = tuple(EgressGrant(pattern=host, origin=origin) for host in hosts)
    return SkillPolicy(expert=MODEL, skill=MODEL, kind="mcpHttpSkill", origin=origin, egress=egress)


async def _started(policy: bytes) -> _Running:
    """The gate's process, which has its policy. It has none of our variables, and a session of its own."""
    process = await anyio.open_process(
        [sys.executable, "-I", "-m", "perstack_proxy", "gate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: os.environ[name] for name in ("SYSTEMROOT", "RES_OPTIONS", "LOCALDOMAIN") if name in os.environ},
        start_new_session=True,  # what interrupts us at the terminal is ours to hand on
    )
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    if stdin is None or stdout is None or stderr is None:
        raise SandboxUnavailable("The gate for perstack's own connections has no channels.")
    with suppress(anyio.BrokenResourceError):
        await stdin.send(policy)
    return _Running(process=process, stdin=stdin, lines=BufferedByteReceiveStream(stdout), stderr=stderr)


async def _ready(gate: _Running) -> bytes:
    """The first line of its record, which says that every socket listens."""
    try:
        with anyio.fail_after(START_SECONDS):
            return await gate.lines.receive_until(b"\n", LINE_BYTES)
    except (TimeoutError, anyio.EndOfStream, anyio.IncompleteRead):
        said = b""
        with anyio.move_on_after(1), suppress(anyio.EndOfStream):
            said = await gate.stderr.receive()
        reason = sanitise_line(said.decode("utf-8", "replace").strip()) or "it says nothing"
        raise SandboxUnavailable(
            f"The gate for perstack's own connections does not start: {reason}",
            hint='Leave engineEgress = "proxy" out of your own settings to connect without it.',
        ) from None
