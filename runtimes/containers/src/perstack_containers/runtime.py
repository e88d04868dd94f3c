"""Every skill in a container of its own; Docker and Podman differ in what they are handed, not in this."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import SocketStream
from perstack.background import background
from perstack.errors import PolicyError, Problem, SandboxUnavailable
from perstack.events import DockerBuildProgress, DockerContainerStatus, SkillNotice
from perstack.ids import new_id
from perstack.paths import cache_dir
from perstack.policy.base_skill import BUNDLED
from perstack.protocols import Preflight
from perstack_proxy.limits import TERM_GRACE_SECONDS
from perstack_proxy.sanitise import sanitise_line

from perstack_containers import image, workspace
from perstack_containers.context import DATA
from perstack_containers.enforced import Evidence, enforced
from perstack_containers.http import EngineFailure
from perstack_containers.keeper import Keeper
from perstack_containers.labels import EXPERT, OWNER, RUN, SKILL, is_left_over, run_labels
from perstack_containers.process import ContainerProcess
from perstack_containers.spec import WORKSPACE, ContainerSpec, create_body, skill_env
from perstack_containers.staging import Applied, Staging
from perstack_containers.streams import Streams

if TYPE_CHECKING:
    from perstack.protocols import SandboxRequest
    from perstack.skill_policy import Control, SkillPolicy
    from perstack.specs import RuntimeContext

    from perstack_containers.engine import ContainerEngine, ImageStore

T = TypeVar("T")

NEVER_ROOT = 10001
"""User of a sandbox where perstack is run by root on root's own files."""
WORKERS = 16
SECCOMP_FILTER = 2
BASE_SKILL = ("python3", "-E", "-P", "-m", "perstack_skill_base")
Status = Literal["starting", "running", "stopped", "error"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A service of the engine that has to run while containers do; empty where one runs already.

    Attributes:
        directory: Made for its socket, and removed after it.
    """

    command: tuple[str, ...] = ()
    directory: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """What an adapter hands to the shared runtime.

    Attributes:
        images: Makes the engine's image store; its SDK is imported then and not before.
        preflight: What stands in the way on this machine.
        service: Started before the first container.
    """

    engine: ContainerEngine
    images: Callable[[], ImageStore]
    preflight: Callable[[], tuple[Problem, ...]]
    service: Service = field(default_factory=Service)


class ContainerSandbox:
    """One container. `enforced` was read back from it after its start and before any secret went in."""

    def __init__(
        self, id: str, controls: frozenset[Control], process: ContainerProcess, request: SandboxRequest
    ) -> None:
        self.id = id
        self.enforced = controls
        self._process = process
        self._request = request

    async def start(self) -> ContainerProcess:
        """Start the policy's command as the container's only skill.

        Raises:
            SandboxUnavailable: The command is not in the image.
        """
        policy = self._request.policy
        argv = BASE_SKILL if policy.argv == BUNDLED else policy.argv
        env = skill_env(self._request.env)
        await self._process.order({"argv": list(argv), "env": dict(env), "cwd": WORKSPACE})
        answer = await self._process.line()
        if answer.get("started") is not True:
            reason = sanitise_line(str(answer.get("failed", "it says nothing")))
            raise SandboxUnavailable(
                f"Skill {policy.skill!r} could not be started: {reason}.",
                hint="Name an image that has it, with the skill's `image` key.",
            )
        return self._process


class ContainerRuntime:
    """Runs each skill in a container that ends with its context, with perstack, and at the latest with the reaper."""

    def __init__(self, context: RuntimeContext, host: Host) -> None:
        self._context = context
        self._host = host
        self._engine = host.engine
        self._labels = run_labels(context.run_id)
        self._place = context.state_dir / "sandboxes" / context.run_id
        self._workers = CapacityLimiter(WORKERS)
        self._opening = anyio.Lock()
        self._open = 0
        self._keeper: Keeper | None = None
        self._staging: Staging | None = None
        self._images: dict[image.Recipe, image.Image] = {}

    async def preflight(self) -> Preflight:
        """Whether the engine is there, answers, and is new enough to be trusted with untrusted code."""
        return Preflight(problems=await self._run(self._host.preflight))

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[ContainerSandbox]:
        """A started container whose first process waits for its order; it is gone after the context."""
        policy = request.policy
        _check(policy)
        async with self._shared(request) as place, background() as tasks:
            spec = await self._spec(request, place)
            self._tell(policy, "starting")
            async with self._container(policy, spec) as container:
                process = await self._attached(policy, container, tasks.start_soon)
                try:
                    evidence = await self._started(policy, container, process)
                    self._tell(policy, "running")
                    yield ContainerSandbox(container, enforced(spec, evidence), process, request)
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._report_end(policy, container)
                        await process.terminate(grace=TERM_GRACE_SECONDS)

    async def reap(self) -> tuple[str, ...]:
        """Containers whose run was killed are gone; they are found by our labels and their supervisor's name."""
        ended = []
        for found in await self._run(self._engine.list, {RUN: "", OWNER: self._labels[OWNER]}):
            if is_left_over(found.labels):
                await self._run(self._engine.remove, found.id)
                ended.append(f"container {found.id[:12]} of run {found.labels[RUN]}")
        return tuple(ended)

    # --- what the sandboxes of a run share --------------------------------------------------------------------------

    @asynccontextmanager
    async def _shared(self, request: SandboxRequest) -> AsyncIterator[Path]:
        """The directory that the container sees as its workspace, with a reaper behind all of it."""
        real = await self._run(self._checked_workspace, request.workspace)
        async with self._opening:
            self._open += 1
            try:
                if self._keeper is None:
                    self._keeper = await self._run(self._new_keeper)
                place = await self._run(self._workspace, real)
            except BaseException:
                await self._leave(request)
                raise
        try:
            yield place
        finally:
            with anyio.CancelScope(shield=True):
                async with self._opening:
                    await self._leave(request)

    async def _leave(self, request: SandboxRequest) -> None:
        self._open -= 1
        if self._staging is not None:
            self._say(request.policy, await self._run(self._staging.apply))
        if self._open == 0:
            if self._staging is not None:
                await self._run(self._staging.drop)
                self._staging = None
            await self._run(_remove_tree, self._place)
            if self._keeper is not None:
                await self._run(self._keeper.done)
                self._keeper = None
                if self._host.service.directory is not None:
                    await self._run(_remove_tree, self._host.service.directory)

    def _new_keeper(self) -> Keeper:
        place = self._host.service.directory
        if place is not None:
            place.mkdir(mode=0o700)
        keeper = Keeper(
            socket_path=self._engine.socket_path,
            labels={RUN: self._context.run_id},
            directories=(self._place, place) if place else (self._place,),
            service=self._host.service.command,
            environment=self._host.service.environment,
        )
        if self._host.service.command:
            _wait_for_socket(self._engine.socket_path)
        return keeper

    def _checked_workspace(self, path: Path) -> Path:
        return workspace.check_workspace(path, home=Path.home(), sockets=[Path(self._engine.socket_path)])

    def _workspace(self, real: Path) -> Path:
        """The workspace itself, or one copy of it for all sandboxes of the run."""
        empty = self._place / "empty"
        empty.mkdir(parents=True, exist_ok=True)
        self._place.chmod(0o711)
        empty.chmod(0o555)
        uid, gid = sandbox_user(real)
        if uid == real.stat().st_uid:
            return real
        if self._staging is None:
            staging = Staging(real, self._place / "workspace", uid=uid, gid=gid)
            staging.make()
            self._staging = staging
        return self._staging.copy

    # --- one container ----------------------------------------------------------------------------------------------

    async def _spec(self, request: SandboxRequest, place: Path) -> ContainerSpec:
        policy = request.policy
        uid, gid = sandbox_user(await self._run(Path.resolve, request.workspace))
        recipe = image.Recipe(uid=uid, gid=gid)
        if policy.image is not None:
            recipe = image.Recipe(uid=uid, gid=gid, base=policy.image, own=True)
        found = await self._image(recipe)
        read_only = any(mount.mode == "ro" for mount in policy.mounts)
        binds = await self._run(
            lambda: workspace.binds(
                place, workspace.guarded(place), read_only=read_only, empty=self._place / "empty"
            )
        )
        return ContainerSpec(
            image=found.id,
            uid=uid,
            gid=gid,
            labels={**self._labels, EXPERT: policy.expert, SKILL: policy.skill},
            binds=binds,
            limits=policy.limits,
            seccomp=((DATA / "seccomp.json").read_text(encoding="utf-8"), str(DATA / "seccomp.json")),
        )

    async def _image(self, recipe: image.Recipe) -> image.Image:
        async with self._opening:
            if recipe not in self._images:
                found = await self._run(image.ready, self._engine, recipe)
                self._images[recipe] = found or await self._run(self._build, recipe)
            return self._images[recipe]

    def _build(self, recipe: image.Recipe) -> image.Image:
        notify = self._context.notify

        def progress(stage: image.Stage, message: str) -> None:
            event = DockerBuildProgress(
                **self._stamp(), stage=stage, service=recipe.tag, message=sanitise_line(message)
            )
            anyio.from_thread.run_sync(notify, event)

        return image.build(
            self._engine, self._host.images(), recipe, cache=cache_dir(os.environ), progress=progress
        )

    @asynccontextmanager
    async def _container(self, policy: SkillPolicy, spec: ContainerSpec) -> AsyncIterator[str]:
        """A container that is not started, and is gone after the context."""
        body = create_body(spec, self._engine.dialect)
        with anyio.CancelScope(shield=True):  # one that was made and has no name here could not be removed
            container = await self._ask(policy, self._engine.create, body)
        try:
            yield container
        finally:
            with anyio.CancelScope(shield=True):
                await self._run(self._engine.remove, container)

    async def _attached(
        self, policy: SkillPolicy, container: str, spawn: Callable[..., object]
    ) -> ContainerProcess:
        connection = await self._ask(policy, self._engine.attach, container)
        streams = Streams(await SocketStream.from_socket(connection))
        spawn(streams.run)
        return ContainerProcess(
            streams,
            wait=partial(self._run, self._engine.wait, container),
            remove=partial(self._run, self._engine.remove, container),
        )

    async def _started(self, policy: SkillPolicy, container: str, process: ContainerProcess) -> Evidence:
        """What holds in the container, now that its first process runs."""
        await self._ask(policy, self._engine.start, container)
        facts = (await process.line()).get("facts")
        state = await self._ask(policy, self._engine.inspect, container)
        evidence = Evidence(facts=facts if isinstance(facts, dict) else {}, state=state)
        _check_filter(policy, evidence)
        return evidence

    async def _ask(self, policy: SkillPolicy, function: Callable[..., T], *args: object) -> T:
        """A call to the engine, whose failure is the skill's."""
        try:
            return await self._run(function, *args)
        except EngineFailure as error:
            raise SandboxUnavailable(
                f"{self._engine.name} could not start skill {policy.skill!r}: {sanitise_line(str(error))}",
                hint="Ask this machine what is wrong with: perstack doctor",
            ) from error

    async def _report_end(self, policy: SkillPolicy, container: str) -> None:
        try:
            state = (await self._run(self._engine.inspect, container)).get("State")
        except EngineFailure:
            state = None
        if isinstance(state, dict) and state.get("OOMKilled") is True:
            limit = policy.limits.memory // 1024**2
            self._tell(policy, "error", f"out of memory: the sandbox's limit is {limit} MiB")
        self._tell(policy, "stopped")

    # --- helpers ----------------------------------------------------------------------------------------------------

    async def _run(self, function: Callable[..., T], *args: object) -> T:
        """A blocking call in a worker thread."""
        return await to_thread.run_sync(partial(function, *args), limiter=self._workers)

    def _stamp(self) -> dict[str, object]:
        return {
            "id": new_id(),
            "timestamp": time.time_ns() // 1_000_000,
            "job_id": self._context.job_id,
            "run_id": self._context.run_id,
        }

    def _tell(self, policy: SkillPolicy, status: Status, message: str = "") -> None:
        self._context.notify(
            DockerContainerStatus(**self._stamp(), status=status, service=policy.skill, message=message)
        )

    def _say(self, policy: SkillPolicy, applied: Applied) -> None:
        for paths, what in (
            (applied.conflicts, "changed on the host meanwhile, so the sandbox's change was dropped"),
            (applied.held_back, "is a file that other tools run or read secrets from, so it was not brought back"),
        ):
            for path in paths[:20]:
                text = sanitise_line(f"{path}: {what}")
                self._context.notify(SkillNotice(**self._stamp(), skill_name=policy.skill, message=text))


def sandbox_user(workspace: Path) -> tuple[int, int]:
    """User and group of a sandbox: the caller's, or the workspace's owner where root asks; never root's."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        owner = workspace.stat()
        uid, gid = owner.st_uid, owner.st_gid
    return (uid or NEVER_ROOT, gid or NEVER_ROOT)


def _check(policy: SkillPolicy) -> None:
    """Refuse what cannot be done yet; nothing is done halfway."""
    if not policy.argv:
        raise SandboxUnavailable(f"Skill {policy.skill!r} has no command to start.")
    if policy.egress:
        raise PolicyError(
            f"Skill {policy.skill!r} has allowedDomains, and this runtime gives no skill a network yet.",
            hint="Remove allowedDomains, or start this Expert with --runtime local, which isolates nothing.",
        )
    if any(mount.mode == "overlay" for mount in policy.mounts):
        raise PolicyError(f"Skill {policy.skill!r} asks for an overlay of its workspace, which is not there yet.")


def _check_filter(policy: SkillPolicy, evidence: Evidence) -> None:
    """The filter for system calls holds, and the first process is ours and the first."""
    if evidence.facts.get("pid") != 1 or evidence.facts.get("seccomp") != SECCOMP_FILTER:
        raise PolicyError(
            f"The sandbox of skill {policy.skill!r} does not filter system calls, or shares its processes.",
            hint="The engine has to support seccomp profiles; see: perstack doctor",
        )


def _wait_for_socket(path: str) -> None:
    deadline = time.monotonic() + 30.0
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise SandboxUnavailable(f"The engine's service did not answer at {path}.", hint="See: perstack doctor")
        time.sleep(0.01)


def _remove_tree(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
