"""Ignore files (`.gitignore`, `.ignore`, `.rgignore`): which entries of a tree a search leaves out."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from perstack_proxy.beneath import FILE_FLAGS
from perstack_proxy.globs import translate

#: Later ones win over earlier ones.
IGNORE_FILES = (".gitignore", ".ignore", ".rgignore")
#: Longest ignore file that is read, and its longest line; real ones have a few kilobytes.
IGNORE_BYTES = 256 * 1024
LINE_CHARACTERS = 500


class Rule(NamedTuple):
    """One line: which paths below its directory it is about, and what it says."""

    pattern: re.Pattern[str]
    ignored: bool
    folders_only: bool


class Rules(NamedTuple):
    """The lines of a directory's ignore files, on top of those of the directories above."""

    base: str
    rules: tuple[Rule, ...]
    above: Rules | None = None

    def ignored(self, path: str, *, folder: bool) -> bool:
        """Whether an entry is left out: the last line that is about it decides, the nearest directory first."""
        level: Rules | None = self
        while level is not None:
            relative = path[len(level.base) :]
            for rule in reversed(level.rules):
                if (folder or not rule.folders_only) and rule.pattern.fullmatch(relative):
                    return rule.ignored
            level = level.above
        return False


def parse(text: str) -> tuple[Rule, ...]:
    """The rules of one file; lines that are no pattern are passed over, as git does."""
    return tuple(rule for line in text.splitlines() if (rule := _rule(line)) is not None)


def rules_of(handle: int, base: str, names: set[str], above: Rules | None) -> Rules | None:
    """The rules that hold in a directory.

    Args:
        handle: The directory.
        base: Its path from the root, ending in a slash.
        names: Names of its files.
        above: The rules of its parent.
    """
    rules = tuple(rule for name in IGNORE_FILES if name in names for rule in parse(_content(handle, name)))
    return Rules(base, rules, above) if rules else above


def _rule(line: str) -> Rule | None:
    line = re.sub(r"(?<!\\) +$", "", line.rstrip("\r\n"))
    if not line or line.startswith("#") or len(line) > LINE_CHARACTERS:
        return None
    ignored = not line.startswith("!")
    line = line[not ignored :]
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    if not line:
        return None
    anchored = "/" in line
    try:
        body = translate(line.lstrip("/"), braces=False)
        if line.endswith("/**"):
            body = body[: -len(".*")] + ".+"  # everything in it, not the directory itself
        return Rule(re.compile(f"(?s:{'' if anchored else '(?:.*/)?'}{body})"), ignored, folders_only)
    except (ValueError, re.error):
        return None


def _content(handle: int, name: str) -> str:
    try:
        descriptor = os.open(name, os.O_RDONLY | FILE_FLAGS, dir_fd=handle)
    except OSError:
        return ""
    with open(descriptor, "rb", buffering=0) as file:
        try:
            return (file.read(IGNORE_BYTES) or b"").decode("utf-8", "replace")
        except OSError:
            return ""
