"""Skills on the local runtime, for tests: opened as a run opens them, with every event kept."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from perstack.events import Event
from perstack.messages import JsonValue, text_of
from perstack.protocols import SkillSession
from perstack.sandbox.lease import ConnectedSkill, LeaseContext, open_skills
from perstack.skill_policy import BUILT_IN, EnvGrant, SkillPolicy
from perstack.specs import RuntimeContext, TransportSpec
from perstack.testing.probe import probe_argv
from perstack.tools.stdio import StdioTransport
from perstack_runtime_local.runtime import LocalRuntime

DEADLINE_SECONDS = 20.0
BASE_ENV = {"PATH": os.defpath}


def policy(name: str, argv: tuple[str, ...], *, env: Mapping[str, str] = BASE_ENV, **more: object) -> SkillPolicy:
    """A policy that grants exactly the names of `env`."""
    grants = tuple(EnvGrant(name=key, source=key, origin=BUILT_IN) for key in sorted(env))
    return SkillPolicy(
        expert="tester", skill=name, kind="mcpStdioSkill", origin=BUILT_IN, argv=argv, env=grants, **more
    )


class Registry:
    """As much of the plugin registry as opening and calling skills needs."""

    middleware = ()

    def __init__(self, handshake_seconds: float = DEADLINE_SECONDS) -> None:
        self._handshake_seconds = handshake_seconds

    def transport(self, skill_type: str) -> TransportSpec:
        factory = lambda: StdioTransport(handshake_seconds=self._handshake_seconds)  # noqa: E731
        return TransportSpec(type=skill_type, summary="stdio", factory=factory)

    def review(self, call, tool):
        return ()


@dataclass
class Events:
    """Everything that was reported."""

    all: list[Event] = field(default_factory=list)

    def of(self, kind: type, attribute: str = "message") -> list[str]:
        return [getattr(event, attribute) for event in self.all if isinstance(event, kind)]


def lease_context(directory: Path, events: Events, *, registry: Registry | None = None) -> LeaseContext:
    runtime = LocalRuntime(RuntimeContext(run_id="run", job_id="job", state_dir=directory, notify=events.all.append))
    return LeaseContext(
        runtime=runtime,
        runtime_name="local",
        registry=registry or Registry(),
        workspace=directory,
        job_id="job",
        run_id="run",
        notify=events.all.append,
    )


@asynccontextmanager
async def opened(
    directory: Path, *policies: SkillPolicy, env: Mapping[str, str] = BASE_ENV, events: Events | None = None
) -> AsyncIterator[dict[str, ConnectedSkill]]:
    """The skills of `policies`, each with `env`."""
    context = lease_context(directory, events if events is not None else Events())
    async with open_skills(policies, env={one.skill: env for one in policies}, context=context) as skills:
        yield skills


@asynccontextmanager
async def probed(
    directory: Path, *options: str, env: Mapping[str, str] = BASE_ENV, events: Events | None = None
) -> AsyncIterator[SkillSession]:
    """A connected hostile server."""
    async with opened(directory, policy("probe", probe_argv(*options), env=env), env=env, events=events) as skills:
        yield skills["probe"].session


async def ask(session: SkillSession, tool: str, **args: JsonValue) -> object:
    """What a tool answered, out of its JSON where it is JSON."""
    outcome = await session.call(tool, args, timeout=DEADLINE_SECONDS)
    text = text_of(outcome.contents)
    assert not outcome.is_error, text
    try:
        return json.loads(text)
    except ValueError:
        return text


def runs(pid: int) -> bool:
    """Whether the process is there and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
