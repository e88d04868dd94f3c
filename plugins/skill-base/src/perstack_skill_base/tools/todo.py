"""todo, clearTodo, attemptCompletion: what the model keeps about its own work."""

from __future__ import annotations

import threading

from perstack_skill_base.calls import Call, ToolResult
from perstack_skill_base.errors import invalid
from perstack_skill_base.limits import TODO_ITEMS


class TodoList:
    """Tasks with ids that count up from 0 and a mark for the completed ones. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._titles: list[str] = []
        self._completed: set[int] = set()

    def update(self, new: list[str], completed: list[int]) -> list[int]:
        """Adds tasks, then marks tasks as completed, new ones too; the ids that no task has are returned."""
        with self._lock:
            if len(self._titles) + len(new) > TODO_ITEMS:
                raise invalid(f"The list would have more than {TODO_ITEMS} tasks. Use clearTodo and write fewer.")
            self._titles += new
            known = {ident for ident in completed if 0 <= ident < len(self._titles)}
            self._completed |= known
            return sorted(set(completed) - known)

    def clear(self) -> None:
        """No task is left, and ids start from 0 again."""
        with self._lock:
            self._titles.clear()
            self._completed.clear()

    def tasks(self, *, remaining: bool = False) -> list[dict[str, object]]:
        """All tasks, or those that are not completed."""
        with self._lock:
            return [
                {"id": ident, "title": title, "completed": ident in self._completed}
                for ident, title in enumerate(self._titles)
                if not (remaining and ident in self._completed)
            ]


def todo(call: Call) -> ToolResult:
    """The whole list after adding `newTodos` and completing `completedTodos`."""
    unknown = call.todos.update(call.arguments.texts("newTodos"), call.arguments.integers("completedTodos"))
    data: dict[str, object] = {"todos": call.todos.tasks()}
    return ToolResult({**data, "unknownIds": unknown} if unknown else data)


def clear_todo(call: Call) -> ToolResult:
    """The empty list."""
    call.todos.clear()
    return ToolResult({"todos": call.todos.tasks()})


def attempt_completion(call: Call) -> ToolResult:
    """Nothing if no task is left, else the remaining tasks; the agent loop decides on it."""
    remaining = call.todos.tasks(remaining=True)
    return ToolResult({"remainingTodos": remaining} if remaining else {})
