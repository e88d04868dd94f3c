"""A journal's line and the chain through its lines, as pure functions.

A line is the JSON object ``{"seq":1,"link":"…","event":{…}}``, with the event's bytes verbatim. A link is the
HMAC-SHA256 of the link before, the position and the event's stored bytes; the first one is bound to the job's id. So
without the key no record can be changed, dropped, swapped, inserted or moved to another job, except off the end; and
that shows to whoever kept the head.
"""

from __future__ import annotations

import hmac
import re
from typing import NamedTuple

KEY_BYTES = 32
"""As many as the hash has: RFC 2104 advises against fewer."""

_LINE = re.compile(rb'\{"seq":([1-9][0-9]{0,17}),"link":"([0-9a-f]{64})","event":(\{[^\n]*\})\}\n')
_CONTEXT = b"perstack journal 1\0"


class Line(NamedTuple):
    """A line's parts. `event` is as stored: its long strings are references to blobs."""

    seq: int
    link: str
    event: bytes


def first_link(key: bytes, job_id: str) -> str:
    """What the first record of `job_id` is linked to."""
    return hmac.digest(key, _CONTEXT + job_id.encode(), "sha256").hex()


def next_link(key: bytes, previous: str, seq: int, event: bytes) -> str:
    """The link of record `seq`."""
    return hmac.digest(key, b"%s %d %s" % (previous.encode(), seq, event), "sha256").hex()


def encode_line(line: Line) -> bytes:
    """The line as it stands in the file, newline included."""
    return b'{"seq":%d,"link":"%s","event":%s}\n' % (line.seq, line.link.encode(), line.event)


def decode_line(data: bytes) -> Line | None:
    """The parts of a whole line; None when it is not one."""
    match = _LINE.fullmatch(data)
    return Line(int(match[1]), match[2].decode(), match[3]) if match else None
