"""Skills as processes of the current user: their environment is filtered, and nothing else is enforced."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from perstack.errors import Problem, SandboxUnavailable
from perstack.protocols import Preflight
from perstack_proxy.limits import TERM_GRACE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from perstack.protocols import SandboxRequest
    from perstack.skill_policy import Control
    from perstack.specs import RuntimeContext

    from perstack_runtime_local.process import LocalProcess

ENFORCED: frozenset[Control] = frozenset({"env"})


class LocalSandbox:
    """The place of one skill. It is no boundary: `enforced` says so."""

    def __init__(self, id: str, request: SandboxRequest) -> None:
        self.id = id
        self.enforced = ENFORCED
        self._request = request
        self._processes: list[LocalProcess] = []

    async def start(self) -> LocalProcess:
        """Start the policy's command in the workspace, as the leader of a session of its own.

        Raises:
            SandboxUnavailable: The command is not there, or the operating system refused to start it.
        """
        from perstack_runtime_local.process import Command, LocalProcess

        policy, env, workspace = self._request.policy, self._request.env, self._request.workspace
        path = find_command(policy.argv[0], search=env.get("PATH", os.defpath), directory=workspace)
        if path is None:
            raise SandboxUnavailable(
                f"Command {policy.argv[0]!r} of skill {policy.skill!r} was not found.",
                hint="Install it, or write its full path as the skill's command.",
            )
        command = Command(path=path, argv=policy.argv, env=env, cwd=workspace)
        process = await LocalProcess.start(command, skill=policy.skill)
        self._processes.append(process)
        return process

    async def close(self) -> None:
        """End everything that was started here."""
        for process in self._processes:
            await process.terminate(grace=TERM_GRACE_SECONDS)


class LocalRuntime:
    """Runs each skill under a guardian that ends the skill's whole tree, also when perstack is killed."""

    def __init__(self, context: RuntimeContext) -> None:
        self._context = context

    async def preflight(self) -> Preflight:
        """Works wherever there are process groups."""
        if os.name == "posix":
            return Preflight()
        problem = Problem(message="The local runtime needs process groups, which Windows lacks.", hint="Use WSL.")
        return Preflight(problems=(problem,))

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[LocalSandbox]:
        """A place for one skill; nothing that it started runs after the context."""
        if not request.policy.argv:
            raise SandboxUnavailable(f"Skill {request.policy.skill!r} has no command to start.")
        sandbox = LocalSandbox(f"{self._context.run_id}/{request.policy.expert}/{request.policy.skill}", request)
        try:
            yield sandbox
        finally:
            await sandbox.close()

    async def reap(self) -> tuple[str, ...]:
        """Nothing: a guardian outlives perstack by seconds and leaves no one behind."""
        return ()


def find_command(command: str, *, search: str, directory: Path) -> str | None:
    """The absolute path of the program that `command` names, or None.

    A name is looked up in `search`, whose relative entries are ignored: they would let files of the workspace stand in
    for programs. A relative path starts at `directory`.
    """
    if os.path.dirname(command):
        return shutil.which(str(directory / command))
    absolute = [entry for entry in search.split(os.pathsep) if os.path.isabs(entry)]
    return shutil.which(command, path=os.pathsep.join(absolute)) if absolute else None
