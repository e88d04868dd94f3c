"""Which files of a workspace a skill may change or read: control files not, secret files not, but what is excepted.

Which these are, `perstack_proxy.filenames` says; what is excepted, the skill's configuration. The tools that name files
and the sandboxes that mask them ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perstack_proxy.filenames import control_reason, is_own, is_secret

if TYPE_CHECKING:
    import re


class FilePolicy:
    """Which paths are control or secret files. Perstack's own are control files whatever is excepted.

    Args:
        writable: Paths that may be written although they are control files; see `perstack_proxy.globs`. A
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
        return None if reason is None or (_excepted(self._writable, parts) and not is_own(parts)) else reason

    def secret(self, parts: Sequence[str]) -> bool:
        """Whether this path may not be read."""
        return is_secret(parts) and not _excepted(self._readable, parts)


def _excepted(patterns: Sequence[re.Pattern[str]], parts: Sequence[str]) -> bool:
    path = "/".join(parts)
    return any(pattern.fullmatch(path) for pattern in patterns)


def _compiled(patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    if not patterns:
        return ()
    import re

    from perstack_proxy.globs import translate

    return tuple(re.compile(f"(?s:{translate(pattern.strip('/'))}(?:/.*)?)") for pattern in patterns)
