"""The line of every key, table and list item of a TOML text.

tomli says where a syntax error is and forgets everything else. This scanner reads only as much of the grammar as it
takes to find keys; it is meant for texts that tomli has accepted.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys from the root of the file; a number is the position in a list."""

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?P<basic>(?:[^"\\\n]|\\.)*)"'
    r"|'(?P<literal>[^'\n]*)'"
)
_ESCAPE = re.compile(r"\\(?:([btnfre\"\\])|x(..)|u(....)|U(........))")
_ESCAPES = dict(zip('btnfre"\\', '\b\t\n\f\r\x1b"\\', strict=True))


def scan(text: str) -> dict[Path, int]:
    """The 1-based line on which each key stands, by its path. A table named twice stands where its header is."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


def dotted(path: Path) -> str:
    """The path as a person writes it: ``experts."a.b".delegates[0]``."""
    written = ""
    for part in path:
        if isinstance(part, int):
            written += f"[{part}]"
            continue
        quoted = part if _BARE_KEY.fullmatch(part) else '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
        written += f".{quoted}" if written else quoted
    return written


class _Scanner:
    """One pass over a text; `at` is the position of the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.counted = 0
        self.lines: dict[Path, int] = {}
        self.last_item: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            if self.text.startswith("[", self.at):
                table = self.header()
            else:
                self.pair(table)
            self.skip(_BLANK)
        return self.lines

    def header(self) -> Path:
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        path: Path = ()
        keys = self.keys()
        for number, key in enumerate(keys, start=1):
            path = (*path, key)
            opens_item = brackets == 2 and number == len(keys)
            if opens_item:
                self.lines.setdefault(path, self.here())
                self.last_item[path] = self.last_item.get(path, -1) + 1
            if path in self.last_item:
                path = (*path, self.last_item[path])
            self.lines.setdefault(path, self.here())
        self.lines[path] = self.here()
        self.at += brackets
        return path

    def pair(self, table: Path) -> None:
        line = self.here()
        path = table
        for key in self.keys():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self.at += 1  # the equals sign
        self.skip(_SPACE)
        self.value(path)

    def keys(self) -> list[str]:
        keys = []
        while True:
            self.skip(_SPACE)
            keys.append(self.key())
            self.skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def key(self) -> str:
        bare = _BARE_KEY.match(self.text, self.at)
        if bare:
            self.at = bare.end()
            return bare[0]
        quoted = _STRING.match(self.text, self.at)
        if quoted is None:
            raise ValueError(f"no key on line {self.here()}")
        self.at = quoted.end()
        return quoted["literal"] if quoted["basic"] is None else _ESCAPE.sub(_unescape, quoted["basic"])

    def value(self, path: Path) -> None:
        opening = self.text[self.at]
        if opening == "[":
            self.members(path, "]")
        elif opening == "{":
            self.members(path, "}")
        else:
            self.skip(_STRING if opening in "\"'" else _SCALAR)

    def members(self, path: Path, closing: str) -> None:
        self.at += 1
        position = 0
        self.skip(_BLANK)
        while not self.text.startswith(closing, self.at):
            if closing == "}":
                self.pair(path)
            else:
                item = (*path, position)
                self.lines[item] = self.here()
                self.value(item)
            position += 1
            self.skip(_BLANK)
            if self.text.startswith(",", self.at):
                self.at += 1
                self.skip(_BLANK)
        self.at += 1

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"no value on line {self.here()}")
        self.at = match.end()

    def here(self) -> int:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPES[match[1]] if match[1] else chr(int(match[2] or match[3] or match[4], 16))
