"""What the sandboxes of one run share on the host: their reaper, their directory, their view of the workspace."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from perstack.errors import SandboxUnavailable
from perstack.ids import new_id

from perstack_containers.keeper import Keeper
from perstack_containers.labels import RUN
from perstack_containers.spec import HOSTNAME, Bind
from perstack_containers.staging import Staging
from perstack_containers.workspace import Guarded, binds, check_workspace, guarded, quarantine

if TYPE_CHECKING:
    from perstack_containers.report import Report

T = TypeVar("T")

NEVER_ROOT = 10001
"""User of a sandbox where perstack is run by root on root's own files."""
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
        directory: Path,
        kept: Path,
        socket_path: str,
        service: Service,
        report: Report,
        workers: CapacityLimiter,
    ) -> None:
        self._run_id = run_id
        self._directory = directory
        self._kept = kept
        self._socket_path = socket_path
        self._service = service
        self._report = report
        self._workers = workers
        self._lock = anyio.Lock()
        self._users = 0
        self._keeper: Keeper | None = None
        self._staging: Staging | None = None
        self._before: Guarded | None = None

    @asynccontextmanager
    async def shared(self, workspace: Path, *, skill: str, read_only: bool) -> AsyncIterator[View]:
        """The workspace for a sandbox of `skill`, with a reaper behind it.

        Raises:
            PolicyError: This directory is not given to a sandbox.
        """
        real = await self._run(lambda: check_workspace(workspace, home=Path.home(), sockets=[Path(self._socket_path)]))
        async with self._lock:
            self._users += 1
            try:
                if self._keeper is None:
                    self._keeper = await self._run(self._new_keeper)
                view = await self._run(lambda: self._view(real, read_only=read_only))
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._leave(real, skill)
                raise
        try:
            yield view
        finally:
            with anyio.CancelScope(shield=True):
                async with self._lock:
                    await self._leave(real, skill)

    async def _leave(self, real: Path, skill: str) -> None:
        self._users -= 1
        if self._staging is not None:
            self._report.applied(skill, await self._run(self._staging.apply))
        if self._users:
            return
        if self._staging is not None:
            await self._run(self._staging.drop)
            self._staging = None
        elif self._before is not None:
            before = self._before
            self._report.quarantined(skill, await self._run(lambda: quarantine(real, before, self._kept)), self._kept)
        self._before = None
        await self._run(lambda: shutil.rmtree(self._directory, ignore_errors=True))
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await self._run(keeper.done)
        directory = self._service.directory
        if directory is not None:
            await self._run(lambda: shutil.rmtree(directory, ignore_errors=True))

    def _new_keeper(self) -> Keeper:
        directories = [self._directory]
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

    def _view(self, real: Path, *, read_only: bool) -> View:
        """The workspace itself, or one copy of it for all sandboxes of the run."""
        empty = self._directory / "empty"
        if not empty.exists():
            self._make(empty)
        names = [Bind(source=str(self._directory / name), target=f"/etc/{name}", read_only=True) for name in NAME_FILES]
        uid, gid = sandbox_user(real)
        if uid != real.stat().st_uid:
            if self._staging is None:
                staging = Staging(real, self._directory / "workspace", uid=uid, gid=gid)
                staging.make()
                self._staging = staging
            real = self._staging.copy
        found = guarded(real)
        self._before = self._before or found
        mounts = binds(real, found, read_only=read_only, empty=empty)
        return View(binds=(*mounts, *names), uid=uid, gid=gid)

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


def sandbox_user(workspace: Path) -> tuple[int, int]:
    """User and group of a sandbox: the caller's, or the workspace's owner where root asks; never root's."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        owner = workspace.stat()
        uid, gid = owner.st_uid, owner.st_gid
    return (uid or NEVER_ROOT, gid or NEVER_ROOT)


def _wait_for_socket(path: str) -> None:
    deadline = time.monotonic() + SERVICE_SECONDS
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise SandboxUnavailable(f"The engine's service did not answer at {path}.", hint="See: perstack doctor")
        time.sleep(0.01)
