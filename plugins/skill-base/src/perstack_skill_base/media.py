"""What kind of image or document some bytes are, and how much of a viewer's memory they claim.

Nothing is decoded: a few header fields are read, and what cannot be read is left to the model's provider, which has
its own bounds.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PDF = "application/pdf"
OTHER = "application/octet-stream"
#: Markers of a JPEG frame, which hold its size; C4, C8 and CC are among them and are none.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Media(NamedTuple):
    """What the first bytes say.

    Attributes:
        mime: MIME type, `application/octet-stream` for what is neither a known image nor a PDF.
        pixels: Claimed width times height of an image; 0 if it is not told.
        pages: Claimed pages of a PDF; 0 if it is not told, as in a compressed object stream.
    """

    mime: str
    pixels: int = 0
    pages: int = 0


def identify(content: bytes) -> Media:
    """The type by the content alone; a name can say anything."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return Media("image/png", pixels=_area(content[16:20], content[20:24], "big"))
    if content.startswith(b"\xff\xd8\xff"):
        return Media("image/jpeg", pixels=_jpeg_area(content))
    if content.startswith((b"GIF87a", b"GIF89a")):
        return Media("image/gif", pixels=_area(content[6:8], content[8:10], "little"))
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return Media("image/webp", pixels=_webp_area(content))
    if content.startswith(b"%PDF-"):
        counts = (int(count) for count in re.findall(rb"/Count\s+(\d{1,9})", content))
        return Media(PDF, pages=max(counts, default=0))
    return Media(OTHER)


def _area(width: bytes, height: bytes, order: str) -> int:
    big = order == "big"
    return int.from_bytes(width, "big" if big else "little") * int.from_bytes(height, "big" if big else "little")


def _jpeg_area(content: bytes) -> int:
    position = 2
    while position + 9 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker in _FRAMES:
            return _area(content[position + 7 : position + 9], content[position + 5 : position + 7], "big")
        if marker == 0xFF:
            position += 1  # fill byte
        else:
            position += 2 + max(2, int.from_bytes(content[position + 2 : position + 4], "big"))
    return 0


def _webp_area(content: bytes) -> int:
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
        return width * height
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (1 + (bits & 0x3FFF)) * (1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        width, height = (int.from_bytes(content[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return width * height
    return 0
