"""searchFiles, findFiles: by content and by name, in a process that can be ended."""

from __future__ import annotations

import json
import re
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from perstack_proxy.globs import translate
from perstack_proxy.sanitise import sanitise_line

from perstack_skill_base.calls import Call, ToolResult
from perstack_skill_base.errors import ToolError, invalid
from perstack_skill_base.files import bytes_of
from perstack_skill_base.paths import Place, refuse_special

if TYPE_CHECKING:
    from perstack_skill_base.finder import Match
    from perstack_skill_base.search import Found, Task

#: Python would take it for a set of its own letters and find nothing.
_POSIX_CLASS = re.compile(r"\[[^]]*\[:\^?[a-z]+:\]")


def search_files(call: Call) -> ToolResult:
    """The lines that match, by file, and what was left out."""
    pattern = call.arguments.text("pattern")
    if not bytes_of(pattern):
        raise invalid("pattern is empty.")
    if "\n" in pattern or "\\n" in pattern.replace("\\\\", ""):
        raise invalid("A match is within one line: the pattern must not have a line break. Use context to see more.")
    if not call.arguments.flag("literal"):
        _check_expression(pattern)
    found = _search(call, names=False)
    if call.arguments.flag("filesOnly"):
        data: dict[str, object] = {"files": [sanitise_line(match["path"]) for match in found["matches"]]}
    else:
        data = {"files": _by_file(found["matches"])}
    data["searched"] = found["files"]
    for name, words in (("large", "skippedLarge"), ("secret", "skippedSecret")):
        if found[name]:  # type: ignore[literal-required]  # both are counts
            data[words] = found[name]  # type: ignore[literal-required]
    return ToolResult(_told(data, found))


def find_files(call: Call) -> ToolResult:
    """The paths that match, sorted."""
    pattern = call.arguments.text("pattern")
    _check_glob(pattern)
    found = _search(call, names=True)
    return ToolResult(_told({"files": [sanitise_line(match["path"]) for match in found["matches"]]}, found))


def _search(call: Call, *, names: bool) -> Found:
    from perstack_skill_base.children import run_own

    arguments, bounds = call.arguments, call.bounds
    for pattern in arguments.texts("glob"):
        _check_glob(pattern.removeprefix("!"))
    place = call.workspace.allowed(arguments.text("path"), reads=not names)
    with ExitStack() as stack:
        single = ""
        if place.parts:
            entry = stack.enter_context(call.workspace.entry(arguments.text("path")))
            state = entry.lstat()
            if not stat.S_ISDIR(state.st_mode):
                refuse_special(entry, state)
                single = entry.name
        handle = stack.enter_context(call.workspace.directory(Place(())))
        task: Task = {
            "handle": handle,
            "parts": list(place.parts[:-1] if single else place.parts),
            "single": single,
            "pattern": arguments.text("pattern"),
            "names": names,
            "literal": arguments.flag("literal"),
            "ignore_case": arguments.flag("ignoreCase"),
            "context": arguments.integer("context"),
            "files_only": arguments.flag("filesOnly"),
            "glob": arguments.texts("glob"),
            "hidden": arguments.flag("hidden"),
            "no_ignore": arguments.flag("noIgnore"),
            "results": min(arguments.integer("maxResults", bounds.search_results), bounds.search_results),
            "result_bytes": bounds.search_result_bytes,
            "file_bytes": bounds.search_file_bytes,
            "entries": bounds.tree_entries,
            "depth": bounds.tree_depth,
            "readable": list(call.workspace.files.readable),
        }
        data = json.dumps(task).encode()
        answer = run_own("perstack_skill_base.search", data, handle, bounds.search_ms / 1000, call.cancelled)
    if answer is None:
        message = (
            f"The search took longer than {bounds.search_ms} ms and was ended. Narrow path or glob, or simplify it."
        )
        raise ToolError("TimedOut", message)
    return cast("Found", json.loads(answer))


def _told(data: dict[str, object], found: Found) -> dict[str, object]:
    if found["truncated"] or found["problem"]:
        reason = found["problem"] or "there are more matches"
        data |= {"truncated": True, "hint": f"Not all was searched: {reason}. Narrow path, glob or pattern."}
    return data


def _by_file(matches: list[Match]) -> list[dict[str, object]]:
    files: dict[str, list[dict[str, object]]] = {}
    for match in matches:
        lines = files.setdefault(sanitise_line(match["path"]), [])
        lines.append({name: value for name, value in match.items() if name != "path"})
    return [{"path": path, "matches": lines} for path, lines in files.items()]


def _check_expression(pattern: str) -> None:
    if _POSIX_CLASS.search(pattern):
        raise invalid("Classes such as [:alpha:] are not known here. Write the characters, or \\w, \\d, \\s.")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise invalid(f"The pattern is no regular expression: {error}. For plain text set literal.") from None


def _check_glob(pattern: str) -> None:
    try:
        re.compile(translate(pattern.strip("/")))
    except (ValueError, re.error) as error:
        raise invalid(f"The glob {pattern[:100]!r} is none: {error}.") from None
