"""What stands outside of the sandboxes that are put to the proof: things to steal, services to reach, and who sees it.

The evidence for what did not happen comes from here, and not only from the program inside.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from perstack.background import background

if TYPE_CHECKING:
    from anyio.abc import ByteStream, Listener, TaskGroup

    from perstack.proving.sweeper import Sweeper

CANARY = "PERSTACK_CANARY"
UNIX = "the unix socket"
MOST_ADDRESSES = 8
MOST_BYTES = 256
SELF_CHECK_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """The host's side.

    Attributes:
        mark: A random word; whoever shows it outside of this process got through.
        baits: Directories of the host that no sandbox is given; each holds a file `canary`.
        decoy: A word in the variables of a process of this user.
        canary: Name of those files, which ends with what they hold.
        unix: Path of a unix socket that answers.
        abstract: Name of one that has no file.
        services: Addresses and ports that answer; each one was tried from here.
        udp: The same, for datagrams.
        arrived: Where `mark` arrived, by name of the service, once for each skill that sent it.
    """

    mark: str
    decoy: str
    baits: tuple[Path, ...]
    canary: str
    unix: Path
    abstract: str
    services: tuple[tuple[str, int], ...]
    udp: tuple[tuple[str, int], ...]
    arrived: dict[str, set[str]] = field(default_factory=dict)

    def marked(self, skill: int) -> str:
        """The mark as one skill shows it."""
        return f"{self.mark}:{skill}."

    def arrivals(self, skill: int) -> tuple[str, ...]:
        """Where that skill's mark arrived."""
        return tuple(sorted(place for place, marks in self.arrived.items() if self.marked(skill) in marks))

    def made(self, skill: int) -> tuple[str, ...]:
        """Files with that skill's mark that somebody made in the baits."""
        mark = self.marked(skill)
        found = [path for bait in self.baits for path in bait.glob("made-*") if path.is_file()]
        return tuple(sorted(str(path) for path in found if _begins_with(path, mark)))


def _begins_with(path: Path, mark: str) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(MOST_BYTES) == mark.encode()
    return False


@asynccontextmanager
async def outside(places: Sequence[Path], sweeper: Sweeper) -> AsyncIterator[Host]:
    """The host's side while sandboxes are put to the proof; nothing of it stays, also when this process is killed.

    Args:
        places: Directories that get a bait each.
        sweeper: Removes them when we cannot, and is a process of this user to spy on.
    """
    mark = secrets.token_hex(16)
    async with AsyncExitStack() as stack:
        canary = f"canary-{mark}"
        baits = tuple(stack.enter_context(_bait(sweeper, place, canary, mark)) for place in places)
        stack.enter_context(_variable(CANARY, mark))
        tasks = await stack.enter_async_context(background())
        ears = _Ears(tasks, mark)
        unix = baits[0] / "answers.sock"
        abstract = f"perstack-{mark}"
        await ears.unix(str(unix), UNIX)
        await ears.unix(f"\0{abstract}", "the unix socket without a file")
        with suppress(OSError):
            unix.chmod(0o666)
        services, udp = await ears.tcp(), await ears.udp()
        yield Host(
            mark=mark,
            decoy=sweeper.decoy,
            baits=baits,
            canary=canary,
            unix=unix,
            abstract=abstract,
            services=services,
            udp=udp,
            arrived=ears.arrived,
        )


@contextmanager
def _bait(sweeper: Sweeper, place: Path, canary: str, mark: str) -> Iterator[Path]:
    """A directory that anybody who sees it may use, so that only the boundary keeps a skill from it."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with sweeper.directory(place, "perstack-prove-") as bait:
        bait.chmod(0o777)
        (bait / canary).write_text(mark, encoding="ascii")
        (bait / canary).chmod(0o644)
        yield bait


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """A variable of this process that no skill asked for."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


class _Ears:
    """Services of this machine that note whose mark arrives; whatever else is sent to them is forgotten."""

    def __init__(self, tasks: TaskGroup, mark: str) -> None:
        self._tasks = tasks
        self._mark = mark
        self.arrived: dict[str, set[str]] = {}

    async def unix(self, path: str, name: str) -> None:
        """A unix socket answers, where this machine has such."""
        with suppress(OSError, ValueError):
            self._serve(await anyio.create_unix_listener(path), name)

    async def tcp(self) -> tuple[tuple[str, int], ...]:
        """A service on every address of this machine; those are told that answer from here."""
        answering = []
        for address in addresses():
            with suppress(OSError):
                for listener in (await anyio.create_tcp_listener(local_host=address)).listeners:
                    port = int(listener.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 - no query
                    self._serve(listener, f"{address} port {port}")
                    with suppress(OSError), anyio.move_on_after(SELF_CHECK_SECONDS):
                        async with await anyio.connect_tcp(address, port):
                            answering.append((address, port))
        return tuple(answering)

    async def udp(self) -> tuple[tuple[str, int], ...]:
        """The same for datagrams, on addresses of version 4."""
        answering = []
        for address in (each for each in addresses() if ":" not in each):
            with suppress(OSError):
                receiver = await anyio.create_udp_socket(family=socket.AF_INET, local_host=address)
                port = int(receiver.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 - no query
                self._tasks.start_soon(self._receive, receiver, f"datagrams to {address} port {port}")
                answering.append((address, port))
        return tuple(answering)

    def _note(self, name: str, data: bytes) -> None:
        text = data.decode("latin-1")
        if text.startswith(self._mark):
            self.arrived.setdefault(name, set()).add(text[:MOST_BYTES])

    async def _receive(self, receiver: anyio.abc.UDPSocket, name: str) -> None:
        async with receiver:
            async for data, _ in receiver:
                self._note(name, data)

    def _serve(self, listener: Listener[ByteStream], name: str) -> None:
        async def answer(client: ByteStream) -> None:
            async with client:
                data = b""
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError), anyio.move_on_after(SELF_CHECK_SECONDS):
                    while len(data) < MOST_BYTES:
                        data += await client.receive(MOST_BYTES)
                self._note(name, data)

        async def serve() -> None:
            async with listener:
                await listener.serve(answer)

        self._tasks.start_soon(serve)


def addresses() -> tuple[str, ...]:
    """This machine's own addresses, loopback first; no more than a few of them."""
    found = ["127.0.0.1"]
    with suppress(OSError):
        lines = Path("/proc/net/fib_trie").read_text(encoding="ascii").splitlines()
        for before, line in pairwise(lines):
            if "/32 host LOCAL" in line:
                found.append(before.split()[-1])
    with suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines():
            digits, _, _, scope = line.split()[:4]
            if scope in {"00", "10"}:  # global and host; link-local ones need the name of a device
                found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)))
    return tuple(dict.fromkeys(found))[:MOST_ADDRESSES]
