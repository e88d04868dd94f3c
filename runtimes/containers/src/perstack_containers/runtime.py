"""Every skill in a container of its own; Docker and Podman differ in what they are handed, not in this."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from anyio.abc import SocketStream
from perstack.background import background
from perstack.errors import PolicyError, SandboxUnavailable
from perstack.paths import cache_dir
from perstack.policy.base_skill import BUNDLED
from perstack.protocols import Preflight
from perstack_proxy.forward import HOST, PORT
from perstack_proxy.limits import TERM_GRACE_SECONDS
from perstack_proxy.sanitise import sanitise_line
from perstack_proxy.variables import proxy_variables

from perstack_containers.context import DATA
from perstack_containers.egress import NETWORK_CONTROLS, Egress, Way
from perstack_containers.enforced import Evidence, enforced
from perstack_containers.engine import Image, Started, start
from perstack_containers.host import running_service
from perstack_containers.http import EngineFailure
from perstack_containers.image import Recipe, build, ready
from perstack_containers.labels import EXPERT, OWNER, RUN, SKILL, is_left_over, owner_name, run_labels
from perstack_containers.place import Place
from perstack_containers.process import ContainerProcess
from perstack_containers.report import Report, Stage
from perstack_containers.spec import WORKSPACE, ContainerSpec, create_body, skill_env
from perstack_containers.streams import Streams

if TYPE_CHECKING:
    from pathlib import Path

    from perstack.protocols import SandboxRequest
    from perstack.skill_policy import Control, SkillPolicy
    from perstack.specs import RuntimeContext

    from perstack_containers.host import Host
    from perstack_containers.place import View

T = TypeVar("T")

WORKERS = 16
SECCOMP_FILTER = 2
NOT_MOUNTED = "bind source path does not exist"
"""What Docker says where it sees no files of ours."""
ELSEWHERE = "The engine sees other files than perstack. If it is on another machine, name it as ssh://USER@MACHINE."
PROXY = proxy_variables(f"http://{HOST}:{PORT}", node_preload="/opt/perstack/lib/perstack_proxy/node_proxy.cjs")
"""Variables of a skill that has domains."""
BASE_SKILL = ("python3", "-E", "-P", "-m", "perstack_skill_base")
"""The bundled server, as it is started in the sandbox image."""


class ContainerSandbox:
    """One container. `enforced` was read back from it after its start and before any secret went in."""

    def __init__(
        self,
        id: str,
        controls: frozenset[Control],
        process: ContainerProcess,
        request: SandboxRequest,
        way: Way | None = None,
    ) -> None:
        self.id = id
        self.enforced = controls
        self._process = process
        self._request = request
        self._way = way

    async def start(self) -> ContainerProcess:
        """Start the policy's command as the container's only skill.

        Raises:
            SandboxUnavailable: The command is not in the image.
        """
        policy = self._request.policy
        bundled = policy.argv[: len(BUNDLED)] == BUNDLED  # what follows is the configuration's policy for it
        argv = (*BASE_SKILL, *policy.argv[len(BUNDLED) :]) if bundled else policy.argv
        env = skill_env(self._request.env, proxy=PROXY if policy.egress else {})
        key = self._way.key if self._way is not None else ""
        await self._process.order({"argv": list(argv), "env": dict(env), "cwd": WORKSPACE, "key": key})
        answer = await self._process.line()
        if answer.get("started") is not True:
            reason = sanitise_line(str(answer.get("failed", "it says nothing")))
            raise SandboxUnavailable(
                f"Skill {policy.skill!r} could not be started: {reason}.",
                hint="Name an image that has it, with the skill's `image` key.",
            )
        if self._way is not None:  # the skill starts meanwhile
            await self._way.serves()
        return self._process


class ContainerRuntime:
    """Runs each skill in a container that ends with its context, with perstack, and at the latest with the reaper."""

    def __init__(self, context: RuntimeContext, host: Host) -> None:
        self.host = host
        self._engine = host.engine
        self._labels = run_labels(context.run_id, owner_name(far=host.far))
        self._report = Report(context)
        self._workers = CapacityLimiter(WORKERS)
        self._building = anyio.Lock()
        self._images: dict[Recipe, Image] = {}
        self._place = Place(
            run_id=context.run_id,
            job_id=context.job_id,
            state_dir=context.state_dir,
            host=host,
            labels=self._labels,
            report=self._report,
            image=self._image,
            workers=self._workers,
        )
        self._egress = Egress(
            context,
            host.engine,
            directory=context.state_dir / "sandboxes" / context.run_id,
            labels=self._labels,
            report=self._report,
            image=self._image,
            run=self._run,
        )

    async def preflight(self) -> Preflight:
        """Whether the engine is there, answers, and is new enough to be trusted with untrusted code."""
        return Preflight(problems=await self._run(self.host.preflight))

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[ContainerSandbox]:
        """A started container whose first process waits for its order; it is gone after the context."""
        policy = request.policy
        _check(policy)
        modes = {mount.mode for mount in policy.mounts}
        is_copy = any(mount.host != request.workspace for mount in policy.mounts)
        read_only = "ro" in modes or ("overlay" in modes and not is_copy)
        with self._asking(f"run skill {policy.skill!r}"):
            async with self._opened(request, read_only=read_only, is_copy=is_copy) as sandbox:
                yield sandbox

    @asynccontextmanager
    async def _opened(
        self, request: SandboxRequest, *, read_only: bool, is_copy: bool
    ) -> AsyncIterator[ContainerSandbox]:
        policy = request.policy
        async with (
            self._place.shared(policy, request.workspace, read_only=read_only, is_copy=is_copy) as view,
            background() as tasks,
            self._egress.held(policy, view, tasks) as way,
        ):
            spec = await self._spec(policy, view, way)
            self._report.status(policy.skill, "starting")
            async with self._container(policy, spec) as started:
                process = await self._process(policy, started, tasks.start_soon)
                try:
                    controls = enforced(spec, await _evidence(policy, started, process))
                    if way is not None:
                        controls -= NETWORK_CONTROLS - await way.proven(policy)
                    self._report.status(policy.skill, "running")
                    yield ContainerSandbox(started.id, controls, process, request, way)
                finally:
                    with anyio.CancelScope(shield=True):
                        await process.terminate(grace=TERM_GRACE_SECONDS)

    async def collect(self, workspace: Path) -> None:
        """What sandboxes have changed in the engine's copy of a job's copy is in that one, as far as it can be had."""
        await self._place.collect(workspace)

    async def reap(self) -> tuple[str, ...]:
        """What killed runs left is gone: containers and volumes, found by our labels and their supervisor's name."""
        with self._asking("remove what was left behind"):
            return await self._run(self._reap)
        raise AssertionError("the block above returns or raises")

    def _reap(self) -> tuple[str, ...]:
        ended = []
        with running_service(self.host):
            for found in self._engine.list({RUN: "", OWNER: self._labels[OWNER]}):
                if is_left_over(found.labels, self._labels[OWNER]):
                    self._engine.remove(found.id)
                    ended.append(f"container {found.id[:12]} of run {found.labels[RUN]}")
            for found in self._engine.volumes({RUN: "", OWNER: self._labels[OWNER]}):
                if is_left_over(found.labels, self._labels[OWNER]):
                    self._engine.remove_volume(found.id)
                    ended.append(f"volume {found.id} of run {found.labels[RUN]}")
        return tuple(ended)

    # --- one container ----------------------------------------------------------------------------------------------

    async def _spec(self, policy: SkillPolicy, view: View, way: Way | None) -> ContainerSpec:
        recipe = Recipe(uid=view.uid, gid=view.gid)
        if policy.image is not None:
            recipe = Recipe(uid=view.uid, gid=view.gid, base=policy.image, kind="own")
        profile = DATA / "seccomp.json"
        return ContainerSpec(
            image=(await self._image(recipe)).id,
            uid=view.uid,
            gid=view.gid,
            labels={**self._labels, EXPERT: policy.expert, SKILL: policy.skill},
            binds=view.binds,
            volumes=view.volumes if way is None else (*view.volumes, way.volume),
            limits=policy.limits,
            seccomp=(profile.read_text(encoding="utf-8"), str(profile)),
        )

    async def _image(self, recipe: Recipe) -> Image:
        async with self._building:
            if recipe not in self._images:
                self._images[recipe] = await self._run(self._made, recipe)
            return self._images[recipe]

    def _made(self, recipe: Recipe) -> Image:
        found = ready(self._engine, recipe)
        if found is not None:
            return found

        def progress(stage: Stage, message: str) -> None:
            from_thread.run_sync(self._report.build, recipe.tag, stage, message)

        return build(
            self._engine,
            self.host.images(),
            recipe,
            owner=self._labels[OWNER],
            cache=cache_dir(os.environ),
            progress=progress,
        )

    @asynccontextmanager
    async def _container(self, policy: SkillPolicy, spec: ContainerSpec) -> AsyncIterator[Started]:
        """A container whose first process runs, and that is gone after the context."""
        body = create_body(spec, self._engine.dialect)
        with anyio.CancelScope(shield=True):  # one that was made and has no name here could not be removed
            started = await self._ask(policy, start, self._engine, body)
        try:
            yield started
        finally:
            with anyio.CancelScope(shield=True):
                await self._run(self._engine.remove, started.id)
            started.connection.close()

    async def _process(self, policy: SkillPolicy, started: Started, spawn: Callable[..., object]) -> ContainerProcess:
        streams = Streams(await SocketStream.from_socket(started.connection))
        spawn(streams.run)
        return ContainerProcess(
            streams,
            wait=partial(self._run, self._engine.wait, started.id),
            remove=partial(self._removed, policy, started.id),
        )

    async def _removed(self, policy: SkillPolicy, container: str) -> None:
        """The container is gone, and how it ended was told."""
        try:
            state = (await self._run(self._engine.inspect, container)).get("State")
        except EngineFailure:
            state = None
        if isinstance(state, dict) and state.get("OOMKilled") is True:
            limit = policy.limits.memory // 1024**2
            self._report.status(policy.skill, "error", f"out of memory: the sandbox's limit is {limit} MiB")
        await self._run(self._engine.remove, container)
        self._report.status(policy.skill, "stopped")

    async def _ask(self, policy: SkillPolicy, function: Callable[..., T], *args: object) -> T:
        """A call to the engine, whose failure is the skill's."""
        with self._asking(f"start skill {policy.skill!r}"):
            return await self._run(function, *args)
        raise AssertionError("the block above returns or raises")

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """A failure of the engine inside this block is one that a person can read."""
        try:
            yield
        except EngineFailure as error:
            raise SandboxUnavailable(
                f"{self._engine.name} could not {what}: {sanitise_line(str(error))}",
                hint=ELSEWHERE if NOT_MOUNTED in str(error) else "Ask this machine what is wrong with: perstack doctor",
            ) from error

    async def _run(self, function: Callable[..., T], *args: object) -> T:
        """A blocking call in a worker thread."""
        return await to_thread.run_sync(partial(function, *args), limiter=self._workers)


async def _evidence(policy: SkillPolicy, started: Started, process: ContainerProcess) -> Evidence:
    """What holds in the container, now that its first process runs."""
    facts = (await process.line()).get("facts")
    evidence = Evidence(facts=facts if isinstance(facts, dict) else {}, state=started.state)
    _check_filter(policy, evidence)
    return evidence


def _check(policy: SkillPolicy) -> None:
    """Refuse what cannot be done yet; nothing is done halfway."""
    if not policy.argv:
        raise SandboxUnavailable(f"Skill {policy.skill!r} has no command to start.")


def _check_filter(policy: SkillPolicy, evidence: Evidence) -> None:
    """The filter for system calls holds, and the first process is ours and the first."""
    if evidence.facts.get("pid") != 1 or evidence.facts.get("seccomp") != SECCOMP_FILTER:
        raise PolicyError(
            f"The sandbox of skill {policy.skill!r} does not filter system calls, or shares its processes.",
            hint="The engine has to support seccomp profiles; see: perstack doctor",
        )
