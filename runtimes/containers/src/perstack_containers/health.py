"""What ``perstack doctor`` asks of a container engine: does it answer, and does a real sandbox hold what it claims."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from perstack.errors import PerstackError, SandboxUnavailable
from perstack.ids import new_id
from perstack.policy.limits import OPTIONAL
from perstack.protocols import SandboxRequest
from perstack.skill_policy import BUILT_IN, SkillPolicy
from perstack.specs import HealthReport, RuntimeContext
from perstack.staging.copies import sandbox_owner

from perstack_containers.host import running_service
from perstack_containers.http import EngineFailure
from perstack_containers.image import Recipe, ready
from perstack_containers.runtime import ContainerRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

    from perstack.protocols import Runtime
    from perstack.specs import RuntimeSpec

ASK = """
import os, socket
reached = []
for address in ("198.51.100.1", "10.0.0.1", "169.254.169.254"):
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect((address, 9))  # asks for a route and sends nothing
        reached.append(address)
    except OSError:
        pass
open("/workspace/written", "w").close()
print(os.getuid(), ",".join(reached) or "nothing")
"""
"""Runs inside: whether there is a way to anywhere, and whether the workspace can be written to."""


async def engine(spec: RuntimeSpec) -> HealthReport:
    """Whether the engine answers and is fit, what it says of itself, and whether the image of sandboxes is there."""
    with tempfile.TemporaryDirectory() as place:
        runtime = _runtime(spec, Path(place))
        preflight = await runtime.preflight()
        if preflight.ok:
            return HealthReport(ok=True, detail=await to_thread.run_sync(_facts, runtime))
    problems = preflight.problems
    return HealthReport(
        ok=False,
        detail="\n".join(problem.message for problem in problems),
        fix=" ".join(problem.hint for problem in problems),
    )


def _facts(runtime: Runtime) -> str:
    if not isinstance(runtime, ContainerRuntime):
        return "it answers"
    engine = runtime.host.engine
    uid, gid = sandbox_owner(Path.cwd())
    try:
        with running_service(runtime.host):
            facts, image = engine.facts(), ready(engine, recipe := Recipe(uid=uid, gid=gid))
    except EngineFailure as error:
        raise SandboxUnavailable(f"{engine.name} does not tell of itself: {error}") from error
    place = "there" if image is not None else "built with the first run, or now with: perstack image build"
    return "\n".join(
        (
            f"version {facts.version} on {facts.architecture}, {'without root' if facts.rootless else 'with root'}",
            f"control groups of version {facts.cgroups}; system calls are {'' if facts.seccomp else 'not '}filtered",
            f"image {recipe.tag}: {place}",
        )
    )


async def sandbox(spec: RuntimeSpec) -> HealthReport:
    """Whether a real sandbox starts, and what it enforces."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        workspace = place / "workspace"
        workspace.mkdir()
        runtime = _runtime(spec, place)
        if not (await runtime.preflight()).ok:
            return HealthReport(ok=False, detail="the engine does not work here", fix="Mend the engine first.")
        policy = SkillPolicy(
            expert="doctor", skill="doctor", kind="mcpStdioSkill", origin=BUILT_IN, argv=("python3", "-c", ASK)
        )
        try:
            async with runtime.open(SandboxRequest(policy=policy, env={}, workspace=workspace)) as opened:
                answer = await _answer(opened.start)
                enforced = opened.enforced
        except PerstackError as error:
            return HealthReport(ok=False, detail=str(error), fix=error.hint)
        written = (workspace / "written").exists()
    missing = sorted(spec.claims - enforced)
    needed = sorted(set(missing) - OPTIONAL)
    lines = [
        f"enforced: {', '.join(sorted(enforced))}",
        f"not enforced here: {', '.join(missing) or 'nothing of what it claims'}",
        f"workspace: {'writable' if written else 'not writable'}{await _how(runtime)}",
        f"inside: user {answer[0]}, reached {answer[1]}" if len(answer) == 2 else "inside: no answer",
    ]
    fit = written and not needed and answer[1:] == ["nothing"]
    fix = (
        "Delegate the missing control groups to your user, or use a system service."
        if needed
        else "See the lines above."
    )
    return HealthReport(ok=fit, detail="\n".join(lines), fix=fix)


async def _how(runtime: Runtime) -> str:
    from anyio import to_thread

    from perstack_containers.runtime import ContainerRuntime

    if isinstance(runtime, ContainerRuntime) and await to_thread.run_sync(runtime.host.copies):
        return ", as a copy in a volume of the engine, which is brought back at the end of a run"
    return ""


async def _answer(start: Callable[..., object]) -> list[str]:
    process = await start()  # type: ignore[misc]
    data = b""
    while chunk := await process.receive():
        data += chunk
    return str(data.decode()).split()


def _runtime(spec: RuntimeSpec, place: Path) -> Runtime:
    return spec.factory(RuntimeContext(run_id=new_id(), job_id="doctor", state_dir=place, notify=lambda _: None))
