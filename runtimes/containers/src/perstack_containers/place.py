"""What the sandboxes of one run share on the host: their reaper, their directory, their view of the workspace."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from perstack.errors import StagingError
from perstack.staging.copies import About, Copies, sandbox_owner

from perstack_containers.host import started_keeper
from perstack_containers.http import EngineFailure
from perstack_containers.image import Recipe
from perstack_containers.labels import RUN
from perstack_containers.mirrors import Mirrors
from perstack_containers.spec import NAME_FILES, WORKSPACE, Bind, Volume, packages_bind
from perstack_containers.workspace import (
    NOTHING_MASKED,
    Guarded,
    binds,
    check_workspace,
    guarded,
    is_open,
    quarantine,
    set_aside,
)

if TYPE_CHECKING:
    from perstack.skill_policy import FileGrant, SkillPolicy
    from perstack.staging.copies import StagedCopy
    from perstack.staging.copying import Owner
    from perstack_proxy.file_policy import FilePolicy

    from perstack_containers.engine import Image
    from perstack_containers.host import Host
    from perstack_containers.keeper import Keeper
    from perstack_containers.report import Report

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """The files of this machine that one sandbox sees: mounted, or as copies in volumes of the engine.

    Attributes:
        copied: The engine can mount nothing of ours.
    """

    uid: int
    gid: int
    binds: tuple[Bind, ...] = ()
    volumes: tuple[Volume, ...] = ()
    copied: bool = False


class Place:
    """Made for the first sandbox of a run and gone after the last; one user's run has one of its own.

    Args:
        labels: Of everything of the run.
        image: Makes an image, or finds it.
        workers: Runs what blocks.
    """

    def __init__(
        self,
        *,
        run_id: str,
        job_id: str,
        state_dir: Path,
        host: Host,
        labels: Mapping[str, str],
        report: Report,
        image: Callable[[Recipe], Awaitable[Image]],
        workers: CapacityLimiter,
    ) -> None:
        self._run_id = run_id
        self._job_id = job_id
        self._directory = state_dir / "sandboxes" / run_id
        self._arrived = self._directory / "arrived"
        self._kept = state_dir / "quarantine" / run_id
        self._copies = Copies(state_dir)
        self._host = host
        self._service = host.service
        self._report = report
        self._image = image
        self._workers = workers
        self._lock = anyio.Lock()
        self._users = 0
        self._keeper: Keeper | None = None
        self._staged: StagedCopy | None = None
        self._changers: list[tuple[FilePolicy, Guarded]] = []
        self._before: dict[tuple[FileGrant, ...], tuple[Path, FilePolicy, Guarded]] = {}
        self._mirrors = Mirrors(host.engine, name=f"perstack-{run_id}-copy", labels=labels)
        self._changing: set[Path] = set()

    @asynccontextmanager
    async def shared(
        self, policy: SkillPolicy, workspace: Path, *, read_only: bool = False, is_copy: bool = False
    ) -> AsyncIterator[View]:
        """The workspace for a sandbox, with a reaper behind it.

        Args:
            policy: Of the skill that gets it.
            workspace: A directory of the host.
            read_only: Whether nothing in it can be changed.
            is_copy: It is a job's copy of the workspace, whose changes are looked at when they are applied.

        Raises:
            PolicyError: This directory is not given to a sandbox.
        """
        sockets = [Path(self._host.engine.address)]
        real = await self._run(lambda: check_workspace(workspace, home=Path.home(), sockets=sockets))
        async with self._lock:
            self._users += 1
            try:
                if self._keeper is None:
                    self._keeper = await self._run(self._new_keeper)
                if await self._run(self._host.copies):
                    owner = await self._run(lambda: sandbox_owner(real))
                    image = (await self._image(Recipe(uid=owner.uid, gid=owner.gid))).id
                    view = await self._run(
                        lambda: self._copied(policy, real, owner, image, read_only=read_only, is_copy=is_copy)
                    )
                else:
                    view = await self._run(lambda: self._mounted(policy, real, read_only=read_only, is_copy=is_copy))
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._leave(policy.skill)
                raise
        try:
            yield view
        finally:
            with anyio.CancelScope(shield=True):
                async with self._lock:
                    await self._leave(policy.skill)

    async def collect(self, copy: Path) -> None:
        """What was changed in the volume of a job's copy is in the copy, if it is small and can be had now."""
        if not self._changing:
            return
        copy = await self._run(copy.resolve)
        if copy in self._changing and self._mirrors.is_small(copy):
            with anyio.CancelScope(shield=True):
                async with self._lock:
                    if copy in self._changing:
                        with suppress(EngineFailure, StagingError):  # skills are at work in it; at the end it is told
                            await self._run(partial(self._mirrors.fetch, copy, place=self._arrived))

    async def _leave(self, skill: str) -> None:
        self._users -= 1
        if not self._users:
            await self._run(self._fetch, skill)
        if self._staged is not None and (not self._users or not self._mirrors):
            await self._run(partial(self._bring_back, self._staged, skill, last=not self._users))
        if self._users:
            return
        if self._staged is not None:
            self._staged.close()
            self._staged = None
        for real, files, before in self._before.values():
            found = await self._run(partial(quarantine, real, before, self._kept, files))
            self._report.quarantined(skill, found, self._kept)
        self._before.clear()
        self._changers.clear()
        await self._run(lambda: shutil.rmtree(self._directory, ignore_errors=True))
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await self._run(keeper.done)
        directory = self._service.directory
        if directory is not None:
            await self._run(lambda: shutil.rmtree(directory, ignore_errors=True))

    def _new_keeper(self) -> Keeper:
        directories = [self._directory, self._copies.unfinished(self._run_id)]
        if self._service.directory is not None:
            self._service.directory.mkdir(mode=0o700)
            directories.append(self._service.directory)
        return started_keeper(self._host, labels={RUN: self._run_id}, directories=directories)

    def _fetch(self, skill: str) -> None:
        """What was changed in volumes is in the copies that they were filled from, and the volumes are gone."""
        for directory in self._changing:
            try:
                self._mirrors.fetch(directory, place=self._arrived)
            except (EngineFailure, StagingError) as error:
                say = f"nothing that skills changed is brought back from the engine: {error}"
                from_thread.run_sync(self._report.notice, skill, say)
        self._changing.clear()
        self._mirrors.remove()

    def _bring_back(self, copy: StagedCopy, skill: str, *, last: bool) -> None:
        """What was changed in the copy is on the host; at the end, what could not be brought back is set aside."""
        try:
            applied = copy.apply(self._opened)
        except StagingError as error:
            if last:
                say = f"{error} Nothing of it was brought back; see: perstack changes {copy.about.id}"
                from_thread.run_sync(self._report.notice, skill, say)
            return
        if last:
            left = [change for change in applied.left if change.after is not None]
            set_aside(copy.workspace, [change.path for change in left], self._kept)
            from_thread.run_sync(self._report.not_applied, skill, applied.left, self._kept)
            copy.drop()

    def _tell_closed(self, policy: SkillPolicy) -> None:
        """A copy has no files for secrets, so none can be opened."""
        if patterns := [grant.pattern for grant in policy.files if grant.access == "read"]:
            say = f"it works on a copy, which has no files for secrets: {', '.join(patterns)} stays closed to it"
            from_thread.run_sync(self._report.notice, policy.skill, say)

    def _opened(self, path: str, directory: bool) -> bool:  # noqa: FBT001
        """Whether a control file of the run's copy is brought back: every skill that could change it may."""
        opens = [(is_open(files, path, directory=directory), masked) for files, masked in self._changers]
        return any(is_so for is_so, _ in opens) and all(is_so or masked.covers(path) for is_so, masked in opens)

    def _copied(
        self, policy: SkillPolicy, real: Path, owner: Owner, image: str, *, read_only: bool, is_copy: bool
    ) -> View:
        """A copy of the workspace on the engine, one for all sandboxes of the run; secrets never get there."""
        self._tell_closed(policy)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not is_copy:
            real = self._staged_copy(real, owner).workspace
        if not read_only:
            self._changing.add(real)
            self._changers.append((policy.file_policy, NOTHING_MASKED))
        name = self._mirrors.volume(real, image=image, owner=owner)
        volumes = [Volume(name=name, target=WORKSPACE, read_only=read_only)]
        if policy.packages is not None:
            name = self._mirrors.volume(Path(policy.packages.host), image=image, owner=owner)
            volumes.append(Volume(name=name, target=policy.packages.target, read_only=True))
        return View(uid=owner.uid, gid=owner.gid, volumes=tuple(volumes), copied=True)

    def _staged_copy(self, real: Path, owner: Owner) -> StagedCopy:
        if self._staged is None:
            about = About(id=self._run_id, job=self._job_id, workspace=str(real), purpose="rw")
            self._staged = self._copies.make(about, owner)
        return self._staged

    def _mounted(self, policy: SkillPolicy, real: Path, *, read_only: bool, is_copy: bool) -> View:
        """The workspace itself, or one copy of it for all sandboxes of the run."""
        empty = self._directory / "empty"
        if not empty.exists():
            self._make(empty)
        names = [Bind(source=str(self._directory / name), target=f"/etc/{name}", read_only=True) for name in NAME_FILES]
        owner = sandbox_owner(real)
        if owner.uid != real.stat().st_uid:
            real, is_copy = self._staged_copy(real, owner).workspace, True
        if is_copy:
            self._tell_closed(policy)
        files = policy.file_policy
        found = guarded(real, files)
        if not read_only:
            self._changers.append((files, found))
        if not (is_copy or read_only):  # what skills may do differs, so each is held to what was there before it
            first = next((before for _, _, before in self._before.values()), found)
            self._before.setdefault(policy.files, (real, files, found.since(first)))
        mounts = binds(real, found, read_only=read_only, empty=empty)
        return View(uid=owner.uid, gid=owner.gid, binds=(*mounts, *names, *packages_bind(policy)))

    def _make(self, empty: Path) -> None:
        """The run's directory, in which nobody else can look around, with what is mounted out of it."""
        empty.mkdir(parents=True)
        self._directory.chmod(0o711)
        empty.chmod(0o555)
        for name, content in NAME_FILES.items():
            (self._directory / name).write_text(content, encoding="ascii")
            (self._directory / name).chmod(0o444)

    async def _run(self, function: Callable[..., T], *args: object) -> T:
        return await to_thread.run_sync(partial(function, *args), limiter=self._workers)
