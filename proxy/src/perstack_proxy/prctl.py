"""What Linux lets a process say about itself: who gets its orphans, who may read it, when it ends.

Nothing but ctypes is imported, and that when it is needed: whoever starts a program under guard is in a hurry.
"""

from __future__ import annotations

import sys

LINUX = sys.platform.startswith("linux")
SIGKILL = 9
"""The same number on every system; the signal module costs more than the rest of this one."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """From now on orphans among this process's descendants become its children. False where that does not exist."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_not_dumpable() -> bool:
    """From now on ordinary processes of the same user cannot read this process's memory or environment.

    It does not hold against root. False where that does not exist.
    """
    return _prctl(_PR_SET_DUMPABLE, 0)


def die_with_parent(number: int = SIGKILL) -> bool:
    """From now on this process gets a signal when the thread that started it ends.

    The caller compares `os.getppid()` with the parent it expects afterwards, because the parent may be gone already.
    False where that does not exist.
    """
    return _prctl(_PR_SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> bool:
    if not LINUX:
        return False
    import ctypes

    try:
        return ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0  # type: ignore[no-any-return]
    except (OSError, AttributeError):
        return False
