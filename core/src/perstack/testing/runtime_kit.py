"""What the checks of a runtime need: the runtime, a workspace of its own, and a Python inside its sandboxes."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import anyio

from perstack.ids import new_id
from perstack.protocols import Runtime, Sandbox, SandboxProcess, SandboxRequest
from perstack.skill_policy import BUILT_IN, EnvGrant, Limits, SkillPolicy
from perstack.specs import RuntimeContext, RuntimeSpec

TIMEOUT_SECONDS = 60.0
ORDINARY_USER = 10001
"""Owns the workspace where root runs the checks: sandboxes do not work on root's own files, but on copies of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeKit:
    """What the checks need of a runtime.

    Attributes:
        spec: What the runtime registers.
        runtime: The runtime, made by the spec's factory.
        python: The command that starts Python inside a sandbox.
        env: Variables without which that Python does not start; usually a PATH.
        workspace: A directory that sandboxes see and may write to.
    """

    spec: RuntimeSpec
    runtime: Runtime
    python: tuple[str, ...]
    workspace: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def request(
        self, *argv: str, env: Mapping[str, str] | None = None, skill: str = "check", limits: Limits | None = None
    ) -> SandboxRequest:
        """A request for `argv` with exactly `env`."""
        values = dict(self.env) if env is None else dict(env)
        policy = SkillPolicy(
            expert="contract",
            skill=skill,
            kind="mcpStdioSkill",
            origin=BUILT_IN,
            argv=argv,
            limits=limits or Limits(),
            env=tuple(EnvGrant(name=name, source=name, origin=BUILT_IN) for name in sorted(values)),
        )
        return SandboxRequest(policy=policy, env=values, workspace=self.workspace)

    def program(
        self,
        source: str,
        *args: str,
        env: Mapping[str, str] | None = None,
        skill: str = "check",
        limits: Limits | None = None,
    ) -> SandboxRequest:
        """A request for a Python program."""
        return self.request(*self.python, "-c", source, *args, env=env, skill=skill, limits=limits)

    @asynccontextmanager
    async def started(self, request: SandboxRequest) -> AsyncIterator[tuple[Sandbox, SandboxProcess]]:
        """A sandbox with its process, for `TIMEOUT_SECONDS` at most."""
        with anyio.fail_after(TIMEOUT_SECONDS):
            async with self.runtime.open(request) as sandbox:
                yield sandbox, await sandbox.start()


Check: TypeAlias = Callable[[RuntimeKit], Awaitable[None]]


async def output(process: SandboxProcess) -> bytes:
    """Everything that the process writes to standard output."""
    chunks = []
    while chunk := await process.receive():
        chunks.append(chunk)
    return b"".join(chunks)


@contextmanager
def runtime_kit(spec: RuntimeSpec) -> Iterator[RuntimeKit]:
    """A kit in a directory of its own, for a runtime whose sandboxes have a ``python3``."""
    with TemporaryDirectory(prefix="perstack-check-") as name:
        place = Path(name)
        place.chmod(0o711)
        state, workspace = place / "state", place / "workspace"
        for directory in (state, workspace):
            directory.mkdir(mode=0o700)
        if hasattr(os, "getuid") and os.getuid() == 0:
            os.chown(workspace, ORDINARY_USER, ORDINARY_USER)
        context = RuntimeContext(run_id=new_id(), job_id="check", state_dir=state, notify=lambda _: None)
        path = os.pathsep.join((os.path.dirname(sys.executable), os.defpath))
        yield RuntimeKit(
            spec=spec, runtime=spec.factory(context), python=("python3",), workspace=workspace, env={"PATH": path}
        )
        left = sorted(path.name for path in state.rglob("*") if not path.is_dir())
        if left:
            raise AssertionError(f"the runtime left files behind: {', '.join(left)}")
