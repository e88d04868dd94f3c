"""The objects that plugins implement. All of their methods may await; none is called before its factory ran.

Lifecycles are context managers: what was opened is closed once, also on cancellation and on errors.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from perstack.errors import Problem
from perstack.messages import (
    ContentPart,
    FinishReason,
    JsonObject,
    JsonValue,
    Message,
    ToolDefinition,
    Usage,
    VendorPart,
)
from perstack.skill_policy import Control, SkillPolicy
from perstack.specs import ModelInfo

# --- sandboxes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxRequest:
    """A sandbox that a run asks for.

    Attributes:
        policy: The decided policy; the sandbox allows nothing beyond it.
        env: Values for the names of `policy.env`. Secrets: never on a command line, in a label or in a log.
        workspace: Host directory that the sandbox sees, resolved: the workspace, or the job's copy of it. Where the
            policy says ``overlay`` and this is the workspace itself, nothing in it may be changed.
    """

    policy: SkillPolicy
    env: Mapping[str, str] = field(repr=False)
    workspace: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Preflight:
    """Whether a runtime can work on this host; each problem says what to do."""

    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing stands in the way."""
        return not self.problems


class SandboxProcess(Protocol):
    """A process inside a sandbox, spoken to over its standard streams."""

    async def send(self, data: bytes) -> None:
        """Write all of `data` to standard input.

        Raises:
            SandboxUnavailable: The process or its sandbox is gone.
        """
        ...

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes of standard output; empty at its end."""
        ...

    async def receive_stderr(self, max_bytes: int = 65536) -> bytes:
        """The next bytes of standard error; empty at its end."""
        ...

    async def wait(self) -> int:
        """The exit code, or minus the signal's number; a non-zero code is a result."""
        ...

    async def terminate(self, *, grace: float) -> None:
        """End the whole process tree: gently, and by force after `grace` seconds. Calling it again is harmless."""
        ...


class Sandbox(Protocol):
    """The boundary around one skill. `enforced` is what is true of it now, not what was hoped."""

    @property
    def id(self) -> str:
        """Names the sandbox and everything in it."""
        ...

    @property
    def enforced(self) -> frozenset[Control]:
        """The controls that hold, read back after the start where the runtime can."""
        ...

    async def start(self) -> SandboxProcess:
        """Start the policy's command inside.

        Raises:
            SandboxUnavailable: It could not be started; says why.
        """
        ...


class Runtime(Protocol):
    """A way to run skills."""

    async def preflight(self) -> Preflight:
        """Whether this runtime can work here. Starts nothing."""
        ...

    def open(self, request: SandboxRequest) -> AbstractAsyncContextManager[Sandbox]:
        """A sandbox for one skill of one run; leaving the context ends everything inside.

        Raises:
            SandboxUnavailable: The sandbox could not be made.
        """
        ...

    async def reap(self) -> tuple[str, ...]:
        """End what crashed runs left behind, found by our own labels only. Returns the names of what was ended."""
        ...


@runtime_checkable
class Collecting(Protocol):
    """A runtime, if its sandboxes may work elsewhere than in the directory that they were given."""

    async def collect(self, workspace: Path) -> None:
        """What its sandboxes have changed so far is in that directory, if it can be had now; raises nothing."""
        ...


# --- skills --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class SkillTool:
    """A tool as its server describes it: untrusted words."""

    name: str
    description: str
    input_schema: JsonObject
    output_schema: JsonObject | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CallOutcome:
    """What a server answered to a call."""

    contents: tuple[ContentPart, ...]
    is_error: bool = False
    structured: JsonValue = None


class SkillSession(Protocol):
    """A connected skill."""

    @property
    def server_name(self) -> str:
        """What the server calls itself; untrusted."""
        ...

    @property
    def server_version(self) -> str:
        """The server's own version; untrusted."""
        ...

    @property
    def tools(self) -> Sequence[SkillTool]:
        """The tools that it offers now."""
        ...

    async def call(self, name: str, args: JsonObject, *, timeout: float) -> CallOutcome:
        """Call a tool of the server by the server's own name for it.

        Raises:
            ToolError: The call failed, timed out after `timeout` seconds, or the server is gone; the run goes on.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """A connection that perstack itself made, or refused; `reason` says why it was refused."""

    allowed: bool
    domain: str
    port: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a server asks the person: its words, and the JSON Schema of the answer. Both are untrusted."""

    skill: str
    message: str
    schema: JsonObject


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What a server asks the run's model: untrusted words. `max_tokens` is the most that the answer may have."""

    skill: str
    messages: tuple[tuple[Literal["user", "assistant"], str], ...]
    system: str
    max_tokens: int


Elicit: TypeAlias = Callable[[Question], Awaitable["JsonObject | None"]]
"""Puts a server's question to the person; None when they decline, or nobody is there."""

Complete: TypeAlias = Callable[[Sample], Awaitable[str]]
"""Puts a server's question to the run's model.

Raises:
    ToolError: It cannot be answered; the server is told so.
"""


def _unrecorded(_access: Access) -> None:
    """For transports whose connections are a sandbox's business."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectRequest:
    """A skill to connect to. `process` is None for skills without a sandbox.

    Attributes:
        env: Values of `policy.env`, for the headers of a remote skill. Secrets: never in an error or a log.
        access: Told of each connection that the transport makes or refuses.
        gate: The unix socket of the gate that its connections go through, or None.
        elicit: The way to the person, or None where the policy or the run has none.
        complete: The way to the run's model, or None likewise.
        violation: Told of each breach of the protocol that was dropped, already bounded and sanitised.
        notice: Told of what the server says beside its answers: log messages, progress, a changed list of tools;
            bounded and sanitised too.
    """

    policy: SkillPolicy
    process: SandboxProcess | None
    workspace: Path
    violation: Callable[[str], None]
    notice: Callable[[str], None]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    access: Callable[[Access], None] = _unrecorded
    gate: str | None = None
    elicit: Elicit | None = None
    complete: Complete | None = None


class Transport(Protocol):
    """A way to talk to skills of one type."""

    def connect(self, request: ConnectRequest) -> AbstractAsyncContextManager[SkillSession]:
        """A session after handshake and tool listing.

        Raises:
            SkillError: The skill did not answer as the protocol demands, or in time.
        """
        ...


# --- models --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateRequest:
    """One question to a model.

    Attributes:
        reasoning_tokens: Budget for reasoning; 0 means none.
        timeout: Seconds for the whole answer.
        max_output_tokens: Limit of the answer, or None for the model's own.
        provider_tools: Options of the tools that run at the vendor, by name; the provider ignores unknown ones.
        info: What is known of the model, or None where the provider has to look itself.
        output_schema: The JSON Schema that the text of an answer is held to; all of its objects are closed.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...]
    timeout: float
    reasoning_tokens: int = 0
    max_output_tokens: int | None = None
    provider_tools: Mapping[str, JsonObject] = field(default_factory=dict)
    info: ModelInfo | None = None
    output_schema: JsonObject | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReasoningDelta:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TextEnd:
    """A block of text is complete; `signature` goes back to the vendor unchanged. Blocks without one need no end."""

    signature: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReasoningEnd:
    """A block of reasoning is complete; `signature` goes back to the vendor unchanged."""

    signature: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallRequest:
    """A whole tool call. `args` is None when the model's arguments were no JSON object; `raw_args` is what it wrote."""

    id: str
    name: str
    args: JsonObject | None
    raw_args: str
    signature: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """The last part of every answer that arrived whole; `word` is the vendor's own for a reason that nobody knows."""

    reason: FinishReason
    usage: Usage
    word: str = ""


StreamPart: TypeAlias = TextDelta | TextEnd | ReasoningDelta | ReasoningEnd | ToolCallRequest | VendorPart | Finish


class Provider(Protocol):
    """A connection to one vendor's models with one set of credentials."""

    def generate(self, request: GenerateRequest) -> AsyncGenerator[StreamPart, None]:
        """The answer's parts as they arrive; the last is `Finish`. Closing the generator closes the connection.

        Raises:
            ProviderError: The server refused or failed, the answer was cut, or time ran out.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


# --- journals ------------------------------------------------------------------------------------------------------


class JournalWriter(Protocol):
    """The one writer of one job's journal."""

    @property
    def head(self) -> str:
        """The chain's newest link: whoever keeps it can prove later that nothing before it changed."""
        ...

    def append(self, event: bytes) -> None:
        """Add one event, as redacted JSON."""
        ...

    def keep(self, text: str) -> str:
        """Keep a redacted text beside the journal; returns the name to ask for it with."""
        ...

    def kept(self, name: str) -> str:
        """The text that `keep` named.

        Raises:
            JournalCorrupt: There is none of that name, or it was changed.
        """
        ...

    def sync(self) -> None:
        """Everything appended is on disk when this returns."""
        ...

    def close(self) -> None:
        """Sync, and let others write. Calling it again is harmless."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One journaled event, with its position (1-based) and its link of the chain."""

    seq: int
    event: bytes
    link: str


class JournalStore(Protocol):
    """Where the journals of all jobs are."""

    def create(self, job_id: str) -> JournalWriter:
        """A journal for a new job.

        Raises:
            JournalError: The job exists already.
        """
        ...

    def reopen(self, job_id: str) -> JournalWriter:
        """The journal of a job that goes on; a torn last line is cut off first.

        Raises:
            JobNotFound: There is none.
            JournalLocked: Another process is writing it.
            JournalCorrupt: Its chain does not hold.
        """
        ...

    def read(self, job_id: str) -> Iterator[Record]:
        """Every whole record, oldest first, with its chain checked.

        Raises:
            JobNotFound: There is none.
            JournalCorrupt: A link does not hold; records before it were yielded.
        """
        ...

    def jobs(self) -> Sequence[str]:
        """Ids of all jobs, newest first."""
        ...


class EventSink(Protocol):
    """A receiver of events."""

    async def emit(self, event: bytes) -> None:
        """Take one event as redacted JSON. Errors are counted and logged, never raised into the run."""
        ...

    async def aclose(self) -> None:
        """Flush and close."""
        ...
