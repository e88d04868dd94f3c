"""The base tools as a client sees them: first the original's 17, whose names, arguments and results are its own."""

from __future__ import annotations

from perstack_proxy.limits import IMAGE_BYTES, KIB, MIB, PDF_BYTES

from perstack_skill_base.limits import EXEC_ARGUMENTS, TODO_CHARACTERS, TODO_ITEMS, Bounds
from perstack_skill_base.schema import Tool, array, flag, integer, object_, path, text
from perstack_skill_base.schemas_added import EXPECTED_HASH, added_tools


def tools(bounds: Bounds) -> tuple[Tool, ...]:
    """All tools, the original's in its order.

    Args:
        bounds: The numbers that descriptions and schemas name.
    """
    return (
        Tool(
            "attemptCompletion",
            "Declare the task finished. Returns an empty object, or remainingTodos if tasks of the todo list are open: "
            "finish them first. Put the final answer into result, if there is one.",
            object_(result=text("The final answer to the user")),
        ),
        Tool(
            "todo",
            "Keep a list of tasks for multi-step work: add new ones, mark ids as completed, or both. "
            "Returns the whole list.",
            object_(
                newTodos=array(text("A task", TODO_CHARACTERS), "Tasks to add", TODO_ITEMS),
                completedTodos=array(integer("Id of a task"), "Ids of tasks that are done", TODO_ITEMS),
            ),
        ),
        Tool("clearTodo", "Remove all tasks from the todo list. Ids start from 0 again.", object_(), destructive=True),
        _exec(bounds),
        Tool(
            "getFileInfo",
            "Get type, size, times and permissions of a file, directory or symbolic link (described itself).",
            object_(("path",), path=path("The file or directory")),
            read_only=True,
        ),
        Tool("healthCheck", "Check that these tools work; returns the workspace's path.", object_(), read_only=True),
        Tool(
            "readTextFile",
            f"Read a text file, or lines of it. At most {bounds.read_bytes // KIB} KiB are returned at once; "
            "truncated then says where to go on.",
            object_(
                ("path",),
                path=path("The file"),
                **{
                    "from": integer("First line, counted from 0"),
                    "to": integer("Line to stop before; to the end if left out"),
                    "offset": integer("First byte, in place of from and to; -N begins N bytes before the end", None),
                },
            ),
            read_only=True,
        ),
        Tool(
            "readImageFile",
            f"Look at an image (PNG, JPEG, GIF, WebP; at most {IMAGE_BYTES // MIB} MiB).",
            object_(("path",), path=path("The image")),
            read_only=True,
        ),
        Tool(
            "readPdfFile",
            f"Read a PDF document (at most {PDF_BYTES // MIB} MiB).",
            object_(("path",), path=path("The document")),
            read_only=True,
        ),
        Tool(
            "writeTextFile",
            "Create a file with this text, or replace all of an existing one. Missing directories are made.",
            object_(
                ("path", "text"), path=path("The file"), text=text("Its whole content"), expectedHash=EXPECTED_HASH
            ),
            destructive=True,
        ),
        Tool(
            "appendTextFile",
            "Add text at the end of an existing file, exactly as given: begin with a newline if you need one.",
            object_(("path", "text"), path=path("The file"), text=text("What to add"), expectedHash=EXPECTED_HASH),
        ),
        Tool(
            "editTextFile",
            "Replace text in a file. oldText must match exactly, white space included, and stand in the file once; "
            f"nothing in either text is special. Files up to {bounds.edit_bytes // MIB} MiB.",
            object_(
                ("path", "newText", "oldText"),
                path=path("The file"),
                newText=text("What stands there afterwards"),
                oldText=text("What stands there now, with enough around it to be unique"),
                replaceAll=flag("Replace every occurrence", default=False),
                expectedHash=EXPECTED_HASH,
            ),
            destructive=True,
        ),
        Tool(
            "moveFile",
            "Move or rename a file or directory. The destination must be free; its missing directories are made.",
            object_(
                ("source", "destination"),
                source=path("What to move"),
                destination=path("Its new path, name included"),
            ),
            destructive=True,
        ),
        Tool(
            "deleteFile",
            "Delete one file or symbolic link.",
            object_(("path",), path=path("The file")),
            destructive=True,
        ),
        Tool(
            "listDirectory",
            f"List a directory with types, sizes and times; at most {bounds.list_entries} entries. "
            "'.' is the workspace.",
            object_(("path",), path=path("The directory")),
            read_only=True,
        ),
        Tool(
            "createDirectory",
            "Create a new directory and the missing ones above it.",
            object_(("path",), path=path("The directory")),
        ),
        Tool(
            "deleteDirectory",
            "Delete a directory; with recursive also everything in it.",
            object_(("path",), path=path("The directory"), recursive=flag("Delete what is in it too", default=False)),
            destructive=True,
        ),
        *added_tools(bounds),
    )


def _exec(bounds: Bounds) -> Tool:
    names = "Variables to set. Protected ones such as PATH or LD_PRELOAD are dropped, and the result names them"
    return Tool(
        "exec",
        "Run one program and wait for it. There is no shell: no pipes, redirections, globs or variables, unless you "
        "run one, for example command 'sh' with args ['-c', '...']. Its input is empty. Everything that it started "
        "is ended when it ends. Of each stream the first and last "
        f"{bounds.exec_stream_bytes // 2 // KIB} KiB are returned; outputId then leads to the rest, by readExecOutput.",
        object_(
            ("command",),
            command=text("A program's name, or a path to it such as ./build.sh"),
            args=array(text("An argument"), "Arguments, passed on exactly", EXEC_ARGUMENTS),
            env={
                "type": "object",
                "description": names,
                "additionalProperties": text("A value"),
                "maxProperties": EXEC_ARGUMENTS,
            },
            cwd=path("Working directory; the workspace if left out"),
            stdout=flag("Return what it prints", default=True),
            stderr=flag("Return what it prints as errors", default=True),
            timeout={
                "type": "integer",
                "description": "Milliseconds after which it is ended",
                "minimum": 1,
                "maximum": bounds.exec_max_timeout_ms,
                "default": min(bounds.exec_timeout_ms, bounds.exec_max_timeout_ms),
            },
        ),
        destructive=True,
    )
