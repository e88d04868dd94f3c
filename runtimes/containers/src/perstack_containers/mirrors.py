"""Directories of ours for an engine that cannot mount them: each is a volume, filled and read back as an archive.

A volume is held by a container that never starts. No skill runs in that one, so nothing can get between the engine and
the files that it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.errors import SandboxUnavailable
from perstack.staging.archive import fetch, pack
from perstack_proxy.limits import MIB

from perstack_containers.http import EngineFailure

if TYPE_CHECKING:
    from perstack.messages import JsonObject
    from perstack.staging.copying import Owner

    from perstack_containers.engine import ContainerEngine

CONTENT = "content"
"""The only name at the top of each archive, and where a holder has its volume."""
SMALL_BYTES = 32 * MIB
IN_USE_SECONDS = 5.0
"""For a container on its way out to let go of a volume."""
POLL_SECONDS = 0.05


@dataclass(kw_only=True, slots=True)
class Mirror:
    """What stands for a directory on the engine, and the bytes of its files when they last went there or came back."""

    volume: str
    holder: str
    size: int


class Mirrors:
    """The volumes of one run. Everything here blocks.

    Args:
        name: What the name of each volume begins with.
        labels: Of everything of the run.
    """

    def __init__(self, engine: ContainerEngine, *, name: str, labels: Mapping[str, str]) -> None:
        self._engine = engine
        self._name = name
        self._labels = labels
        self._made: dict[Path, Mirror] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._made)

    def volume(self, directory: Path, *, image: str, owner: Owner) -> str:
        """The name of the volume that holds a directory; it is filled when it is first asked for.

        Args:
            directory: Nobody changes anything in it meanwhile.
            image: Any that the engine has; nothing of it is run.
            owner: Whom everything in it belongs to.

        Raises:
            SandboxUnavailable: It could not be made.
            StagingError: The directory cannot be read.
        """
        if directory not in self._made:
            try:
                self._made[directory] = self._fill(directory, image, owner)
            except EngineFailure as error:
                raise SandboxUnavailable(
                    f"{self._engine.name} could not take a copy of {str(directory)!r}: {error}"
                ) from error
        return self._made[directory].volume

    def _fill(self, directory: Path, image: str, owner: Owner) -> Mirror:
        name = f"{self._name}-{len(self._made)}"
        self._engine.create_volume({"Name": name, "Driver": "local", "Labels": dict(self._labels)})
        holder, size = "", 0

        def fill(write: Callable[[bytes], object]) -> None:
            nonlocal size
            size = pack(directory, write, root=CONTENT, owner=owner)

        try:
            holder = self._engine.create(holder_body(image, name, self._labels))
            self._engine.write_archive(holder, "/", fill)
        except BaseException:
            with suppress(EngineFailure):
                if holder:
                    self._engine.remove(holder)
                self._engine.remove_volume(name)
            raise
        return Mirror(volume=name, holder=holder, size=size)

    def fetch(self, directory: Path, *, place: Path) -> None:
        """What is in the volume is in the directory.

        Args:
            directory: One that has a volume.
            place: A name on the same file system that is free, and free again afterwards.

        Raises:
            EngineFailure: The engine did not give it.
            StagingError: It cannot be taken; the directory is as it was.
        """
        mirror = self._made[directory]
        with self._engine.read_archive(mirror.holder, f"/{CONTENT}") as archive:
            mirror.size = fetch(archive, directory, root=CONTENT, place=place)

    def is_small(self, directory: Path) -> bool:
        """Whether it has a volume that can be fetched after each call: at most `SMALL_BYTES` when it last was."""
        return directory in self._made and self._made[directory].size <= SMALL_BYTES

    def remove(self) -> None:
        """The volumes are gone; one that a container on its way out still has is given time, and then left to gc."""
        deadline = time.monotonic() + IN_USE_SECONDS
        for mirror in self._made.values():
            with suppress(EngineFailure):
                self._engine.remove(mirror.holder)
            remove_volume(self._engine, mirror.volume, deadline)
        self._made.clear()


def remove_volume(engine: ContainerEngine, name: str, deadline: float) -> None:
    """The volume is gone, unless a container has it until `deadline`, on the clock of `time.monotonic`."""
    while True:
        try:
            engine.remove_volume(name)
            return
        except EngineFailure:
            if time.monotonic() > deadline:
                return
            time.sleep(POLL_SECONDS)


def holder_body(image: str, volume: str, labels: Mapping[str, str]) -> JsonObject:
    """The request that makes a container for a volume alone. Nothing in it can be started."""
    return {
        "Image": image,
        "Entrypoint": [],
        "Cmd": ["/nothing"],
        "Labels": dict(labels),
        "NetworkDisabled": True,
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "none", "Config": {}},
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": volume,
                    "Target": f"/{CONTENT}",
                    "ReadOnly": False,
                    "VolumeOptions": {"NoCopy": True},
                }
            ],
        },
    }
