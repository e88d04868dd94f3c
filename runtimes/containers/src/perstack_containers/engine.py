"""What a runtime asks of a container engine. Plain values cross this seam; no type of an SDK does.

Every method blocks and is called from worker threads. Errors are `EngineFailure`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from socket import socket
from typing import IO, Literal, Protocol

from perstack.messages import JsonObject


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineFacts:
    """What an engine says of itself.

    Attributes:
        cgroups: Version of the control groups that it uses, 1 or 2.
        seccomp: Whether it filters system calls.
        architecture: The machine's, in the engine's words, such as ``amd64``.
    """

    version: str
    rootless: bool
    cgroups: int
    seccomp: bool
    architecture: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """Where engines that answer the same API differ.

    Attributes:
        seccomp: Whether a profile is passed as its text, or as the path of its file.
        userns: User namespace of each container; empty means the engine's own choice.
        volumes: Whether a new volume belongs to root and needs a file system of its own for another owner, or belongs
            to the user of the first container that mounts it.
    """

    seccomp: Literal["text", "path"] = "text"
    userns: str = ""
    volumes: Literal["root", "first"] = "root"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A container, running or not, or a volume, whose id is its name."""

    id: str
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A container that runs.

    Attributes:
        connection: Its three standard streams.
        state: What the engine knew of it right after its start.
    """

    id: str
    connection: socket
    state: JsonObject


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image that is there.

    Attributes:
        digests: Names by which a registry gives exactly this image; none if it was made here.
    """

    id: str
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    size: int = 0


class ContainerEngine(Protocol):
    """Containers of one engine."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def address(self) -> str:
        """Where it answers: the path of a unix socket, or ``tcp://HOST:PORT``."""
        ...

    @property
    def dialect(self) -> Dialect:
        """How it wants to be spoken to."""
        ...

    def facts(self) -> EngineFacts:
        """What it says of itself."""
        ...

    def image(self, name: str) -> Image | None:
        """The image of that tag or id, or None."""
        ...

    def create(self, body: JsonObject) -> str:
        """The id of a new container, not started."""
        ...

    def attach(self, container: str) -> socket:
        """Its three standard streams, before it is started."""
        ...

    def start(self, container: str) -> None:
        """Start it."""
        ...

    def inspect(self, container: str) -> JsonObject:
        """What the engine knows of it."""
        ...

    def wait(self, container: str) -> int:
        """Its exit code, once it has ended."""
        ...

    def remove(self, container: str) -> None:
        """It is gone with all that ran in it; one that is gone already is no error."""
        ...

    def write_archive(self, container: str, at: str, fill: Callable[[Callable[[bytes], object]], None]) -> None:
        """The tar archive that `fill` writes with what it is given is unpacked in its directory `at`."""
        ...

    def read_archive(self, container: str, at: str) -> AbstractContextManager[IO[bytes]]:
        """Its directory `at` as a tar archive, with that directory's name at its top."""
        ...

    def list(self, labels: Mapping[str, str]) -> tuple[Found, ...]:
        """The containers with all of these labels; an empty value stands for any."""
        ...

    def create_volume(self, body: JsonObject) -> None:
        """A new volume of that name."""
        ...

    def remove_volume(self, name: str) -> None:
        """It is gone; one that is gone already is no error."""
        ...

    def volumes(self, labels: Mapping[str, str]) -> tuple[Found, ...]:
        """The volumes with all of these labels; an empty value stands for any."""
        ...


def start(engine: ContainerEngine, body: JsonObject) -> Started:
    """A new container that runs. Its steps follow one another without a look at our own event loop, which is at work.

    Raises:
        EngineFailure: It could not be made or started; nothing of it is left.
    """
    container = engine.create(body)
    connection = None
    try:
        connection = engine.attach(container)
        engine.start(container)
        return Started(id=container, connection=connection, state=engine.inspect(container))
    except BaseException:
        if connection is not None:
            connection.close()
        engine.remove(container)
        raise


class ImageStore(Protocol):
    """Images of one engine; an SDK does the work."""

    def build(self, context: bytes, *, tag: str, args: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[str]:
        """The engine's lines while it makes an image from a tar archive; the image is there when they end."""
        ...

    def images(self, label: str) -> tuple[Image, ...]:
        """The images that have this label."""
        ...

    def remove(self, image: str) -> None:
        """Remove an image that no container uses."""
        ...
