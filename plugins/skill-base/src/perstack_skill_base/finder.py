"""The lines of a text that match a regular expression, as ripgrep finds them: a match is within one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypedDict

from perstack_skill_base.limits import MATCH_CHARACTERS


class Options(TypedDict):
    """How a search by content reads its pattern, and what it shows."""

    literal: bool
    ignore_case: bool
    context: int
    files_only: bool


class Match(TypedDict, total=False):
    """One matching line, or of a search by name one path."""

    path: str
    line: int
    text: str
    before: list[str]
    after: list[str]


class Finder:
    """Finds the lines of a text that match. A match is within one line."""

    def __init__(self, pattern: str, options: Options) -> None:
        plain = options["literal"] or re.escape(pattern).replace("\\ ", " ") == pattern
        self._needle = pattern.encode() if plain and not options["ignore_case"] else None
        flags = re.MULTILINE | (re.IGNORECASE if options["ignore_case"] else 0)
        self._pattern = re.compile(re.escape(pattern) if plain else pattern, flags)
        # These see the end of the text or of the line differently when lines are searched together.
        self._by_line = not plain and re.search(r"\(\?|\\[AZ]|[*+?}]\+", pattern) is not None
        self._context = options["context"]
        self._files_only = options["files_only"]

    def matches(self, path: str, data: bytes, most: int) -> list[Match]:
        """At most so many matches of one file; none of a binary one."""
        if (self._needle is not None and self._needle not in data) or b"\0" in data:
            return []
        text = data.decode("utf-8", "replace")
        found: list[Match] = []
        for start, end in self._lines(text):
            if self._files_only:
                return [{"path": path}]
            match: Match = {"path": path, "line": 0, "text": _cut(text[start:end])}
            if self._context:
                match["before"] = [_cut(line) for line in text[:start].split("\n")[-1 - self._context : -1]]
                match["after"] = [_cut(line) for line in text[end + 1 :].split("\n", self._context)[: self._context]]
            found.append(match)
            match["line"] = start  # a number of characters for now
            if len(found) >= most:
                break
        position, line = 0, 1
        for match in found:
            line += text.count("\n", position, match["line"])
            position, match["line"] = match["line"], line
        return found

    def _lines(self, text: str) -> Iterator[tuple[int, int]]:
        """Where matching lines start and end."""
        position, length = 0, len(text)
        while position < length:
            candidate = None if self._by_line else self._pattern.search(text, position)
            if candidate is None and not self._by_line:
                return
            at = position if candidate is None else min(candidate.start(), length - 1)
            start = text.rfind("\n", position, at) + 1 or position
            end = text.find("\n", at)
            end = length if end < 0 else end
            if (candidate is not None and candidate.end() <= end) or self._pattern.search(text[start:end]) is not None:
                yield start, end
            position = end + 1


def _cut(line: str) -> str:
    line = line.removesuffix("\r")
    return (
        line if len(line) <= MATCH_CHARACTERS else f"{line[:MATCH_CHARACTERS]}… [{len(line) - MATCH_CHARACTERS} more]"
    )
