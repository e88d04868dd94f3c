"""What a tool gets and what it gives back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, cast

from perstack_skill_base.errors import ToolError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from perstack_skill_base.limits import Bounds
    from perstack_skill_base.outputs import Outputs
    from perstack_skill_base.paths import Workspace
    from perstack_skill_base.tools.todo import TodoList


#: When the server was started; this module is loaded then, the tools are not.
STARTED = time.monotonic()


class Arguments:
    """The arguments of a call. The schema was checked, so a member that is there has its declared type."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        return cast("str", self._values.get(name, default))

    def integer(self, name: str, default: int = 0) -> int:
        """A whole number."""
        return cast("int", self._values.get(name, default))

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True or false."""
        return cast("bool", self._values.get(name, default))

    def texts(self, name: str) -> list[str]:
        """Strings; none if it was left out."""
        return cast("list[str]", self._values.get(name, []))

    def integers(self, name: str) -> list[int]:
        """Whole numbers; none if it was left out."""
        return cast("list[int]", self._values.get(name, []))

    def objects(self, name: str) -> list[Arguments]:
        """Objects; none if it was left out."""
        return [Arguments(value) for value in cast("list[dict[str, object]]", self._values.get(name, []))]

    def mapping(self, name: str) -> dict[str, str]:
        """Names and strings; none if it was left out."""
        return cast("dict[str, str]", self._values.get(name, {}))


class Call(NamedTuple):
    """One call of a tool and what it may use.

    Attributes:
        arguments: Checked against the tool's schema.
        workspace: The only way to files.
        todos: The list of this server process, which is the list of this run.
        outputs: What commands of this server process printed beyond their results.
        bounds: How much a tool may do and return.
        cancelled: Set when the client no longer wants the answer or the server ends.
        progress: Tells the client how far the call is: a number that grows, and words; None if it does not ask.
    """

    arguments: Arguments
    workspace: Workspace
    todos: TodoList
    outputs: Outputs
    bounds: Bounds
    cancelled: threading.Event
    progress: Callable[[int, str], None] | None = None

    def watch(self) -> Callable[[], None]:
        """A check to repeat in long work.

        Raises:
            ToolError: By the check: the call was cancelled, or has taken longer than it may.
        """
        deadline = time.monotonic() + self.bounds.file_ms / 1000

        def check() -> None:
            if self.cancelled.is_set():
                raise ToolError("Cancelled", "The call was cancelled before it was done.")
            if time.monotonic() > deadline:
                raise ToolError(
                    "TimedOut", f"It took longer than {self.bounds.file_ms} ms. Do a part of it, or use exec."
                )

        return check


class ToolResult(NamedTuple):
    """The answer to a call.

    Attributes:
        data: The members of the result.
        parts: MCP content beside the text, such as an image.
        details: Members for programs only. They repeat what `data` says, so the model does not pay for them.
        is_error: The call did not do what it was asked to.
    """

    data: dict[str, object]
    parts: tuple[dict[str, object], ...] = ()
    details: dict[str, object] | None = None
    is_error: bool = False


if TYPE_CHECKING:
    Handler = Callable[[Call], ToolResult]
