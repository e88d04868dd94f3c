"""applyPatch: a unified diff put to files, all of it or nothing, with a report of what did not fit."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from perstack_proxy.beneath import rename_new

from perstack_skill_base.calls import Call, ToolResult
from perstack_skill_base.errors import ToolError, from_os_error, invalid
from perstack_skill_base.files import (
    Content,
    bytes_of,
    conflict,
    hash_of,
    read_writable,
    replace,
    replace_unchanged,
)
from perstack_skill_base.patches import FilePatch, PatchError, apply, parse

if TYPE_CHECKING:
    from perstack_skill_base.paths import Entry


class _Change(NamedTuple):
    """What a file will be.

    Attributes:
        patch: The changes.
        before: What it is now; None if it is made.
        data: Its content afterwards.
        report: What the result says of it.
    """

    patch: FilePatch
    before: Content | None
    data: bytes
    report: dict[str, object]


def apply_patch(call: Call) -> ToolResult:
    """Every file is as the patch wants it; with a single hunk that does not fit, none was changed."""
    try:
        patches = parse(call.arguments.text("patch"))
    except PatchError as error:
        raise invalid(f"The patch cannot be read: {error}.") from None
    if len(patches) > call.bounds.patch_files:
        raise ToolError("TooLarge", f"The patch changes {len(patches)} files; at most {call.bounds.patch_files}.")
    touched = [path for patch in patches for path in dict.fromkeys((patch.old, patch.new)) if path is not None]
    if len(set(touched)) < len(touched):
        raise invalid("The patch changes a file twice. Put all hunks of a file under one header.")
    check = call.watch()
    with call.workspace.writing:
        changes: list[_Change] = []
        rejected: list[dict[str, object]] = []
        for patch in patches:
            check()
            changed = _planned(call, patch)
            if isinstance(changed, _Change):
                changes.append(changed)
            else:
                rejected += changed
        if rejected:
            message = (
                f"Nothing was changed: {len(rejected)} parts of the patch do not fit. Read the files and correct it."
            )
            data = {"error": "Rejected", "message": message, "rejected": rejected}
            return ToolResult({**data, "fitting": [change.report["path"] for change in changes]}, is_error=True)
        if not call.arguments.flag("dryRun"):
            _commit(call, changes)
    return ToolResult({"files": [change.report for change in changes]})


def _planned(call: Call, patch: FilePatch) -> _Change | list[dict[str, object]]:
    """The change of one file, or what of it does not fit. Nothing is changed yet."""
    path = patch.new or patch.old or ""
    try:
        if patch.new is not None and patch.new != patch.old:
            _check_free(call, patch.new)
        if patch.old is None:
            applied = apply("", patch.hunks)
            before = None
        else:
            with call.workspace.entry(patch.old, reads=True, writes=True) as entry:
                before = read_writable(call, entry)
            applied = apply(before.data.decode("utf-8", "surrogateescape"), patch.hunks)
        if patch.new is None and applied.text and not applied.rejected:
            raise ToolError("NotEmpty", f"{path!r} has more text than the patch deletes; use deleteFile.")
        data = applied.text.encode("utf-8", "surrogateescape") if patch.old else bytes_of(applied.text)
        if len(data) > call.bounds.edit_bytes:
            raise ToolError("TooLarge", f"{path!r} would be larger than {call.bounds.edit_bytes} bytes.")
    except UnicodeEncodeError:
        raise invalid("The patch has half a character (a lone surrogate).") from None
    except ToolError as error:
        return [{"path": path, "reason": error.message}]
    if applied.rejected:
        return [{"path": path, **rejection._asdict()} for rejection in applied.rejected]
    return _Change(patch, before, data, _report(patch, data))


def _report(patch: FilePatch, data: bytes) -> dict[str, object]:
    report: dict[str, object] = {"path": patch.new or patch.old}
    if patch.new is None:
        return {**report, "action": "deleted"}
    if patch.old not in (None, patch.new):
        report["renamedFrom"] = patch.old
    return {**report, "action": "created" if patch.old is None else "changed", "hash": hash_of(data)}


def _check_free(call: Call, path: str) -> None:
    """A file may be made at this path; the directories above it may be missing."""
    call.workspace.allowed(path, writes=True)
    try:
        with call.workspace.entry(path, writes=True) as entry:
            taken = entry.lstat_or_none() is not None
    except ToolError as error:
        if error.kind != "NotFound":
            raise
        taken = False
    if taken:
        raise ToolError("AlreadyExists", f"{path!r} already exists.")


def _commit(call: Call, changes: list[_Change]) -> None:
    done: list[object] = []
    for change in changes:
        try:
            _write(call, change)
        except ToolError as error:
            if not done:
                raise
            message = f"{error.message} These were changed before: {', '.join(map(str, done))}."
            raise ToolError(error.kind, message) from None
        done.append(change.report["path"])


def _write(call: Call, change: _Change) -> None:
    import os

    patch = change.patch
    with ExitStack() as stack:

        def opened(path: str, *, create_parents: bool = False) -> Entry:
            return stack.enter_context(call.workspace.entry(path, writes=True, create_parents=create_parents))

        if patch.old is None or change.before is None:
            new = opened(patch.new or "", create_parents=True)
            if new.lstat_or_none() is not None:
                raise conflict(new)
            replace(new, change.data, None)
            return
        old = opened(patch.old)
        if patch.hunks and patch.new is not None:
            replace_unchanged(old, change.data, change.before.state)
        try:
            if patch.new is None:
                os.unlink(old.name, dir_fd=old.parent)
            elif patch.new != patch.old:
                new = opened(patch.new, create_parents=True)
                rename_new(old.parent, old.name, new.parent, new.name)
        except OSError as error:
            raise from_os_error(error, patch.new or patch.old) from None
