"""readTextFile, readImageFile, readPdfFile, getFileInfo: bounded reads from one descriptor."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perstack_proxy.limits import IMAGE_BYTES, KIB, MIB, PDF_BYTES
from perstack_proxy.sanitise import sanitise_line

from perstack_skill_base.calls import Call, ToolResult
from perstack_skill_base.errors import ToolError
from perstack_skill_base.limits import READ_TEXT_BYTES, SCAN_BYTES
from perstack_skill_base.paths import Entry, open_regular

if TYPE_CHECKING:
    from io import BufferedReader

_CHUNK = 64 * KIB
_PDF = "application/pdf"


def read_text_file(call: Call) -> ToolResult:
    """Lines `from` (0 is the first) up to and without `to`; at most `READ_TEXT_BYTES` of them."""
    path = call.arguments.text("path")
    first = call.arguments.integer("from")
    last = call.arguments.integer("to") if "to" in call.arguments else None
    with call.workspace.entry(path) as entry, _reading(entry) as (file, _):
        if b"\0" in file.peek(8 * KIB)[: 8 * KIB]:
            raise ToolError("NotText", f"{entry.shown!r} is not a text file. Use readImageFile, readPdfFile or exec.")
        passed = _skip_lines(call, file, first)
        content, count, cut = _take_lines(file, None if last is None else max(0, last - passed))
    data: dict[str, object] = {"path": path, "content": content.decode("utf-8", "replace"), "from": first}
    data["to"] = passed + count
    if cut is not None:
        data["truncated"] = True
        data["hint"] = cut if count == 0 else f"The file goes on: read it with from={passed + count}."
    return ToolResult(data)


def read_image_file(call: Call) -> ToolResult:
    """The image itself, as MCP image content. Its first bytes decide what it is."""
    import base64

    path, content, mime = _read_media(call, IMAGE_BYTES)
    if not mime.startswith("image/"):
        raise ToolError("NotSupported", f"{path!r} is not supported: its content is no PNG, JPEG, GIF or WebP image.")
    image: dict[str, object] = {"type": "image", "data": base64.b64encode(content).decode("ascii"), "mimeType": mime}
    return ToolResult({"path": path, "mimeType": mime, "size": len(content)}, parts=(image,))


def read_pdf_file(call: Call) -> ToolResult:
    """The document itself, as an embedded MCP resource. Its first bytes decide what it is."""
    import base64
    from urllib.parse import quote

    path, content, mime = _read_media(call, PDF_BYTES)
    if mime != _PDF:
        raise ToolError("NotSupported", f"{path!r} is not a PDF file: its content does not begin as one.")
    blob = base64.b64encode(content).decode("ascii")
    name = quote("/".join(call.workspace.locate(path).parts), errors="replace")
    resource: dict[str, object] = {"uri": f"workspace:///{name}", "mimeType": mime, "blob": blob}
    return ToolResult(
        {"path": path, "mimeType": mime, "size": len(content)}, parts=({"type": "resource", "resource": resource},)
    )


def get_file_info(call: Call) -> ToolResult:
    """What the system knows about an entry; a symbolic link is described itself, never its target."""
    path = call.arguments.text("path")
    place = call.workspace.locate(path)
    if place.parts:
        with call.workspace.entry(path) as entry:
            state = entry.lstat()
    else:
        with call.workspace.directory(place) as handle:
            state = os.fstat(handle)
    kind = kind_of(state.st_mode)
    name = sanitise_line(place.parts[-1]) if place.parts else os.path.basename(call.workspace.root)
    extension = os.path.splitext(name)[1] if kind == "file" else ""
    absolute = os.path.join(call.workspace.root, place.shown) if place.parts else call.workspace.root
    return ToolResult(
        {
            "exists": True,
            "path": path,
            "absolutePath": absolute,
            "name": name,
            "directory": os.path.dirname(absolute),
            "extension": extension or None,
            "type": kind,
            "mimeType": _MIME_TYPES.get(extension.lower(), "application/octet-stream") if kind == "file" else None,
            "size": state.st_size,
            "sizeFormatted": _format_size(state.st_size),
            "created": timestamp(getattr(state, "st_birthtime", state.st_ctime)),
            "modified": timestamp(state.st_mtime),
            "accessed": timestamp(state.st_atime),
            "permissions": {
                "readable": bool(state.st_mode & stat.S_IRUSR),
                "writable": bool(state.st_mode & stat.S_IWUSR),
                "executable": bool(state.st_mode & stat.S_IXUSR),
            },
        }
    )


def kind_of(mode: int) -> str:
    """`file`, `directory`, `symlink`, or `special` for a FIFO, socket or device."""
    for test, kind in ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "symlink")):
        if test(mode):
            return kind
    return "special"


def timestamp(seconds: float) -> str:
    """A time as ISO 8601 in UTC with milliseconds."""
    import time

    whole = int(seconds // 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1000):03d}Z"


@contextmanager
def _reading(entry: Entry) -> Iterator[tuple[BufferedReader, os.stat_result]]:
    descriptor, state = open_regular(entry, os.O_RDONLY)
    with open(descriptor, "rb") as file:
        yield file, state


def _skip_lines(call: Call, file: BufferedReader, count: int) -> int:
    """How many lines were passed over: `count`, or fewer at the end of the file."""
    passed = scanned = 0
    while passed < count:
        piece = file.readline(_CHUNK)
        if not piece:
            break
        passed += piece.endswith(b"\n")
        scanned += len(piece)
        if scanned > SCAN_BYTES or call.cancelled.is_set():
            raise ToolError(
                "TooLarge", f"Line {count} is further than {SCAN_BYTES // MIB} MiB into the file. Use exec."
            )
    return passed


def _take_lines(file: BufferedReader, count: int | None) -> tuple[bytes, int, str | None]:
    """The next lines, how many, and why there are no more if the limit was met."""
    pieces: list[bytes] = []
    lines = size = 0
    while count is None or lines < count:
        piece = file.readline(READ_TEXT_BYTES - size + 1)
        if not piece:
            break
        if size + len(piece) > READ_TEXT_BYTES:
            if pieces:
                return b"".join(pieces), lines, "the limit"
            return piece[:READ_TEXT_BYTES], 0, "The line is cut: it is longer than one read returns. Use exec for it."
        pieces.append(piece)
        size += len(piece)
        lines += 1
    return b"".join(pieces), lines, None


def _read_media(call: Call, limit: int) -> tuple[str, bytes, str]:
    path = call.arguments.text("path")
    with call.workspace.entry(path) as entry, _reading(entry) as (file, state):
        content = b"" if state.st_size > limit else file.read(limit + 1)
        if state.st_size > limit or len(content) > limit:  # the second: it grew since it was opened
            raise ToolError("TooLarge", f"{entry.shown!r} is too large: more than {limit // MIB} MiB.")
    return path, content, _media_type(content)


def _media_type(content: bytes) -> str:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    return _PDF if content.startswith(b"%PDF-") else "application/octet-stream"


def _format_size(size: int) -> str:
    value = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if value < KIB:
            return f"{size} B" if unit == "B" else f"{value:.2f} {unit}"
        value /= KIB
    return f"{value:.2f} TB"


#: By extension, as the original answers; readImageFile and readPdfFile look at the content instead.
_MIME_TYPES = {
    ".c": "text/x-c",
    ".css": "text/css",
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".gz": "application/gzip",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".pdf": _PDF,
    ".png": "image/png",
    ".py": "text/x-python",
    ".sh": "application/x-sh",
    ".svg": "image/svg+xml",
    ".tar": "application/x-tar",
    ".toml": "application/toml",
    ".ts": "text/typescript",
    ".txt": "text/plain",
    ".webp": "image/webp",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
}
