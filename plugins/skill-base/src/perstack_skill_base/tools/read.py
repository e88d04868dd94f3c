"""readTextFile, readImageFile, readPdfFile: bounded reads from one descriptor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perstack_proxy.limits import IMAGE_BYTES, KIB, MIB, PDF_BYTES

from perstack_skill_base.calls import Call, ToolResult
from perstack_skill_base.errors import ToolError, invalid
from perstack_skill_base.paths import Entry, open_regular

if TYPE_CHECKING:
    from io import BufferedReader

    from perstack_skill_base.media import Media

_CHUNK = 64 * KIB


def read_text_file(call: Call) -> ToolResult:
    """Lines `from` (0 is the first) up to and without `to`, or bytes from `offset` on; at most one page of them."""
    path = call.arguments.text("path")
    with call.workspace.entry(path, reads=True) as entry, _reading(entry) as (file, state):
        if b"\0" in file.peek(8 * KIB)[: 8 * KIB]:
            raise ToolError("NotText", f"{entry.shown!r} is not a text file. Use readImageFile, readPdfFile or exec.")
        if "offset" in call.arguments:
            if "from" in call.arguments or "to" in call.arguments:
                raise invalid("Give either offset, in bytes, or from and to, in lines.")
            return ToolResult({"path": path, **_page(call, file, state.st_size)})
        return ToolResult({"path": path, **_lines(call, file, state.st_size)})


def read_image_file(call: Call) -> ToolResult:
    """The image itself, as MCP image content. Its first bytes decide what it is."""
    import base64

    path, content, media = _read_media(call, IMAGE_BYTES)
    if not media.mime.startswith("image/"):
        raise ToolError("NotSupported", f"{path!r} is not supported: its content is no PNG, JPEG, GIF or WebP image.")
    if media.pixels > call.bounds.image_pixels:
        message = f"{path!r} claims {media.pixels} pixels; at most {call.bounds.image_pixels} are passed on."
        raise ToolError("TooLarge", f"{message} Make a smaller copy with exec.")
    data = base64.b64encode(content).decode("ascii")
    image: dict[str, object] = {"type": "image", "data": data, "mimeType": media.mime}
    return ToolResult({"path": path, "mimeType": media.mime, "size": len(content)}, parts=(image,))


def read_pdf_file(call: Call) -> ToolResult:
    """The document itself, as an embedded MCP resource. Its first bytes decide what it is."""
    import base64
    from urllib.parse import quote

    path, content, media = _read_media(call, PDF_BYTES)
    if media.mime != "application/pdf":
        raise ToolError("NotSupported", f"{path!r} is not a PDF file: its content does not begin as one.")
    if media.pages > call.bounds.pdf_pages:
        message = f"{path!r} claims {media.pages} pages; at most {call.bounds.pdf_pages} are passed on."
        raise ToolError("TooLarge", f"{message} Take out the ones you need with exec.")
    blob = base64.b64encode(content).decode("ascii")
    name = quote("/".join(call.workspace.locate(path).parts), errors="replace")
    resource: dict[str, object] = {"uri": f"workspace:///{name}", "mimeType": media.mime, "blob": blob}
    return ToolResult(
        {"path": path, "mimeType": media.mime, "size": len(content)},
        parts=({"type": "resource", "resource": resource},),
    )


@contextmanager
def _reading(entry: Entry) -> Iterator[tuple[BufferedReader, os.stat_result]]:
    descriptor, state = open_regular(entry, os.O_RDONLY)
    with open(descriptor, "rb") as file:
        yield file, state


def _lines(call: Call, file: BufferedReader, size: int) -> dict[str, object]:
    first = call.arguments.integer("from")
    last = call.arguments.integer("to") if "to" in call.arguments else None
    passed = _skip_lines(call, file, first)
    content, count, cut = _take_lines(call, file, None if last is None else max(0, last - passed))
    data: dict[str, object] = {"content": content.decode("utf-8", "replace"), "from": first, "to": passed + count}
    if cut is not None:
        data["truncated"] = True
        data["hint"] = cut if count == 0 else f"The file goes on: read it with from={passed + count}."
    if size <= call.bounds.edit_bytes:
        data["hash"] = _hash(call, file)
    return data


def _page(call: Call, file: BufferedReader, size: int) -> dict[str, object]:
    offset = call.arguments.integer("offset")
    start = max(0, size + offset) if offset < 0 else offset
    file.seek(start)
    content = file.read(call.bounds.read_bytes)
    return page(content, start, max(size, start + len(content)))


def page(content: bytes, start: int, size: int) -> dict[str, object]:
    """One page of a long text by bytes: what it says, where it is, and where the next one begins."""
    import codecs

    end = start + len(content)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content, final=end >= size)
    end -= len(decoder.getstate()[0])  # a character that is cut belongs to the next page
    data: dict[str, object] = {"content": text, "offset": start, "size": size}
    if start < end < size:
        data |= {"nextOffset": end, "truncated": True, "hint": f"It goes on: read it with offset={end}."}
    return data


def _hash(call: Call, file: BufferedReader) -> str:
    """The hash of the whole file, as it is in the descriptor now."""
    import hashlib

    from perstack_skill_base.files import HASH_DIGITS

    digest, left = hashlib.sha256(), call.bounds.edit_bytes
    file.seek(0)
    while left > 0 and (piece := file.read(min(_CHUNK, left))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()[:HASH_DIGITS]


def _skip_lines(call: Call, file: BufferedReader, count: int) -> int:
    """How many lines were passed over: `count`, or fewer at the end of the file."""
    passed = scanned = 0
    limit = call.bounds.scan_bytes
    while passed < count:
        piece = file.readline(_CHUNK)
        if not piece:
            break
        passed += piece.endswith(b"\n")
        scanned += len(piece)
        if scanned > limit or call.cancelled.is_set():
            raise ToolError("TooLarge", f"Line {count} is further than {limit} bytes into the file. Use offset.")
    return passed


def _take_lines(call: Call, file: BufferedReader, count: int | None) -> tuple[bytes, int, str | None]:
    """The next lines, how many, and why there are no more if the limit was met."""
    pieces: list[bytes] = []
    lines = size = 0
    limit = call.bounds.read_bytes
    while count is None or lines < count:
        piece = file.readline(limit - size + 1)
        if not piece:
            break
        if size + len(piece) > limit:
            if pieces:
                return b"".join(pieces), lines, "the limit"
            start = file.tell() - len(piece)
            return piece[:limit], 0, f"The line is cut: it goes on at offset={start + limit}."
        pieces.append(piece)
        size += len(piece)
        lines += 1
    return b"".join(pieces), lines, None


def _read_media(call: Call, limit: int) -> tuple[str, bytes, Media]:
    from perstack_skill_base.media import identify

    path = call.arguments.text("path")
    with call.workspace.entry(path, reads=True) as entry, _reading(entry) as (file, state):
        content = b"" if state.st_size > limit else file.read(limit + 1)
        if state.st_size > limit or len(content) > limit:  # the second: it grew since it was opened
            raise ToolError("TooLarge", f"{entry.shown!r} is too large: more than {limit // MIB} MiB.")
    return path, content, identify(content)
