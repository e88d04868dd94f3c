"""A file's whole content: read within a bound, compared by hash, replaced in one step."""

from __future__ import annotations

import errno
import os
from io import RawIOBase
from typing import NamedTuple

from perstack_proxy.beneath import FILE_FLAGS
from perstack_proxy.limits import MIB

from perstack_skill_base.calls import Arguments, Call
from perstack_skill_base.errors import ToolError, from_os_error, invalid
from perstack_skill_base.paths import Entry, open_regular, refuse_unwritable

#: Permissions survive a change of the content; set-uid and set-gid do not, as with any write.
KEPT_BITS = 0o777
#: What `expectedHash` says of a file that is not there.
ABSENT = "absent"
#: Digits of a hash: 64 bits tell apart what happens by accident, and a model has to repeat them.
HASH_DIGITS = 16


class Content(NamedTuple):
    """What is in a file, and the state that it was read in."""

    data: bytes
    state: os.stat_result


def hash_of(data: bytes) -> str:
    """The hash of a content, as results and `expectedHash` have it."""
    import hashlib

    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]


def bytes_of(text: str) -> bytes:
    """A text of the model as UTF-8.

    Raises:
        ToolError: It has half a character.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise invalid(f"The text has half a character (a lone surrogate) at position {error.start}.") from None


def read_whole(call: Call, entry: Entry) -> Content:
    """All of a regular file that may be edited.

    Raises:
        ToolError: It is missing, no regular file, or larger than the bound.
    """
    limit = call.bounds.edit_bytes
    descriptor, state = open_regular(entry, os.O_RDONLY)
    with open(descriptor, "rb", buffering=0) as file:
        pieces, size = [], 0
        while size <= limit and (piece := file.read(min(limit + 1 - size, MIB))):
            pieces.append(piece)
            size += len(piece)
    if size > limit:
        raise ToolError("TooLarge", f"{entry.shown!r} is larger than {limit} bytes. Use exec for it.")
    return Content(b"".join(pieces), state)


def read_writable(call: Call, entry: Entry) -> Content:
    """As `read_whole`, of a file that may also be replaced."""
    refuse_unwritable(entry, entry.lstat())
    return read_whole(call, entry)


def check_expected(call: Call, entry: Entry, arguments: Arguments) -> None:
    """The file has the content that `expectedHash` names, or nothing is expected of it.

    Raises:
        ToolError: It has another content, is missing, or is there although nothing should be.
    """
    if "expectedHash" not in arguments:
        return
    expected = arguments.text("expectedHash")
    current = ABSENT if entry.lstat_or_none() is None else hash_of(read_whole(call, entry).data)
    if current != expected:
        raise conflict(entry, f"Its hash is {current!r}, not {expected!r}.")


def conflict(entry: Entry, detail: str = "") -> ToolError:
    """Something else changed the file since the model saw it."""
    words = f" {detail}" if detail else ""
    return ToolError("Conflict", f"{entry.shown!r} was changed by something else meanwhile.{words} Read it again.")


def replace_unchanged(entry: Entry, data: bytes, before: os.stat_result) -> None:
    """The file that was read in the state `before` has this content, and its old permissions.

    Raises:
        ToolError: It is another file by now, or has changed.
    """
    if _identity(entry.lstat()) != _identity(before):
        raise conflict(entry)
    replace(entry, data, before.st_mode & KEPT_BITS)


def replace(entry: Entry, data: bytes, mode: int | None) -> None:
    """The entry is a file with this content. A reader sees the old file or the new one, never a part.

    Only a file that a sandbox mounts by itself, because its policy opens it, is written in its place.

    Args:
        entry: What to replace; a link that got there meanwhile is replaced too, never followed.
        data: All bytes.
        mode: Permission bits to keep, or None for a new file's.
    """
    temporary = f".perstack-{os.urandom(8).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE_FLAGS
    try:
        try:
            descriptor = os.open(temporary, flags, 0o644 if mode is None else 0o600, dir_fd=entry.parent)
        except OSError as error:
            if mode is None or error.errno != errno.EROFS:
                raise
            _overwrite(entry, data)
            return
        try:
            with open(descriptor, "wb", buffering=0) as file:
                _write(file, data)
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
            os.rename(temporary, entry.name, src_dir_fd=entry.parent, dst_dir_fd=entry.parent)
        except BaseException as error:
            os.unlink(temporary, dir_fd=entry.parent)
            if mode is None or not (isinstance(error, OSError) and error.errno == errno.EBUSY):
                raise
            _overwrite(entry, data)
    except OSError as error:
        raise from_os_error(error, entry.shown) from None


def _overwrite(entry: Entry, data: bytes) -> None:
    """The same file has this content: its directory is read-only, or it is a mount and cannot be replaced."""
    descriptor, _ = open_regular(entry, os.O_WRONLY)
    with open(descriptor, "wb", buffering=0) as file:
        os.ftruncate(descriptor, 0)
        _write(file, data)


def _write(file: RawIOBase, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def _identity(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns
