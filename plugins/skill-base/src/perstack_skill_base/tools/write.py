"""writeTextFile, appendTextFile, editTextFile: a file is replaced whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator

from perstack_proxy.limits import MIB

from perstack_skill_base.calls import Call, ToolResult
from perstack_skill_base.errors import ToolError, from_os_error, invalid
from perstack_skill_base.limits import EDIT_BYTES
from perstack_skill_base.paths import FILE_FLAGS, Entry, open_regular, refuse_unwritable

#: Permissions survive a change of the content; set-uid and set-gid do not, as with any write.
_KEPT_BITS = 0o777


def write_text_file(call: Call) -> ToolResult:
    """The file has exactly this text; missing parent directories are made."""
    path, text = call.arguments.text("path"), call.arguments.text("text")
    content = _bytes_of(text)
    with call.workspace.entry(path, create_parents=True) as entry, call.workspace.writing:
        state = entry.lstat_or_none()
        if state is not None:
            refuse_unwritable(entry, state)
        _replace(entry, content, None if state is None else state.st_mode & _KEPT_BITS)
    return ToolResult({"path": path, "text": text})


def append_text_file(call: Call) -> ToolResult:
    """The text stands at the end of an existing file; no newline is added."""
    path, text = call.arguments.text("path"), call.arguments.text("text")
    content = memoryview(_bytes_of(text))
    with call.workspace.entry(path) as entry, call.workspace.writing:
        refuse_unwritable(entry, entry.lstat())
        descriptor, state = open_regular(entry, os.O_WRONLY | os.O_APPEND)
        try:
            refuse_unwritable(entry, state)
            while content:
                content = content[os.write(descriptor, content) :]
        except OSError as error:
            raise from_os_error(error, entry.shown) from None
        finally:
            os.close(descriptor)
    return ToolResult({"path": path, "text": text})


def edit_text_file(call: Call) -> ToolResult:
    """`oldText` stands once in the file and is now `newText`; every other byte and the mode are as before."""
    path = call.arguments.text("path")
    old, new = call.arguments.text("oldText"), call.arguments.text("newText")
    if not old:
        raise invalid("oldText is empty. Give the text to replace, or use writeTextFile or appendTextFile.")
    with call.workspace.entry(path) as entry, call.workspace.writing:
        refuse_unwritable(entry, entry.lstat())
        content, state = _read(entry)
        edited, count = _edit(entry, content, old, new, everywhere=call.arguments.flag("replaceAll"))
        if _identity(entry.lstat()) != _identity(state):
            raise ToolError("Conflict", f"{entry.shown!r} was changed by something else meanwhile. Read it again.")
        _replace(entry, edited, state.st_mode & _KEPT_BITS)
    result: dict[str, object] = {"path": path, "newText": new, "oldText": old}
    return ToolResult(result if count == 1 else {**result, "replacements": count})


def _edit(entry: Entry, content: bytes, old: str, new: str, *, everywhere: bool) -> tuple[bytes, int]:
    before, after = _bytes_of(old), _bytes_of(new)
    if before not in content and b"\r\n" in content:
        # The file has Windows line endings, and the model wrote the lines of its text with others.
        before, after = _with_crlf(before), _with_crlf(after)
    lines = [content.count(b"\n", 0, start) + 1 for start in _occurrences(content, before)]
    if not lines:
        raise ToolError(
            "NotFound", f"oldText was not found in {entry.shown!r}. Read the file and copy the text exactly."
        )
    if len(lines) > 1 and not everywhere:
        where = ", ".join(map(str, lines[:10])) + (", …" if len(lines) > 10 else "")
        raise ToolError(
            "NotUnique",
            f"oldText was found {len(lines)} times in {entry.shown!r}, at lines {where}. "
            "Add surrounding text until it is unique, or set replaceAll.",
        )
    return content.replace(before, after), content.count(before)


def _occurrences(content: bytes, wanted: bytes) -> Iterator[int]:
    """Where the text starts, overlaps included: they make a place ambiguous too."""
    start = content.find(wanted)
    while start >= 0:
        yield start
        start = content.find(wanted, start + 1)


def _with_crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _bytes_of(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise invalid(f"The text has half a character (a lone surrogate) at position {error.start}.") from None


def _read(entry: Entry) -> tuple[bytes, os.stat_result]:
    descriptor, state = open_regular(entry, os.O_RDONLY)
    with open(descriptor, "rb") as file:
        content = file.read(EDIT_BYTES + 1)
    if len(content) > EDIT_BYTES:
        raise ToolError("TooLarge", f"{entry.shown!r} is larger than {EDIT_BYTES // MIB} MiB. Use exec to change it.")
    return content, state


def _identity(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _replace(entry: Entry, content: bytes, mode: int | None) -> None:
    """The entry is a file with this content. A reader sees the old file or the new one, never a part.

    Args:
        entry: What to replace; a link that got there meanwhile is replaced too, never followed.
        content: All bytes.
        mode: Permission bits to keep, or None for a new file's.
    """
    temporary = f".perstack-{os.urandom(8).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE_FLAGS
    try:
        descriptor = os.open(temporary, flags, 0o644 if mode is None else 0o600, dir_fd=entry.parent)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) :]
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
            os.rename(temporary, entry.name, src_dir_fd=entry.parent, dst_dir_fd=entry.parent)
        except BaseException:
            os.unlink(temporary, dir_fd=entry.parent)
            raise
    except OSError as error:
        raise from_os_error(error, entry.shown) from None
