"""A sandbox without a network finds out which packages a skill needs; this side answers what it asks of a registry.

The sandbox's one way out is its standard output, and the only words on it that reach a registry are names of packages.
Tokens, certificates and proxies stay on this side.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import unquote

import anyio
from perstack_proxy.limits import MIB
from perstack_proxy.sanitise import sanitise

from perstack.background import background
from perstack.errors import SandboxUnavailable, SkillError
from perstack.locking import npm, pypi
from perstack.locking.fetching import Answer

if TYPE_CHECKING:
    from perstack.messages import JsonObject, JsonValue
    from perstack.protocols import SandboxProcess

SECONDS = 900.0
LINE_BYTES = 64 * MIB
REQUESTS = 5000
"""Of one resolution. A server with a thousand packages needs two for each."""
ANSWER_BYTES = 1024 * MIB
"""Of all answers to one resolution."""
NOT_HERE = Answer(status=404, type="text/plain", body=b"not here")


def resolver_argv() -> tuple[str, ...]:
    """The command line of the program that resolves; it needs nothing of the image but Python."""
    source = (files("perstack_proxy") / "resolver.py").read_text(encoding="utf-8")
    return ("python3", "-I", "-c", source)


class NpmAnswers:
    """What npm may ask for: the metadata of packages."""

    def __init__(self, registry: npm.NpmRegistry) -> None:
        self._registry = registry

    async def __call__(self, path: str) -> Answer:
        """The answer for one path of the sandbox's registry."""
        name = unquote(path.partition("?")[0].removeprefix("/npm/"))
        if not path.startswith("/npm/") or not npm.is_name(name):
            return NOT_HERE
        return await self._registry.metadata(name)


class PythonAnswers:
    """What uv may ask for: the wheels that an index has, and what is in them."""

    def __init__(self, index: pypi.PythonIndex, get: Callable[[str], Awaitable[Answer]]) -> None:
        self._index = index
        self._get = get

    async def __call__(self, path: str) -> Answer:
        """The answer for one path of the sandbox's registry."""
        kind, _, rest = unquote(path.partition("?")[0]).strip("/").partition("/")
        package, _, file = rest.partition("/")
        if not pypi.is_name(package) or (kind, bool(file)) not in {("pypi", False), ("file", True)}:
            return NOT_HERE
        found = await self._index.files(package)
        if not file:
            return Answer(status=200, type=pypi.ANSWER, body=pypi.listing(package, found)) if found else NOT_HERE
        for one in found:
            if file in {one.name, f"{one.name}.metadata"}:
                return await self._get(one.url + file.removeprefix(one.name))
        return NOT_HERE


async def consult(
    process: SandboxProcess,
    order: JsonObject,
    *,
    answer: Callable[[str], Awaitable[Answer]],
    told: Callable[[JsonObject], None] = lambda _: None,
) -> JsonObject:
    """What the resolver in the sandbox found.

    Args:
        process: The resolver, just started.
        order: What it is to do.
        answer: Answers one path of its registry.
        told: Gets every other message of it.

    Raises:
        SkillError: It failed, or took too long; carries its words.
    """
    try:
        with anyio.fail_after(SECONDS):
            pace = _Pace()
            async with background() as tasks:
                tasks.start_soon(_drain, process)
                await process.send(_line(order))
                with pace.scope:
                    async for message in _messages(process):
                        if "get" in message:
                            pace.asked()
                            tasks.start_soon(_reply, process, message, answer, pace)
                        elif isinstance(done := message.get("done"), dict):
                            return done
                        elif "failed" in message:
                            words = sanitise(str(message["failed"]))
                            raise SkillError(f"the packages could not be resolved:\n{words}")
                        else:
                            told(message)
                if pace.failure is not None:
                    raise pace.failure
    except TimeoutError:
        raise SkillError(f"the packages were not resolved within {SECONDS:g} s") from None
    raise SkillError("the resolver ended without a word", hint="It needs python3 with npm or uv in its sandbox.")


class _Pace:
    """How much one resolver has asked for.

    Attributes:
        scope: Cancelled when no answer can be had, since npm and uv would ask again and again.
        failure: Why it cannot.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.failure: SkillError | None = None
        self.one_answer = anyio.Lock()
        self._requests = 0
        self._bytes = 0

    def asked(self) -> None:
        """One more request.

        Raises:
            SkillError: It was one too many.
        """
        self._requests += 1
        if self._requests > REQUESTS:
            raise SkillError(f"the resolver asked the registry more than {REQUESTS} times")

    def answered(self, size: int) -> None:
        """So many more bytes; what is too much is not sent, and the resolver fails for want of it."""
        self._bytes += size
        if self._bytes > ANSWER_BYTES:
            raise SandboxUnavailable("the resolver asked the registry for too much")


async def _reply(
    process: SandboxProcess, message: JsonObject, answer: Callable[[str], Awaitable[Answer]], pace: _Pace
) -> None:
    try:
        found = await answer(str(message.get("path", "")))
    except SkillError as error:
        pace.failure = error
        pace.scope.cancel()
        return
    body = base64.b64encode(found.body).decode()
    reply: JsonObject = {"got": message["get"], "status": found.status, "type": found.type, "body": body}
    try:
        async with pace.one_answer:
            pace.answered(len(found.body))
            await process.send(_line(reply))
    except SandboxUnavailable:
        return  # it has ended, which is told where its lines are read


async def _messages(process: SandboxProcess) -> AsyncIterator[JsonObject]:
    data = bytearray()
    while chunk := await process.receive():
        start = len(data)  # what came before has no end of a line
        data += chunk
        while (end := data.find(b"\n", start)) >= 0:
            start = 0
            line = bytes(data[:end])
            del data[: end + 1]
            try:
                message: JsonValue = json.loads(line)
            except (ValueError, RecursionError):
                message = None
            if not isinstance(message, dict):
                raise SkillError("the resolver said what it never says")
            yield message
        if len(data) > LINE_BYTES:
            raise SkillError("the resolver said too much")


async def _drain(process: SandboxProcess) -> None:
    while await process.receive_stderr():
        pass


def _line(message: JsonObject) -> bytes:
    return json.dumps(message).encode() + b"\n"
