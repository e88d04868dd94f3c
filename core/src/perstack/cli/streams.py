"""Standard streams as every command needs them, whatever whoever started us did to them."""

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


def buffer_output() -> None:
    """What is printed waits for its flush, under ``python -u`` too.

    There a write goes to the descriptor at once and may end half way, and argparse keeps its failure to itself.
    """
    stream = sys.__stdout__
    if stream is not None and stream is sys.stdout and stream.write_through:
        sys.stdout = open(stream.fileno(), "w", encoding=stream.encoding, errors=stream.errors, closefd=False)  # noqa: SIM115 - as above
