"""A server's list of tools, read page by page within bounds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise_line

from perstack.protocols import SkillTool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

MAX_PAGES = 100
MAX_TOOLS = 1000
"""Of one server. The largest public ones offer a few hundred."""
NAME_CHARACTERS = 128
"""The protocol's own bound for a tool's name."""
DESCRIPTION_CHARACTERS = 16_000
SCHEMA_CHARACTERS = 65_536
CURSOR_CHARACTERS = 4096
SHOWN_CHARACTERS = 80


class ListingError(Exception):
    """What the server said of itself breaks a bound; the text completes "it did not connect: …"."""


async def list_tools(
    page_at: Callable[[str | None], Awaitable[Mapping[str, object]]], *, violation: Callable[[str], None]
) -> tuple[SkillTool, ...]:
    """Every tool that the server offers; a tool that breaks a bound is left out and reported.

    Args:
        page_at: Asks for the page at a cursor, or for the first one.
        violation: Told of each tool that is left out.

    Raises:
        ListingError: The list has no end, or more than `MAX_TOOLS` tools.
        Exception: Whatever `page_at` raises.
    """
    tools: dict[str, SkillTool] = {}
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        page = await page_at(cursor)
        _add_page(page, tools, violation)
        cursor = _next_cursor(page, seen)
        if cursor is None:
            return tuple(tools.values())
        seen.add(cursor)
    raise ListingError(f"its list of tools has more than {MAX_PAGES} pages")


def _add_page(page: Mapping[str, object], tools: dict[str, SkillTool], violation: Callable[[str], None]) -> None:
    entries = page.get("tools")
    if not isinstance(entries, list):
        raise ListingError("its list of tools is not a list")
    if len(tools) + len(entries) > MAX_TOOLS:
        raise ListingError(f"it lists more than {MAX_TOOLS} tools")
    for entry in entries:
        tool = _tool(entry)
        if isinstance(tool, str):
            violation(f"a tool was left out: {tool}")
        elif tool.name in tools:
            violation(f"a second tool named {_shown(tool.name)} was left out")
        else:
            tools[tool.name] = tool


def _tool(entry: object) -> SkillTool | str:
    """The tool, or what is wrong with it."""
    if not isinstance(entry, dict):
        return "it is not an object"
    name, description, schema = entry.get("name"), entry.get("description") or "", entry.get("inputSchema")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS:
        return f"its name is not a string of 1 to {NAME_CHARACTERS} characters"
    if not isinstance(description, str) or len(description) > DESCRIPTION_CHARACTERS:
        return f"{_shown(name)} has a description of more than {DESCRIPTION_CHARACTERS} characters"
    if not isinstance(schema, dict) or len(json.dumps(schema)) > SCHEMA_CHARACTERS:
        return f"{_shown(name)} has no input schema, or one of more than {SCHEMA_CHARACTERS} characters"
    if schema.get("type", "object") != "object":  # a vendor would refuse every request that offers it
        return f"{_shown(name)} has an input schema that is of no object"
    output = entry.get("outputSchema")
    if output is not None and (not isinstance(output, dict) or len(json.dumps(output)) > SCHEMA_CHARACTERS):
        return f"{_shown(name)} has an output schema that is none, or one of more than {SCHEMA_CHARACTERS} characters"
    return SkillTool(name=name, description=description, input_schema=schema, output_schema=output)


def _next_cursor(page: Mapping[str, object], seen: set[str]) -> str | None:
    cursor = page.get("nextCursor")
    if cursor is None:
        return None
    if not isinstance(cursor, str) or not 0 < len(cursor) <= CURSOR_CHARACTERS or cursor in seen:
        raise ListingError("its list of tools has no end")
    return cursor


def _shown(name: str) -> str:
    return sanitise_line(repr(name), limit=SHOWN_CHARACTERS)
