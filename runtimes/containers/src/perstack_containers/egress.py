"""The way out of a run's sandboxes: one egress container, and a volume with a socket for each skill that has domains.

Nothing of it is there in a run in which no skill has any. It starts with the first skill that does and stays as long as
any sandbox of the run does, so that what a skill has used up counts for the whole run.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import from_thread
from anyio.lowlevel import current_token
from perstack.background import Later
from perstack.errors import SandboxUnavailable
from perstack.sandbox.audit_trail import AuditTrail
from perstack.sandbox.egress import gate_policy, identity
from perstack.skill_policy import Limits
from perstack_proxy.limits import KIB, MIB

from perstack_containers.context import DATA
from perstack_containers.enforced import enforced
from perstack_containers.gate import Gate
from perstack_containers.http import EngineFailure
from perstack_containers.image import Recipe
from perstack_containers.labels import EXPERT, SERVICE, SKILL
from perstack_containers.mirrors import IN_USE_SECONDS, remove_volume
from perstack_containers.pid1 import EGRESS
from perstack_containers.spec import Bind, ContainerSpec, Volume

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from anyio.abc import TaskGroup
    from anyio.lowlevel import EventLoopToken
    from perstack.messages import JsonObject
    from perstack.skill_policy import Control, SkillPolicy
    from perstack.specs import RuntimeContext

    from perstack_containers.engine import ContainerEngine, Dialect, Image
    from perstack_containers.place import View
    from perstack_containers.report import Report
from perstack_proxy.handover import KEY_BYTES

NAME = "egress"
SOCKETS = "/run/sockets"
LIMITS = Limits(memory=512 * MIB, memory_reserved=64 * MIB, cpus=2.0, pids=1024)
"""Of the egress container. 500 tunnels need 38 MB in the gate, and each handshake has a thread."""
OPEN_FILES = 16384
VOLUME_BYTES = 64 * KIB
NETWORK_CONTROLS: frozenset[Control] = frozenset({"network", "private-addresses"})
HARDENING: frozenset[Control] = frozenset({"filesystem", "capabilities", "user", "env", "rootfs"})
"""Without these the egress container is no boundary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A sandbox's way out, which may still be on its way up.

    Attributes:
        volume: Holds the skill's socket.
        key: What its sandbox gives its port to the gate with. The skill never has it.
        gate: What holds of the container behind it.
        serves: Returns once the gate takes connections.
    """

    volume: Volume
    key: str
    gate: Later[frozenset[Control]]
    serves: Callable[[], Awaitable[object]]

    async def proven(self, policy: SkillPolicy) -> frozenset[Control]:
        """The controls of the network that hold behind the socket, as soon as that can be told.

        Raises:
            SandboxUnavailable: The egress container could not be started.
        """
        found = await self.gate.result()
        return found & NETWORK_CONTROLS if HARDENING | (policy.required - NETWORK_CONTROLS) <= found else frozenset()


class Egress:
    """The egress container of one run.

    Args:
        directory: Of the run on the host; it is there while a sandbox is.
        labels: Of everything of the run.
        image: Makes an image, or finds it.
        run: Runs what blocks.
    """

    def __init__(
        self,
        context: RuntimeContext,
        engine: ContainerEngine,
        *,
        directory: Path,
        labels: Mapping[str, str],
        report: Report,
        image: Callable[[Recipe], Awaitable[Image]],
        run: Callable[..., Awaitable[object]],
    ) -> None:
        self._context = context
        self._engine = engine
        self._directory = directory
        self._labels = labels
        self._report = report
        self._image = image
        self._run = run
        self._lock = anyio.Lock()
        self._holders = 0
        self._policies = tuple(policy for policy in context.policies if policy.egress and policy.argv)
        self._keys = {identity(policy): secrets.token_hex(KEY_BYTES // 2) for policy in self._policies}
        self._volumes: dict[str, str] = {}
        self._gate: Gate | None = None
        self._holds: frozenset[Control] = frozenset()
        self._leads = True

    @asynccontextmanager
    async def held(self, policy: SkillPolicy, view: View, tasks: TaskGroup) -> AsyncIterator[Way | None]:
        """The skill's way out, or None for one without domains. Everything is gone after the last holder.

        Raises:
            SandboxUnavailable: There can be none.
        """
        self._holders += 1
        try:
            yield await self._way(policy, view, tasks) if policy.egress else None
        finally:
            with anyio.CancelScope(shield=True):
                async with self._lock:
                    self._holders -= 1
                    if not self._holders:
                        await self._clear()

    async def _way(self, policy: SkillPolicy, view: View, tasks: TaskGroup) -> Way:
        async with self._lock:
            if not self._volumes:
                with anyio.CancelScope(shield=True):
                    await self._run(self._make_volumes, view)
        name = self._volumes.get(identity(policy))
        if name is None:
            raise SandboxUnavailable(f"Skill {policy.skill!r} is not among those that this run was decided for.")
        volume = Volume(name=name, target=EGRESS, read_only=True)
        key = self._keys[identity(policy)]
        return Way(volume=volume, key=key, gate=Later(tasks, partial(self._started, view)), serves=self._serves)

    async def _serves(self) -> None:
        gate = self._gate
        if gate is not None:
            await self._run(gate.wait)

    async def _started(self, view: View) -> frozenset[Control]:
        """What holds of the egress container; the first to ask starts it."""
        async with self._lock:
            if not self._holders:
                raise SandboxUnavailable("The run has ended.")
            if self._gate is None:
                with anyio.CancelScope(shield=True):
                    spec = await self._spec(view)
                    self._report.status(NAME, "starting")
                    await self._run(self._start, spec, current_token())
                self._report.status(NAME, "running")
                if not self._leads:
                    hint = "its network leads nowhere: choose another under [egress] in your own settings"
                    self._report.status(NAME, "unhealthy", hint)
        return self._holds

    async def _spec(self, view: View) -> ContainerSpec:
        image = await self._image(Recipe(uid=view.uid, gid=view.gid, kind="egress"))
        profile = DATA / "seccomp.json"
        return ContainerSpec(
            image=image.id,
            uid=view.uid,
            gid=view.gid,
            labels={**self._labels, SERVICE: NAME},
            binds=() if view.copied else await self._resolver(),
            dns=self._name_servers() if view.copied else (),
            volumes=tuple(
                Volume(name=name, target=f"{SOCKETS}/{at}", read_only=False)
                for at, name in enumerate(self._volumes.values())
            ),
            limits=LIMITS,
            seccomp=(profile.read_text(encoding="utf-8"), str(profile)),
            network=self._context.egress.network or "default",
            open_files=OPEN_FILES,
        )

    def _name_servers(self) -> tuple[str, ...]:
        """For an engine that cannot mount a file that says so.

        Raises:
            SandboxUnavailable: The network is another container's, and so are its name servers.
        """
        settings = self._context.egress
        if settings.name_servers and settings.network.startswith("container:"):
            raise SandboxUnavailable(
                f"{self._engine.name} cannot give {settings.network!r} other name servers from here.",
                hint="Take nameServers out of [egress] in your own settings, and start that container with them.",
            )
        return settings.name_servers

    async def _resolver(self) -> tuple[Bind, ...]:
        servers = self._context.egress.name_servers
        if not servers:
            return ()
        file = self._directory / "egress-resolv.conf"

        def write() -> None:
            file.write_text("".join(f"nameserver {server}\n" for server in servers), encoding="ascii")
            file.chmod(0o444)

        await self._run(write)
        return (Bind(source=str(file), target="/etc/resolv.conf", read_only=True),)

    async def _clear(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            await self._run(gate.close)
            self._report.status(NAME, "stopped")
        await self._run(self._remove_volumes)

    # --- what blocks ------------------------------------------------------------------------------------------------

    def _make_volumes(self, view: View) -> None:
        for at, policy in enumerate(self._policies):
            name = f"perstack-{self._context.run_id}-{at}"
            labels = {**self._labels, EXPERT: policy.expert, SKILL: policy.skill}
            try:
                self._engine.create_volume(volume_body(name, labels, view, self._engine.dialect))
            except EngineFailure as error:
                raise SandboxUnavailable(f"{self._engine.name} could not make a volume: {error}") from error
            self._volumes[identity(policy)] = name

    def _start(self, spec: ContainerSpec, token: EventLoopToken) -> None:
        settings, places = self._context.egress, list(self._volumes)
        policy = gate_policy(
            self._policies,
            socket=lambda one: f"{SOCKETS}/{places.index(identity(one))}/gate.sock",
            key=lambda one: self._keys[identity(one)],
            parent=settings.parent_proxy or None,
        )
        gate, evidence = Gate.start(self._engine, spec)
        try:
            found = enforced(spec, evidence) - NETWORK_CONTROLS
            if HARDENING - found:
                missing = ", ".join(sorted(HARDENING - found))
                raise SandboxUnavailable(f"The egress container does not hold what every sandbox does: {missing}.")
            gate.serve(policy)
        except BaseException:
            gate.close()
            raise
        self._holds = found | NETWORK_CONTROLS
        if settings.parent_proxy:  # it resolves the names, so nobody here knows where they lead
            self._holds -= {"private-addresses"}
        self._leads = evidence.facts.get("interfaces") != ["lo"] or spec.network.startswith("container:")
        trail = AuditTrail(
            self._policies,
            job_id=self._context.job_id,
            run_id=self._context.run_id,
            notify=self._context.notify,
            problem=lambda text: self._report.status(NAME, "unhealthy", text),
        )
        gate.watch(
            take=lambda line: from_thread.run_sync(trail.take, line, token=token),
            ended=lambda words: from_thread.run_sync(self._lost, words, token=token),
        )
        self._gate = gate

    def _lost(self, words: str) -> None:
        """The gate ended by itself: from now on the skills of this run reach nothing."""
        self._report.status(NAME, "error", f"it ended, so no skill has a network any more: {words or 'without a word'}")
        for policy in self._policies:
            self._report.notice(policy.skill, "the egress container ended: it has no network any more")

    def _remove_volumes(self) -> None:
        """The volumes are gone; one that a container on its way out still has is given time, and then left to gc."""
        deadline = time.monotonic() + IN_USE_SECONDS
        for name in self._volumes.values():
            remove_volume(self._engine, name, deadline)
        self._volumes.clear()


def volume_body(name: str, labels: Mapping[str, str], view: View, dialect: Dialect) -> JsonObject:
    """The request that makes a volume for one socket, which the sandboxes' user may make and nobody else."""
    options: JsonObject = {}
    if dialect.volumes == "root":
        size = f"size={VOLUME_BYTES},mode=0700,uid={view.uid},gid={view.gid}"
        options = {"type": "tmpfs", "device": "tmpfs", "o": f"{size},nosuid,nodev,noexec"}
    return {"Name": name, "Driver": "local", "DriverOpts": options, "Labels": dict(labels)}
