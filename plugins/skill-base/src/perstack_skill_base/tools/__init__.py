"""The base tools, one module per kind, and which function answers to which name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack_skill_base.tools import execute, health, manage, read, todo, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perstack_skill_base.calls import Handler

HANDLERS: Mapping[str, Handler] = {
    "attemptCompletion": todo.attempt_completion,
    "todo": todo.todo,
    "clearTodo": todo.clear_todo,
    "exec": execute.execute,
    "getFileInfo": read.get_file_info,
    "healthCheck": health.health_check,
    "readTextFile": read.read_text_file,
    "readImageFile": read.read_image_file,
    "readPdfFile": read.read_pdf_file,
    "writeTextFile": write.write_text_file,
    "appendTextFile": write.append_text_file,
    "editTextFile": write.edit_text_file,
    "moveFile": manage.move_file,
    "deleteFile": manage.delete_file,
    "listDirectory": manage.list_directory,
    "createDirectory": manage.create_directory,
    "deleteDirectory": manage.delete_directory,
}
