"""What a tool gets and what it gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from perstack_skill_base.paths import Workspace
    from perstack_skill_base.tools.todo import TodoList


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

    def mapping(self, name: str) -> dict[str, str]:
        """Names and strings; none if it was left out."""
        return cast("dict[str, str]", self._values.get(name, {}))


class Call(NamedTuple):
    """One call of a tool and what it may use.

    Attributes:
        arguments: Checked against the tool's schema.
        workspace: The only way to files.
        todos: The list of this server process, which is the list of this run.
        cancelled: Set when the client no longer wants the answer or the server ends.
        max_timeout_ms: Longest time that a command may ask for.
    """

    arguments: Arguments
    workspace: Workspace
    todos: TodoList
    cancelled: threading.Event
    max_timeout_ms: int


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
