"""writeTextFile, appendTextFile: a file is replaced whole or not at all."""

from __future__ import annotations

import os

from perstack_skill_base.calls import Call, ToolResult
from perstack_skill_base.errors import from_os_error
from perstack_skill_base.files import KEPT_BITS, bytes_of, check_expected, hash_of, replace
from perstack_skill_base.paths import open_regular, refuse_unwritable


def write_text_file(call: Call) -> ToolResult:
    """The file has exactly this text; missing parent directories are made."""
    path, text = call.arguments.text("path"), call.arguments.text("text")
    content = bytes_of(text)
    reads = "expectedHash" in call.arguments
    with call.workspace.entry(path, reads=reads, writes=True, create_parents=True) as entry, call.workspace.writing:
        state = entry.lstat_or_none()
        if state is not None:
            refuse_unwritable(entry, state)
        check_expected(call, entry, call.arguments)
        replace(entry, content, None if state is None else state.st_mode & KEPT_BITS)
    return ToolResult({"path": path, "text": text, "hash": hash_of(content)})


def append_text_file(call: Call) -> ToolResult:
    """The text stands at the end of an existing file; no newline is added."""
    path, text = call.arguments.text("path"), call.arguments.text("text")
    content = memoryview(bytes_of(text))
    reads = "expectedHash" in call.arguments
    with call.workspace.entry(path, reads=reads, writes=True) as entry, call.workspace.writing:
        refuse_unwritable(entry, entry.lstat())
        check_expected(call, entry, call.arguments)
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
