"""File patterns as regular expressions over paths with `/` between components.

`*` and `?` stay within a component, `**` as a whole component stands for any number of them, `[...]` is a set and
`[!...]` its complement, `{a,b}` are alternatives, a backslash takes the next character as it is. A pattern may be made
to match slowly, so one that is not from the configuration is matched in a process that can be ended.
"""

from __future__ import annotations

import re

#: Most alternatives that the braces of one pattern may make.
ALTERNATIVES = 1_000


def translate(pattern: str, *, braces: bool = True) -> str:
    """The regular expression, without anchors, of a pattern.

    Args:
        pattern: The pattern, without a slash at either end.
        braces: Whether `{a,b}` are alternatives; in ignore files they are not.

    Raises:
        ValueError: A set or a brace is not closed, or there are too many alternatives.
    """
    if braces and pattern.count(",") > ALTERNATIVES:
        raise ValueError(f"the pattern has more than {ALTERNATIVES} alternatives")
    parts = pattern.split("/")
    if braces and any(part.count("{") != part.count("}") for part in parts):
        parts = [pattern]  # braces around a slash: no component stands alone
    pieces: list[str] = []
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == "**":
            pieces.append(".*" if last else "(?:[^/]+/)*")
        else:
            pieces.append(_component(part, braces=braces) + ("" if last else "/"))
    return "".join(pieces)


def _component(text: str, *, braces: bool) -> str:
    out: list[str] = []
    depth = position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "*":
            while text[position : position + 1] == "*":
                position += 1
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "[":
            piece, position = _set(text, position)
            out.append(piece)
        elif character == "\\" and position < len(text):
            out.append(re.escape(text[position]))
            position += 1
        elif braces and character == "{":
            depth += 1
            out.append("(?:")
        elif depth and character == "}":
            depth -= 1
            out.append(")")
        elif depth and character == ",":
            out.append("|")
        else:
            out.append(re.escape(character))
    if depth:
        raise ValueError("a '{' of the pattern is not closed")
    return "".join(out)


def _set(text: str, start: int) -> tuple[str, int]:
    """The expression of a set whose `[` is before `start`, and where it ends."""
    negated = text[start : start + 1] in ("!", "^")
    first = start + negated
    end = text.find("]", first + 1)  # a first ']' is a member
    if end < 0:
        raise ValueError("a '[' of the pattern is not closed")
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", text[first:end])
    if re.search(r"(.)-(.)", members, re.DOTALL) is not None:
        try:
            re.compile(f"[{members}]")
        except re.error:
            raise ValueError(f"the range in '[{text[first:end]}]' is reversed") from None
    return (f"[^/{members}]" if negated else f"(?!/)[{members}]"), end + 1
