"""getFileInfo: what the system knows about an entry."""

from __future__ import annotations

import os
import stat

from perstack_proxy.limits import KIB
from perstack_proxy.sanitise import sanitise_line

from perstack_skill_base.calls import Call, ToolResult


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
    ".pdf": "application/pdf",
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
