"""A text stream that people read: colours only where they help, and no character that the stream cannot hold."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from typing import Literal, TextIO

from perstack_proxy.sanitise import sanitise

Tone = Literal["plain", "dim", "good", "bad", "strong"]

_CODES: Mapping[Tone, str] = {"dim": "2", "good": "32", "bad": "31", "strong": "1"}
_NOT_ASCII = re.compile("[^\x20-\x7e]")


class Output:
    """A stream for people.

    Attributes:
        live: A line on it can be redrawn: it is a terminal that understands more than plain text.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self.live = stream.isatty() and environ.get("TERM", "") != "dumb"
        self._colour = self.live and not environ.get("NO_COLOR")

    @property
    def width(self) -> int:
        """Columns of the terminal; 80 where there is none."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return shutil.get_terminal_size().columns

    def style(self, text: str, tone: Tone) -> str:
        """`text`, already safe, in the colours of `tone`."""
        code = _CODES.get(tone) if self._colour else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text

    def write(self, text: str) -> None:
        """Write safe text as it is; what the stream's encoding lacks is escaped."""
        self._stream.write(text.encode(self._encoding, "backslashreplace").decode(self._encoding))
        self._stream.flush()

    def line(self, text: str = "", tone: Tone = "plain") -> None:
        """Write safe text as one line."""
        self.write(f"{self.style(text, tone)}\n")


def show_answer(output: Output, text: str) -> None:
    """Write an Expert's answer, whole and without terminal commands."""
    output.line(sanitise(text, limit=len(text)).rstrip("\n"))


def ascii_json(data: bytes) -> str:
    """A JSON text with nothing in it but printable ASCII: the same value, safe for any terminal and any pipe."""
    return _NOT_ASCII.sub(_escape, data.decode())


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
