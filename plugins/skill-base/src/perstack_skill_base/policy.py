"""What the run's policy says about files and bounds: control files are not written, secret files are not read.

Which these are, `perstack_proxy.filenames` says. The configuration can except paths; a command that `exec` starts is
not bound by this, it is bound by its sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from perstack_proxy.filenames import control_reason, is_secret

from perstack_skill_base.limits import Bounds

if TYPE_CHECKING:
    import re


class FilePolicy:
    """Which paths are control or secret files.

    Args:
        writable: Paths that may be written although they are control files; see `perstack_skill_base.globs`. A
            pattern is about the path from the workspace and covers what is below it.
        readable: Paths that may be read although they are secret files.
    """

    def __init__(self, writable: Sequence[str] = (), readable: Sequence[str] = ()) -> None:
        self.writable = tuple(writable)
        self.readable = tuple(readable)
        self._writable = _compiled(self.writable)
        self._readable = _compiled(self.readable)

    def control(self, parts: Sequence[str]) -> str | None:
        """What obeys this path, or None if it may be written."""
        reason = control_reason(parts)
        return None if reason is None or _excepted(self._writable, parts) else reason

    def secret(self, parts: Sequence[str]) -> bool:
        """Whether this path may not be read."""
        return is_secret(parts) and not _excepted(self._readable, parts)


class Policy(NamedTuple):
    """All that can be set for a run."""

    files: FilePolicy
    bounds: Bounds


def parse(text: str) -> Policy:
    """The policy in a JSON object with `writable`, `readable` (lists of patterns) and `bounds`; each may be left out.

    Raises:
        ValueError: It is none; the text says what is wrong.
    """
    import json

    value = json.loads(text)
    if not isinstance(value, dict) or value.keys() - {"writable", "readable", "bounds"}:
        raise ValueError("it must be an object with writable, readable and bounds")
    files = FilePolicy(writable=_patterns(value, "writable"), readable=_patterns(value, "readable"))
    return Policy(files, _bounds(value.get("bounds", {})))


def _patterns(value: Mapping[str, object], name: str) -> list[str]:
    patterns = value.get(name, [])
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise ValueError(f"{name} must be a list of patterns")
    return patterns


def _bounds(value: object) -> Bounds:
    known = {_camel(name): name for name in Bounds._fields}
    if not isinstance(value, dict):
        raise ValueError("bounds must be an object")
    for name, number in value.items():
        if name not in known:
            raise ValueError(f"there is no bound {name!r}; there are {', '.join(known)}")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"the bound {name!r} must be an integer from 1")
    return Bounds(**{known[name]: number for name, number in value.items()})


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _excepted(patterns: Sequence[re.Pattern[str]], parts: Sequence[str]) -> bool:
    path = "/".join(parts)
    return any(pattern.fullmatch(path) for pattern in patterns)


def _compiled(patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    if not patterns:
        return ()
    import re

    from perstack_skill_base.globs import translate

    return tuple(re.compile(f"(?s:{translate(pattern.strip('/'))}(?:/.*)?)") for pattern in patterns)
