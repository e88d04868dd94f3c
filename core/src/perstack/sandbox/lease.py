"""All skills of a run, each connected in a sandbox of its own: started at once, refused together, ended together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio
from perstack_proxy.sanitise import sanitise_line

from perstack.background import Later, background
from perstack.errors import ControlsMissing, PerstackError, SandboxUnavailable, SkillError
from perstack.protocols import ConnectRequest, SandboxRequest
from perstack.sandbox.egress import identity
from perstack.sandbox.known_tools import changed_tools
from perstack.sandbox.lazy import LazySession
from perstack.sandbox.report import SkillReport
from perstack.sandbox.stderr import pump

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectSendStream

    from perstack.locking.holding import Held
    from perstack.protocols import Complete, Elicit, Runtime, Sandbox, SandboxProcess, SkillSession, SkillTool
    from perstack.sandbox.known_tools import KnownTools
    from perstack.skill_policy import SkillPolicy
    from perstack.specs import Notify, TransportSpec

WITHOUT_SERVER = frozenset({"interactiveSkill"})
"""Types of skills that a person serves."""
ENDING_SECONDS = 0.5
"""For a server that hung up to end, so that its exit code can be told."""


class Transports(Protocol):
    """The part of the plugin registry that connects skills."""

    def transport(self, skill_type: str) -> TransportSpec:
        """The transport for skills of `skill_type`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseContext:
    """What the skills of one run share.

    Attributes:
        workspace: Host directory of the run, resolved.
        copy: The job's copy of it, where skills work on one.
        notify: Told what becomes of the skills.
        known: Tools of skills that ran before; without it, lazy skills start at once.
        held: The lock that skills are held to, or None where they are being locked.
        elicit: The way from servers to the person, or None where there is none.
        complete: The way from servers to the run's model, or None likewise.
        gates: Sockets of the gate that connections to remote skills go through, by `identity`.
    """

    runtime: Runtime
    runtime_name: str
    registry: Transports
    workspace: Path
    job_id: str
    run_id: str
    notify: Notify
    copy: Path | None = None
    known: KnownTools | None = None
    held: Held | None = None
    elicit: Elicit | None = None
    complete: Complete | None = None
    gates: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class ConnectedSkill:
    """A skill that answered. `closed` says why it is gone, and is None while it is there."""

    policy: SkillPolicy
    session: SkillSession
    sandbox: Sandbox | None = None
    closed: str | None = None


@dataclass(kw_only=True, slots=True)
class _Opening:
    """A skill on its way up."""

    policy: SkillPolicy
    env: Mapping[str, str] = field(repr=False)
    arrived: MemoryObjectSendStream[_Opening]
    skill: ConnectedSkill | None = None
    failure: Exception | None = None


@asynccontextmanager
async def open_skills(
    policies: Sequence[SkillPolicy], *, env: Mapping[str, Mapping[str, str]], context: LeaseContext
) -> AsyncIterator[dict[str, ConnectedSkill]]:
    """Every skill of `policies` that has a server, connected, by name.

    They start at the same time. If one does not come up, the others are ended and its error is raised. A skill that
    ends later is reported and its calls fail; the rest goes on. A lazy skill whose tools are known starts with its
    first call, and its failure is that call's.

    Args:
        policies: The decided policies of one Expert.
        env: Values of the variables of each skill, by skill name.
        context: What the skills share.

    Raises:
        ControlsMissing: A sandbox does not enforce what its policy requires.
        LockMismatch: A skill is not what it was locked to.
        SandboxError: A sandbox could not be opened, or a command could not be started.
        SkillError: A server did not answer as it must.
    """
    served = [policy for policy in policies if policy.kind not in WITHOUT_SERVER]
    arrived, arrivals = anyio.create_memory_object_stream[_Opening](len(served))
    openings = [_Opening(policy=policy, env=env.get(policy.skill, {}), arrived=arrived) for policy in served]
    async with arrived, arrivals, background() as tasks:
        starting = 0
        for opening in openings:
            tools = _known_tools(opening.policy, context)
            if tools is None:
                tasks.start_soon(_hold, opening, context)
                starting += 1
            else:
                opening.skill = _not_started(opening, tools, context, tasks)
        for _ in range(starting):
            first = await arrivals.receive()
            if first.failure is not None:
                raise first.failure
        yield {opening.policy.skill: opening.skill for opening in openings if opening.skill is not None}


def _known_tools(policy: SkillPolicy, context: LeaseContext) -> Sequence[SkillTool] | None:
    """The tools of a lazy skill that is locked or ran before; None for a skill that has to be started to tell them."""
    if not policy.lazy:
        return None
    if context.held is not None and (locked := context.held.tools(policy)) is not None:
        return locked
    return context.known.of(policy) if context.known is not None else None


def _not_started(
    opening: _Opening, tools: Sequence[SkillTool], context: LeaseContext, tasks: TaskGroup
) -> ConnectedSkill:
    """The skill with tools that are known, which starts with its first call."""
    policy = opening.policy

    async def start() -> SkillSession:
        late, arrivals = anyio.create_memory_object_stream[_Opening](1)
        attempt = _Opening(policy=policy, env=opening.env, arrived=late)
        with late, arrivals:
            tasks.start_soon(_hold, attempt, context)
            await arrivals.receive()
        if attempt.skill is None:
            raise attempt.failure or SkillError(f"Skill {policy.skill!r} did not start.")
        return attempt.skill.session

    return ConnectedSkill(policy=policy, session=LazySession(policy.skill, tools, start))


async def _hold(opening: _Opening, context: LeaseContext) -> None:
    """Open one skill and keep it until this is cancelled, or the skill is gone."""
    report = SkillReport(opening.policy, job_id=context.job_id, run_id=context.run_id, notify=context.notify)
    reason = ""
    try:
        async with AsyncExitStack() as stack:
            skill, process = await _open(stack, opening, context, report)
            opening.skill = skill
            opening.arrived.send_nowait(opening)
            if process is None:
                await anyio.sleep_forever()
            else:
                skill.closed = reason = await _ending(process)
    except Exception as error:  # noqa: BLE001 - raised where the skills are awaited
        reason = sanitise_line(str(error))
        opening.failure = error
        if opening.skill is None:
            opening.arrived.send_nowait(opening)
        else:
            opening.skill.closed = reason
    finally:
        report.disconnected(reason)


async def _open(
    stack: AsyncExitStack, opening: _Opening, context: LeaseContext, report: SkillReport
) -> tuple[ConnectedSkill, SandboxProcess | None]:
    policy = opening.policy
    transport = context.registry.transport(policy.kind).factory()
    report.starting()
    sandbox: Sandbox | None = None
    process: SandboxProcess | None = None
    checking = await stack.enter_async_context(background())
    whole = None if context.held is None else Later(checking, partial(context.held.check_packages, policy))
    if policy.argv:
        request = SandboxRequest(policy=policy, env=opening.env, workspace=_seen_by(policy, context))
        sandbox = await stack.enter_async_context(context.runtime.open(request))
    check_controls(policy, sandbox, runtime=context.runtime_name)
    if whole is not None:
        await whole.result()  # nothing of the packages runs before
    if sandbox is not None:
        process = await sandbox.start()
        tasks = await stack.enter_async_context(background())
        tasks.start_soon(pump, process, report.stderr)
    report.spawned()
    connecting = ConnectRequest(
        policy=policy,
        process=process,
        workspace=context.workspace,
        violation=report.violation,
        notice=report.notice,
        env=opening.env,
        access=report.access,
        gate=context.gates.get(identity(policy)),
        elicit=context.elicit,
        complete=context.complete,
    )
    try:
        session = await stack.enter_async_context(transport.connect(connecting))
    except SkillError as error:
        raise await _explained(error, process, report) from error
    report.connected(session, sandbox)
    if context.held is not None:
        context.held.check_tools(policy, session.tools)
    if context.known is not None:
        if changes := changed_tools(context.known.of(policy), session.tools):
            report.notice(sanitise_line(f"its tools are not those of the last run: {', '.join(changes)}"))
        context.known.keep(policy, session.tools)
    return ConnectedSkill(policy=policy, session=session, sandbox=sandbox), process


async def check_works(name: str, runtime: Runtime) -> None:
    """The runtime can work on this host.

    Raises:
        SandboxUnavailable: It cannot; carries what to do about it.
    """
    report = await runtime.preflight()
    if not report.ok:
        raise SandboxUnavailable(
            f"Runtime {name!r} does not work here:\n" + "\n".join(str(one) for one in report.problems)
        )


def _seen_by(policy: SkillPolicy, context: LeaseContext) -> Path:
    """The directory that a skill works in. In a job with a copy, whoever may only read reads what the others made."""
    modes = {mount.mode for mount in policy.mounts}
    return context.copy if context.copy is not None and modes & {"ro", "overlay"} else context.workspace


def check_controls(policy: SkillPolicy, sandbox: Sandbox | None, *, runtime: str) -> None:
    """Everything that the policy requires is enforced.

    Raises:
        ControlsMissing: It is not; names what is missing. A skill without a sandbox has nothing enforced.
    """
    enforced = sandbox.enforced if sandbox is not None else frozenset()
    missing = policy.required - enforced
    if missing:
        raise ControlsMissing(runtime=runtime, skill=policy.skill, missing=tuple(missing))


async def _explained(error: SkillError, process: SandboxProcess | None, report: SkillReport) -> SkillError:
    """`error` with how the process ended, if it did, and what it said last."""
    ending = ""
    if process is not None:
        with anyio.move_on_after(ENDING_SECONDS):
            ending = f" Its process ended: {await _ending(process)}."
    words = " | ".join(report.last_words)
    return SkillError(f"{error}{ending}", hint=f"Its last words: {words}" if words else error.hint)


async def _ending(process: SandboxProcess) -> str:
    """How the process ended."""
    try:
        code = await process.wait()
    except PerstackError as error:
        return sanitise_line(str(error))
    return f"it was ended by signal {-code}" if code < 0 else f"it exited with code {code}"
