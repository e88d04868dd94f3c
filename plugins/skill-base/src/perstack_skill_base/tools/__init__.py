"""The base tools: which function answers to which name. A module of tools is loaded when one of them is called."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perstack_skill_base.calls import Handler

#: The module and the function of each tool.
HANDLERS: Mapping[str, tuple[str, str]] = {
    "attemptCompletion": ("todo", "attempt_completion"),
    "todo": ("todo", "todo"),
    "clearTodo": ("todo", "clear_todo"),
    "exec": ("execute", "execute"),
    "getFileInfo": ("info", "get_file_info"),
    "healthCheck": ("health", "health_check"),
    "readTextFile": ("read", "read_text_file"),
    "readImageFile": ("read", "read_image_file"),
    "readPdfFile": ("read", "read_pdf_file"),
    "writeTextFile": ("write", "write_text_file"),
    "appendTextFile": ("write", "append_text_file"),
    "editTextFile": ("edit", "edit_text_file"),
    "moveFile": ("manage", "move_file"),
    "deleteFile": ("manage", "delete_file"),
    "listDirectory": ("manage", "list_directory"),
    "createDirectory": ("manage", "create_directory"),
    "deleteDirectory": ("manage", "delete_directory"),
    "searchFiles": ("search", "search_files"),
    "findFiles": ("search", "find_files"),
    "editTextFileMany": ("edit", "edit_text_file_many"),
    "applyPatch": ("patch", "apply_patch"),
    "readExecOutput": ("execute", "read_exec_output"),
}


def handler(name: str) -> Handler:
    """The function that answers a call of this tool."""
    module, function = HANDLERS[name]
    full = f"{__name__}.{module}"
    __import__(full)
    return cast("Handler", getattr(sys.modules[full], function))
