"""Declarations of the tools beside the original 17: what a model otherwise does with many calls, or with exec."""

from __future__ import annotations

from perstack_proxy.limits import KIB, MIB

from perstack_skill_base.limits import CONTEXT_LINES, EDITS, PATTERN_CHARACTERS, Bounds
from perstack_skill_base.schema import Schema, Tool, array, flag, integer, object_, path, text

EXPECTED_HASH = text(
    "The hash that the file had when you read it, or 'absent'; if it has another by now, nothing is changed", 64
)
_GLOB = (
    "Globs that a path must match one of, such as '*.py' or 'src/**/*.ts'; with '!' in front, must not match. "
    "Without a slash: the name, in any directory"
)


def added_tools(bounds: Bounds) -> tuple[Tool, ...]:
    """The tools, in the order of their listing."""
    edit = object_(
        ("oldText", "newText"),
        oldText=text("What stands there now, exactly and once"),
        newText=text("What stands there afterwards"),
        replaceAll=flag("Replace every occurrence", default=False),
    )
    return (
        Tool(
            "searchFiles",
            "Search the contents of files for a regular expression, line by line, as ripgrep does: hidden and binary "
            "files and what .gitignore names are left out. "
            f"At most {bounds.search_results} matches; files over {bounds.search_file_bytes // MIB} MiB are skipped.",
            object_(
                ("pattern",),
                pattern=text("Regular expression in Python's syntax", PATTERN_CHARACTERS),
                path=path("Directory or file to search; the workspace if left out"),
                glob=array(text("A glob", PATTERN_CHARACTERS), _GLOB, 50),
                literal=flag("The pattern is plain text", default=False),
                ignoreCase=flag("Upper and lower case are the same", default=False),
                context=integer("Lines to show around each match", 0, CONTEXT_LINES),
                filesOnly=flag("Return only the paths of files that match", default=False),
                **_left_out(bounds),
            ),
            read_only=True,
        ),
        Tool(
            "findFiles",
            "Find files by path with a glob, such as '**/test_*.py' or '*.{js,ts}'. Hidden files and what .gitignore "
            f"names are left out. At most {bounds.search_results} paths.",
            object_(
                ("pattern",),
                pattern=text("The glob; without a slash it is about the name, in any directory", PATTERN_CHARACTERS),
                path=path("Directory to search, from which the pattern counts; the workspace if left out"),
                **_left_out(bounds),
            ),
            read_only=True,
        ),
        Tool(
            "editTextFileMany",
            "Make several replacements in one file, one after the other, all or none. Each as with editTextFile.",
            object_(
                ("path", "edits"),
                path=path("The file"),
                edits=array(edit, "The replacements, in order", EDITS),
                expectedHash=EXPECTED_HASH,
            ),
            destructive=True,
        ),
        Tool(
            "applyPatch",
            "Apply a unified diff (as of 'diff -u' or git) to files: change, create, delete, rename. If a part does "
            f"not fit, nothing is changed, and rejected says why. At most {bounds.patch_files} files.",
            object_(
                ("patch",),
                patch=text("The diff, with '--- ' and '+++ ' lines for each file"),
                dryRun=flag("Only say whether it fits", default=False),
            ),
            destructive=True,
        ),
        Tool(
            "readExecOutput",
            "Read what a command printed, from the part that its result left out too, page by page. The outputs of "
            f"the last commands are kept, up to {bounds.exec_spill_bytes // KIB} KiB of a stream.",
            object_(
                ("outputId",),
                outputId=integer("The outputId of the exec result", 1),
                stream={"type": "string", "description": "Which stream", "enum": ["stdout", "stderr"]},
                offset=integer("First byte; -N begins N bytes before the end", None),
            ),
            read_only=True,
        ),
    )


def _left_out(bounds: Bounds) -> dict[str, Schema]:
    return {
        "hidden": flag("Also files and directories whose name begins with a dot", default=False),
        "noIgnore": flag("Also what .gitignore, .ignore and .rgignore name", default=False),
        "maxResults": integer("Most results", 1, bounds.search_results),
    }
