"""What stands between a vendor's format and HTTP: events in a body, and answers that are made of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from perstack.messages import FinishReason, Usage
from perstack.model_http.failures import malformed
from perstack.model_http.sse import server_sent_events
from perstack.protocols import Finish, StreamPart

if TYPE_CHECKING:
    import httpx2


T = TypeVar("T")


class Event(Protocol):
    """One event of a stream; `event` is ``message`` where the server gave no name."""

    @property
    def event(self) -> str:
        """The event's name."""
        ...

    @property
    def data(self) -> str:
        """Its text, JSON in all formats."""
        ...


class Answer(Protocol):
    """One answer in a vendor's format, from its first event to its end."""

    @property
    def is_end(self) -> Callable[[Event], bool] | None:
        """Whether an event says that the answer is whole; None where the end of the body is the end."""
        ...

    def feed(self, event: Event) -> Iterable[StreamPart]:
        """The parts of one event.

        Raises:
            ProviderError: It is an error, or no event of the format.
        """
        ...

    def end(self) -> Iterable[StreamPart]:
        """The parts that stand only once everything arrived; the last is the finish.

        Raises:
            ProviderError: The model had not finished.
        """
        ...


def decoded(decoder: msgspec.json.Decoder[T], data: str | msgspec.Raw, *, provider: str) -> T:
    """What `data` says.

    Raises:
        ProviderError: It is nothing of the format.
    """
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise malformed(provider, f"an event that is none: {error}") from None


def finished(reason: FinishReason, word: str, usage: Usage) -> Finish:
    """The last part of an answer, with the vendor's own `word` where the reason does not say it."""
    return Finish(reason=reason, usage=usage, word=word if reason in ("other", "error") else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Framing:
    """How events stand in a body.

    Attributes:
        content_type: What the server calls such a body.
        events: The events of a response, each of no more bytes than given; ValueError where there is none.
    """

    content_type: str
    events: Callable[[httpx2.Response, int], AsyncIterator[Event]]


SERVER_SENT_EVENTS = Framing(content_type="text/event-stream", events=server_sent_events)
