"""A container engine as its adapter hands it over, and the service that some engines need while containers run."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.errors import Problem, SandboxUnavailable
from perstack.ids import new_id

from perstack_containers.keeper import Keeper
from perstack_containers.labels import RUN, owner_name

if TYPE_CHECKING:
    from perstack_containers.engine import ContainerEngine, ImageStore

SERVICE_SECONDS = 30.0


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
        far: Whether the engine is on another machine, and not for this machine's users alone.
        copies: Whether sandboxes work on copies that the engine holds, because it cannot mount ours, or not as the
            right user.
    """

    engine: ContainerEngine
    images: Callable[[], ImageStore]
    preflight: Callable[[], tuple[Problem, ...]]
    service: Service = field(default_factory=Service)
    far: bool = False
    copies: Callable[[], bool] = lambda: False


def service_directory(environ: Mapping[str, str], run_id: str) -> Path:
    """Where a service of a run has its socket: in the user's own runtime directory, if there is one."""
    import tempfile

    own = environ.get("XDG_RUNTIME_DIR", "")
    place = own if os.path.isdir(own) and os.access(own, os.W_OK) else tempfile.gettempdir()
    return Path(place) / f"perstack-{run_id[:12]}"


@contextmanager
def running_service(host: Host) -> Iterator[None]:
    """The engine answers inside this block, by a service of ours where it has none."""
    if not host.service.command:
        yield
        return
    directory = host.service.directory
    directories = [] if directory is None else [directory]
    for path in directories:
        path.mkdir(mode=0o700)
    keeper = started_keeper(host, labels={RUN: new_id()}, directories=directories)
    try:
        yield
    finally:
        keeper.done()
        for path in directories:
            shutil.rmtree(path, ignore_errors=True)


def started_keeper(host: Host, *, labels: Mapping[str, str], directories: Sequence[Path]) -> Keeper:
    """A reaper that waits, and the engine's service, which answers.

    Raises:
        SandboxUnavailable: The service did not answer.
    """
    keeper = Keeper(
        address=host.engine.address,
        owner=owner_name(far=host.far),
        labels=labels,
        directories=directories,
        service=host.service.command,
        environment=host.service.environment,
    )
    if host.service.command:
        try:
            _wait_for_socket(host.engine.address)
        except BaseException:
            keeper.done()
            raise
    return keeper


def _wait_for_socket(path: str) -> None:
    deadline = time.monotonic() + SERVICE_SECONDS
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise SandboxUnavailable(f"The engine's service did not answer at {path}.", hint="See: perstack doctor")
        time.sleep(0.01)
