"""Standard streams that whoever started us had closed."""

from __future__ import annotations

import os
import sys


def open_missing_streams() -> None:
    """All three standard streams are there; those that were closed lead to nothing.

    Without this the next file that is opened, perhaps a journal, becomes standard output, and whatever is printed or
    whatever a skill inherits is written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - the name says it
    os.close(descriptor)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115 - for as long as the process lives
