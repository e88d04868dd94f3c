"""The 17 base tools as a client sees them. Names, arguments and result members are the original's."""

from __future__ import annotations

from typing import NamedTuple

from perstack_proxy.limits import IMAGE_BYTES, KIB, MIB, PDF_BYTES

from perstack_skill_base.limits import (
    EDIT_BYTES,
    EXEC_ARGUMENTS,
    EXEC_STREAM_BYTES,
    EXEC_TIMEOUT_MS,
    LIST_ENTRIES,
    READ_TEXT_BYTES,
    TODO_CHARACTERS,
    TODO_ITEMS,
)

Schema = dict[str, object]


class Tool(NamedTuple):
    """A tool's declaration.

    Attributes:
        name: What the model calls it.
        description: When to use it, what it returns and what it refuses.
        input_schema: JSON Schema of its arguments.
        read_only: It changes nothing.
        destructive: It may change or remove what was there.
    """

    name: str
    description: str
    input_schema: Schema
    read_only: bool = False
    destructive: bool = False

    def wire(self) -> dict[str, object]:
        """The entry of a `tools/list` result."""
        hints = {
            "readOnlyHint": self.read_only,
            "destructiveHint": self.destructive,
            "openWorldHint": self.name == "exec",
        }
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input_schema,
            "annotations": hints,
        }


def tools(max_timeout_ms: int) -> tuple[Tool, ...]:
    """All tools, in the original's order.

    Args:
        max_timeout_ms: Longest time that exec accepts.
    """
    return (
        Tool(
            "attemptCompletion",
            "Declare the task finished. Returns an empty object, or remainingTodos if tasks of the todo list are open: "
            "finish them first. Put the final answer into result, if there is one.",
            _object(result=_text("The final answer to the user")),
        ),
        Tool(
            "todo",
            "Keep a list of tasks for multi-step work: add new ones, mark ids as completed, or both. "
            "Returns the whole list.",
            _object(
                newTodos=_array(_text("A task", TODO_CHARACTERS), "Tasks to add", TODO_ITEMS),
                completedTodos=_array(_integer("Id of a task"), "Ids of tasks that are done", TODO_ITEMS),
            ),
        ),
        Tool("clearTodo", "Remove all tasks from the todo list. Ids start from 0 again.", _object(), destructive=True),
        _exec(max_timeout_ms),
        Tool(
            "getFileInfo",
            "Get type, size, times and permissions of a file, directory or symbolic link (described itself).",
            _object(("path",), path=_path("The file or directory")),
            read_only=True,
        ),
        Tool("healthCheck", "Check that these tools work; returns the workspace's path.", _object(), read_only=True),
        Tool(
            "readTextFile",
            f"Read a text file, or lines of it. At most {READ_TEXT_BYTES // KIB} KiB are returned at once; "
            "truncated then says where to go on.",
            _object(
                ("path",),
                path=_path("The file"),
                **{
                    "from": _integer("First line, counted from 0"),
                    "to": _integer("Line to stop before; to the end if left out"),
                },
            ),
            read_only=True,
        ),
        Tool(
            "readImageFile",
            f"Look at an image (PNG, JPEG, GIF, WebP; at most {IMAGE_BYTES // MIB} MiB).",
            _object(("path",), path=_path("The image")),
            read_only=True,
        ),
        Tool(
            "readPdfFile",
            f"Read a PDF document (at most {PDF_BYTES // MIB} MiB).",
            _object(("path",), path=_path("The document")),
            read_only=True,
        ),
        Tool(
            "writeTextFile",
            "Create a file with this text, or replace all of an existing one. Missing directories are made.",
            _object(("path", "text"), path=_path("The file"), text=_text("Its whole content")),
            destructive=True,
        ),
        Tool(
            "appendTextFile",
            "Add text at the end of an existing file, exactly as given: begin with a newline if you need one.",
            _object(("path", "text"), path=_path("The file"), text=_text("What to add")),
        ),
        Tool(
            "editTextFile",
            "Replace text in a file. oldText must match exactly, white space included, and stand in the file once; "
            f"nothing in either text is special. Files up to {EDIT_BYTES // MIB} MiB.",
            _object(
                ("path", "newText", "oldText"),
                path=_path("The file"),
                newText=_text("What stands there afterwards"),
                oldText=_text("What stands there now, with enough around it to be unique"),
                replaceAll=_flag("Replace every occurrence", default=False),
            ),
            destructive=True,
        ),
        Tool(
            "moveFile",
            "Move or rename a file or directory. The destination must be free; its missing directories are made.",
            _object(
                ("source", "destination"),
                source=_path("What to move"),
                destination=_path("Its new path, name included"),
            ),
            destructive=True,
        ),
        Tool(
            "deleteFile",
            "Delete one file or symbolic link.",
            _object(("path",), path=_path("The file")),
            destructive=True,
        ),
        Tool(
            "listDirectory",
            f"List a directory with types, sizes and times; at most {LIST_ENTRIES} entries. '.' is the workspace.",
            _object(("path",), path=_path("The directory")),
            read_only=True,
        ),
        Tool(
            "createDirectory",
            "Create a new directory and the missing ones above it.",
            _object(("path",), path=_path("The directory")),
        ),
        Tool(
            "deleteDirectory",
            "Delete a directory; with recursive also everything in it.",
            _object(("path",), path=_path("The directory"), recursive=_flag("Delete what is in it too", default=False)),
            destructive=True,
        ),
    )


def _exec(max_timeout_ms: int) -> Tool:
    names = "Variables to set. Protected ones such as PATH or LD_PRELOAD are dropped, and the result names them"
    return Tool(
        "exec",
        "Run one program and wait for it. There is no shell: no pipes, redirections, globs or variables, unless you "
        "run one, for example command 'sh' with args ['-c', '...']. Its input is empty. Everything that it started "
        f"is ended when it ends. Of each stream the first and last {EXEC_STREAM_BYTES // 2 // KIB} KiB are kept.",
        _object(
            ("command",),
            command=_text("A program's name, or a path to it such as ./build.sh"),
            args=_array(_text("An argument"), "Arguments, passed on exactly", EXEC_ARGUMENTS),
            env={
                "type": "object",
                "description": names,
                "additionalProperties": _text("A value"),
                "maxProperties": EXEC_ARGUMENTS,
            },
            cwd=_path("Working directory; the workspace if left out"),
            stdout=_flag("Return what it prints", default=True),
            stderr=_flag("Return what it prints as errors", default=True),
            timeout={
                "type": "integer",
                "description": "Milliseconds after which it is ended",
                "minimum": 1,
                "maximum": max_timeout_ms,
                "default": min(EXEC_TIMEOUT_MS, max_timeout_ms),
            },
        ),
        destructive=True,
    )


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def _text(description: str, longest: int | None = None) -> Schema:
    schema: Schema = {"type": "string", "description": description}
    return schema if longest is None else {**schema, "maxLength": longest}


def _path(description: str) -> Schema:
    return _text(f"{description}; relative to the workspace")


def _integer(description: str) -> Schema:
    return {"type": "integer", "description": description, "minimum": 0}


def _flag(description: str, *, default: bool) -> Schema:
    return {"type": "boolean", "description": description, "default": default}


def _array(items: Schema, description: str, most: int) -> Schema:
    return {"type": "array", "items": items, "description": description, "maxItems": most}
