"""What the sandboxes of one run share on the host: their reaper, their directory, their view of the workspace."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from perstack.errors import SandboxUnavailable, StagingError
from perstack.ids import new_id
from perstack.staging.copies import About, Copies, sandbox_owner

from perstack_containers.keeper import Keeper
from perstack_containers.labels import RUN
from perstack_containers.spec import HOSTNAME, Bind
from perstack_containers.workspace import Guarded, binds, check_workspace, guarded, quarantine, set_aside

if TYPE_CHECKING:
    from perstack.staging.copies import StagedCopy

    from perstack_containers.report import Report

T = TypeVar("T")

SERVICE_SECONDS = 30.0
NAME_FILES = {"hosts": f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost\n", "resolv.conf": ""}
"""What engines would fill with names and name servers of the host."""


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
class View:
    """A workspace as one sandbox sees it."""

    binds: tuple[Bind, ...]
    uid: int
    gid: int


class Place:
    """Made for the first sandbox of a run and gone after the last; one user's run has one of its own.

    Args:
        directory: Where the run's files are while it lasts.
        workers: Runs what blocks.
    """

    def __init__(
        self,
        *,
        run_id: str,
        job_id: str,
        state_dir: Path,
        socket_path: str,
        service: Service,
        report: Report,
        workers: CapacityLimiter,
    ) -> None:
        self._run_id = run_id
        self._job_id = job_id
        self._directory = state_dir / "sandboxes" / run_id
        self._kept = state_dir / "quarantine" / run_id
        self._copies = Copies(state_dir)
        self._socket_path = socket_path
        self._service = service
        self._report = report
        self._workers = workers
        self._lock = anyio.Lock()
        self._users = 0
        self._keeper: Keeper | None = None
        self._staged: StagedCopy | None = None
        self._before: tuple[Path, Guarded] | None = None

    @asynccontextmanager
    async def shared(
        self, workspace: Path, *, skill: str, read_only: bool = False, is_copy: bool = False
    ) -> AsyncIterator[View]:
        """The workspace for a sandbox of `skill`, with a reaper behind it.

        Args:
            workspace: A directory of the host.
            skill: Who gets it.
            read_only: Whether nothing in it can be changed.
            is_copy: It is a job's copy of the workspace, whose changes are looked at when they are applied.

        Raises:
            PolicyError: This directory is not given to a sandbox.
        """
        real = await self._run(lambda: check_workspace(workspace, home=Path.home(), sockets=[Path(self._socket_path)]))
        async with self._lock:
            self._users += 1
            try:
                if self._keeper is None:
                    self._keeper = await self._run(self._new_keeper)
                view = await self._run(lambda: self._view(real, read_only=read_only, is_copy=is_copy))
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._leave(skill)
                raise
        try:
            yield view
        finally:
            with anyio.CancelScope(shield=True):
                async with self._lock:
                    await self._leave(skill)

    async def _leave(self, skill: str) -> None:
        self._users -= 1
        if self._staged is not None:
            await self._run(partial(self._bring_back, self._staged, skill, last=not self._users))
        if self._users:
            return
        if self._staged is not None:
            self._staged.close()
            self._staged = None
        if self._before is not None:
            found = await self._run(partial(quarantine, *self._before, self._kept))
            self._report.quarantined(skill, found, self._kept)
            self._before = None
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
        keeper = Keeper(
            socket_path=self._socket_path,
            labels={RUN: self._run_id},
            directories=directories,
            service=self._service.command,
            environment=self._service.environment,
        )
        if self._service.command:
            _wait_for_socket(self._socket_path)
        return keeper

    def _bring_back(self, copy: StagedCopy, skill: str, *, last: bool) -> None:
        """What was changed in the copy is on the host; at the end, what could not be brought back is set aside."""
        try:
            applied = copy.apply()
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

    def _view(self, real: Path, *, read_only: bool, is_copy: bool) -> View:
        """The workspace itself, or one copy of it for all sandboxes of the run."""
        empty = self._directory / "empty"
        if not empty.exists():
            self._make(empty)
        names = [Bind(source=str(self._directory / name), target=f"/etc/{name}", read_only=True) for name in NAME_FILES]
        owner = sandbox_owner(real)
        if owner.uid != real.stat().st_uid:
            if self._staged is None:
                about = About(id=self._run_id, job=self._job_id, workspace=str(real), purpose="rw")
                self._staged = self._copies.make(about, owner)
            real, is_copy = self._staged.workspace, True
        found = guarded(real)
        if not (is_copy or read_only or self._before):
            self._before = (real, found)
        mounts = binds(real, found, read_only=read_only, empty=empty)
        return View(binds=(*mounts, *names), uid=owner.uid, gid=owner.gid)

    def _make(self, empty: Path) -> None:
        """The run's directory, in which nobody else can look around, with what is mounted out of it."""
        empty.mkdir(parents=True)
        self._directory.chmod(0o711)
        empty.chmod(0o555)
        for name, content in NAME_FILES.items():
            (self._directory / name).write_text(content, encoding="ascii")
            (self._directory / name).chmod(0o444)

    async def _run(self, function: Callable[[], T]) -> T:
        return await to_thread.run_sync(function, limiter=self._workers)


@contextmanager
def running_service(service: Service, socket_path: str) -> Iterator[None]:
    """The engine answers inside this block, by a service of ours where it has none."""
    if not service.command:
        yield
        return
    directory = service.directory
    directories = [] if directory is None else [directory]
    for path in directories:
        path.mkdir(mode=0o700)
    keeper = Keeper(
        socket_path=socket_path,
        labels={RUN: new_id()},
        directories=directories,
        service=service.command,
        environment=service.environment,
    )
    try:
        _wait_for_socket(socket_path)
        yield
    finally:
        keeper.done()
        for path in directories:
            shutil.rmtree(path, ignore_errors=True)


def _wait_for_socket(path: str) -> None:
    deadline = time.monotonic() + SERVICE_SECONDS
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise SandboxUnavailable(f"The engine's service did not answer at {path}.", hint="See: perstack doctor")
        time.sleep(0.01)
