r"""The grammar of env files: ``NAME=value`` lines, and no more.

Values may be bare, in single quotes (taken as they are) or in double quotes (``\n``, ``\t``, ``\"`` and ``\\``
mean what they mean elsewhere). Nothing is interpolated and nothing is run, so a value cannot reach another variable.
"""

from __future__ import annotations

import re

from perstack.errors import Problem

_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"[ \t]*(?:#.*)?')
_SINGLE = re.compile(r"'([^']*)'[ \t]*(?:#.*)?")
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse(text: str, *, where: str) -> tuple[dict[str, tuple[str, int]], list[Problem]]:
    """Each name's value and line, and a problem for each line that is none. Of two lines with one name the last holds.

    Problems never quote a line: it may hold a secret.
    """
    found: dict[str, tuple[str, int]] = {}
    problems = []
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        value = _value(match[2]) if match else None
        if match is None or value is None or "\0" in value:
            hint = "Write NAME=value; a value with spaces at its ends or a '#' goes in quotes."
            problems.append(Problem(message="is not NAME=value", where=where, line=number, hint=hint))
        else:
            found[match[1]] = (value, number)
    return found, problems


def _value(text: str) -> str | None:
    if text.startswith('"'):
        match = _DOUBLE.fullmatch(text)
        return match and _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), match[1])
    if text.startswith("'"):
        match = _SINGLE.fullmatch(text)
        return match and match[1]
    return _COMMENT.sub("", text).rstrip()
