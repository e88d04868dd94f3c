"""What all runs of one job share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Protocol

from anyio import to_thread

from perstack.checkpoints import ExpertRef
from perstack.engine.budget import Budget
from perstack.engine.models import Models
from perstack.engine.recorder import Recorder
from perstack.messages import JsonObject, ToolCall, ToolDefinition, ToolResult
from perstack.policy.decide import ExpertPolicy
from perstack.protocols import Provider
from perstack.tools.catalogue import Tool


class Tools(Protocol):
    """The tools of one run, with its skills up."""

    @property
    def definitions(self) -> tuple[ToolDefinition, ...]:
        """What the model is told."""
        ...

    def find(self, name: str) -> Tool | None:
        """The tool that the model means by `name`, or None."""
        ...

    def __iter__(self) -> Iterator[Tool]:
        """All of them."""
        ...

    async def admit(self, call: ToolCall) -> ToolResult | None:
        """None when a call of any kind may go ahead, else the result that says why not."""
        ...

    async def call(self, call: ToolCall) -> ToolResult:
        """The result of a call to a skill, whatever happens; only cancellation escapes. It was not admitted yet."""
        ...


class OpenTools(Protocol):
    """Opens an Expert's skills for a run."""

    def __call__(self, policy: ExpertPolicy, run_id: str, *, interactive: bool) -> AbstractAsyncContextManager[Tools]:
        """The Expert's tools; `interactive` says whether a person can be asked."""
        ...


class ModelClient:
    """The provider, made on first use, so that its imports can overlap with the start of the skills."""

    def __init__(self, make: Callable[[], Provider]) -> None:
        self._make = make
        self._making = Lock()
        self._provider: Provider | None = None

    def get(self) -> Provider:
        """The one provider of the job."""
        with self._making:
            if self._provider is None:
                self._provider = self._make()
            return self._provider

    async def warm_up(self) -> None:
        """Make the provider now, beside whatever is starting. A failure is left to `get`."""
        with suppress(Exception):
            await to_thread.run_sync(self.get)

    async def aclose(self) -> None:
        """Close the provider, if there is one."""
        if self._provider is not None:
            await self._provider.aclose()


AskPerson = Callable[[ToolCall], Awaitable[str | None]]
"""Asks the person at the terminal; None when nobody is there, and the job has to wait."""


async def nobody_answers(_call: ToolCall) -> str | None:
    """A job without a terminal waits for ``-i``."""
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobContext:
    """What all runs of one job share.

    Attributes:
        experts: Every Expert that can take part, by key.
        max_retries: Further attempts at a failed generation.
        timeout: Seconds for one generation.
        provider_tools: The vendor's tools of each Expert with their options, by the Expert's key and the tool's name.
    """

    recorder: Recorder
    client: ModelClient
    models: Models
    budget: Budget
    experts: Mapping[str, ExpertPolicy]
    open_tools: OpenTools
    workspace: Path
    max_retries: int
    timeout: float
    ask_person: AskPerson = nobody_answers
    provider_tools: Mapping[str, Mapping[str, JsonObject]] = field(default_factory=dict)

    def ref(self, key: str) -> ExpertRef:
        """The Expert `key` as events name it."""
        expert = self.experts[key].expert
        return ExpertRef(key=key, name=expert.name, version=expert.version)
