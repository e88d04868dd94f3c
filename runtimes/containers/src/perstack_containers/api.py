"""An engine that answers the Docker API; Podman's service answers the same requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from socket import socket
from threading import Lock
from typing import IO
from urllib.parse import quote

from perstack.messages import JsonObject, object_of

from perstack_containers.engine import Dialect, EngineFacts, Found, Image
from perstack_containers.http import (
    EngineFailure,
    call,
    containers,
    hijack,
    read_archive,
    remove,
    remove_volume,
    server,
    volumes,
    write_archive,
)


class ApiEngine:
    """A `ContainerEngine` over HTTP; each call is a connection of its own.

    Containers in user namespaces are made one after another: Podman reads the numbers of users for each with a library
    that is not made for threads, and sometimes finds none, or falls over, when it makes two at once.
    """

    def __init__(self, name: str, address: str, dialect: Dialect) -> None:
        self.name = name
        self.address = address
        self.dialect = dialect
        self._facts: EngineFacts | None = None
        self._making: AbstractContextManager[object] = Lock() if dialect.userns else nullcontext()

    def facts(self) -> EngineFacts:
        """What it says of itself, which stays true while we live."""
        if self._facts is None:
            self._facts = self._asked()
        return self._facts

    def _asked(self) -> EngineFacts:
        info = object_of(call(self.address, "GET", "/info"))
        options = [str(option) for option in _items(info.get("SecurityOptions"))]
        return EngineFacts(
            version=str(info.get("ServerVersion", "")),
            rootless=any("rootless" in option for option in options) or info.get("Rootless") is True,
            cgroups=2 if str(info.get("CgroupVersion")) == "2" else 1,
            seccomp=any("seccomp" in option for option in options),
            architecture=str(info.get("Architecture", "")),
        )

    def version(self) -> str:
        """Its version. Podman asks its helpers, and they the machine's packages, before it tells all of its facts."""
        return server(self.address).partition("/")[2].partition(" ")[0]

    def image(self, name: str) -> Image | None:
        """The image of that tag or id, or None."""
        try:
            found = object_of(call(self.address, "GET", f"/images/{quote(name, safe='')}/json"))
        except EngineFailure as error:
            if error.status == 404:
                return None
            raise
        labels = object_of(object_of(found.get("Config")).get("Labels"))
        return Image(
            id=_id(found),
            digests=tuple(map(str, _items(found.get("RepoDigests")))),
            labels={name: str(value) for name, value in labels.items()},
        )

    def create(self, body: JsonObject) -> str:
        """The id of a new container, not started."""
        with self._making:
            return _id(object_of(call(self.address, "POST", "/containers/create", body=body)))

    def attach(self, container: str) -> socket:
        """Its three standard streams, before it is started."""
        query = dict.fromkeys(("stream", "stdin", "stdout", "stderr"), "1")
        return hijack(self.address, f"/containers/{container}/attach", query=query)

    def start(self, container: str) -> None:
        """Start it."""
        call(self.address, "POST", f"/containers/{container}/start")

    def inspect(self, container: str) -> JsonObject:
        """What the engine knows of it."""
        return object_of(call(self.address, "GET", f"/containers/{container}/json"))

    def wait(self, container: str) -> int:
        """Its exit code, once it has ended."""
        answer = object_of(call(self.address, "POST", f"/containers/{container}/wait"))
        code = answer.get("StatusCode")
        return code if isinstance(code, int) else -1

    def remove(self, container: str) -> None:
        """It is gone with all that ran in it; one that is gone already is no error."""
        remove(self.address, container)

    def write_archive(self, container: str, at: str, fill: Callable[[Callable[[bytes], object]], None]) -> None:
        """The tar archive that `fill` writes is unpacked in its directory `at`."""
        write_archive(self.address, container, at, fill)

    def read_archive(self, container: str, at: str) -> AbstractContextManager[IO[bytes]]:
        """Its directory `at` as a tar archive."""
        return read_archive(self.address, container, at)

    def list(self, labels: Mapping[str, str]) -> tuple[Found, ...]:
        """The containers with all of these labels; an empty value stands for any."""
        return tuple(Found(id=name, labels=found) for name, found in containers(self.address, labels))

    def create_volume(self, body: JsonObject) -> None:
        """A new volume of that name."""
        call(self.address, "POST", "/volumes/create", body=body)

    def remove_volume(self, name: str) -> None:
        """It is gone; one that is gone already is no error."""
        remove_volume(self.address, name)

    def volumes(self, labels: Mapping[str, str]) -> tuple[Found, ...]:
        """The volumes with all of these labels; an empty value stands for any."""
        return tuple(Found(id=name, labels=found) for name, found in volumes(self.address, labels))


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _id(answer: JsonObject) -> str:
    found = answer.get("Id")
    if not isinstance(found, str) or not found:
        raise EngineFailure("the engine gave no id")
    return found
