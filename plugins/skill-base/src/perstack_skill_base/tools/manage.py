"""listDirectory, createDirectory, deleteDirectory, moveFile, deleteFile: names, not contents."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from perstack_proxy.beneath import LISTING_FLAGS, rename_new
from perstack_proxy.sanitise import sanitise_line

from perstack_skill_base.beneath import open_directory
from perstack_skill_base.calls import Call, ToolResult
from perstack_skill_base.errors import ToolError, from_os_error, invalid
from perstack_skill_base.limits import PATH_CHARACTERS
from perstack_skill_base.paths import Entry, Place, refuse_control
from perstack_skill_base.tools.info import kind_of, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable


def list_directory(call: Call) -> ToolResult:
    """The entries by name. A link is listed as one; it neither is followed nor spoils the list."""
    path = call.arguments.text("path")
    place = call.workspace.locate(path)
    with call.workspace.directory(place) as handle:
        try:
            readable = os.open(".", LISTING_FLAGS, dir_fd=handle)
        except OSError as error:
            raise from_os_error(error, place.shown) from None
        try:
            names = sorted(os.listdir(readable))
            shown = names[: call.bounds.list_entries]
            items = [item for name in shown if (item := _item(readable, name)) is not None]
        finally:
            os.close(readable)
    data: dict[str, object] = {"path": path, "items": items}
    if len(names) > len(shown):
        data |= {"truncated": True, "total": len(names), "hint": "List a subdirectory, or use findFiles."}
    return ToolResult(data)


def create_directory(call: Call) -> ToolResult:
    """The directory exists and is new; missing parents are made."""
    path = call.arguments.text("path")
    with call.workspace.entry(path, writes=True, create_parents=True) as entry:
        try:
            os.mkdir(entry.name, dir_fd=entry.parent)
        except FileExistsError:
            raise ToolError("AlreadyExists", f"{entry.shown!r} already exists.") from None
        except OSError as error:
            raise from_os_error(error, entry.shown) from None
    return ToolResult({"path": path})


def delete_directory(call: Call) -> ToolResult:
    """The directory is gone; with `recursive`, everything below it too. Links in it are removed, not followed."""
    path = call.arguments.text("path")
    with call.workspace.entry(path, writes=True) as entry:
        state = entry.lstat()
        if not stat.S_ISDIR(state.st_mode):
            raise ToolError("NotADirectory", f"{entry.shown!r} is not a directory. Use deleteFile.")
        _refuse_read_only(entry, state)
        try:
            if call.arguments.flag("recursive"):
                _refuse_controls_below(call, entry, path)
                _remove_tree(entry, call.watch())
            else:
                os.rmdir(entry.name, dir_fd=entry.parent)
        except OSError as error:
            failure = from_os_error(error, entry.shown)
            if failure.kind == "NotEmpty":
                failure = ToolError("NotEmpty", f"{entry.shown!r} is not empty. Set recursive to delete what is in it.")
            raise failure from None
    return ToolResult({"path": path})


def move_file(call: Call) -> ToolResult:
    """The source has its new, free name; missing parents of it are made. Directories move too; a link moves itself."""
    source, destination = call.arguments.text("source"), call.arguments.text("destination")
    # A secret file under another name would be none, so who moves a file must be allowed to read it.
    with call.workspace.entry(source, reads=True, writes=True) as old:
        state = old.lstat()
        _refuse_read_only(old, state)
        goal = call.workspace.allowed(destination, writes=True)
        if stat.S_ISDIR(state.st_mode):
            above = call.workspace.locate(source).parts
            if len(goal.parts) > len(above) and goal.parts[: len(above)] == above:
                raise invalid(f"{old.shown!r} cannot be moved into itself. Choose a place outside of it.")
            _refuse_controls_below(call, old, source, destination)
        with call.workspace.entry(destination, writes=True, create_parents=True) as new:
            try:
                rename_new(old.parent, old.name, new.parent, new.name)
            except FileExistsError:
                message = f"{new.shown!r} already exists. Delete it first or choose another name."
                raise ToolError("AlreadyExists", message) from None
            except OSError as error:
                raise from_os_error(error, new.shown) from None
    return ToolResult({"source": source, "destination": destination})


def delete_file(call: Call) -> ToolResult:
    """The name is gone. Of a symbolic link the link is removed, of a hard link one name."""
    path = call.arguments.text("path")
    with call.workspace.entry(path, writes=True) as entry:
        state = entry.lstat()
        if stat.S_ISDIR(state.st_mode):
            raise ToolError("IsADirectory", f"{entry.shown!r} is a directory. Use deleteDirectory.")
        _refuse_read_only(entry, state)
        try:
            os.unlink(entry.name, dir_fd=entry.parent)
        except OSError as error:
            raise from_os_error(error, entry.shown) from None
    return ToolResult({"path": path})


def _item(directory: int, name: str) -> dict[str, object] | None:
    try:
        state = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None  # it went away meanwhile
    shown = sanitise_line(name)
    kind = kind_of(state.st_mode)
    item: dict[str, object] = {"name": shown, "path": shown, "type": kind, "size": state.st_size}
    item["modified"] = timestamp(state.st_mtime)
    if shown != name:
        item["escaped"] = True  # this is how the name looks, not what it is
    return item


def _refuse_read_only(entry: Entry, state: os.stat_result) -> None:
    if not stat.S_ISLNK(state.st_mode) and not state.st_mode & stat.S_IWUSR:
        raise ToolError("NotWritable", f"{entry.shown!r} is read-only. Ask for its permissions to be changed.")


def _refuse_controls_below(call: Call, entry: Entry, *paths: str) -> None:
    """Nothing below the directory is a control file, under any of the paths that it has or will have."""
    from perstack_skill_base.walk import TooMuchError, walk

    bounds, places = call.bounds, [call.workspace.locate(path) for path in paths]
    handle = open_directory(entry.parent, (entry.name,))
    try:
        for folder in walk(handle, entries=bounds.tree_entries, depth=bounds.tree_depth, check=call.watch()):
            above = tuple(folder.path.split("/")[:-1])
            for name in (*(found.name for found in folder.files), *folder.folders):
                for place in places:
                    refuse_control(call.workspace.files, Place((*place.parts, *above, name)))
    except TooMuchError as error:
        message = f"{entry.shown!r} has {error}. Do a part of it, or use exec with 'mv', or 'rm' and ['-r', …]."
        raise ToolError("TooLarge", message) from None
    finally:
        os.close(handle)


def _remove_tree(entry: Entry, check: Callable[[], None]) -> None:
    """Depth first by handles, so that no link is followed, and without recursion."""
    path = [entry.name]
    waiting = [_empty(entry.parent, path)]
    while path:
        try:
            check()
        except ToolError as error:
            raise ToolError(error.kind, f"{entry.shown!r} was deleted in part. {error.message}") from None
        if waiting[-1]:
            path.append(waiting[-1].pop())
            if len("/".join(path)) > PATH_CHARACTERS:
                raise ToolError("TooDeep", f"{entry.shown!r} is too deep. Use exec with 'rm' and ['-r', …].")
            waiting.append(_empty(entry.parent, path))
            continue
        waiting.pop()
        name = path.pop()
        parent = open_directory(entry.parent, path)
        try:
            os.rmdir(name, dir_fd=parent)
        finally:
            os.close(parent)


def _empty(root: int, path: list[str]) -> list[str]:
    """Everything in the directory but other directories is unlinked; those are named."""
    handle = open_directory(root, path)
    try:
        readable = os.open(".", LISTING_FLAGS, dir_fd=handle)
        directories = []
        try:
            with os.scandir(readable) as entries:
                for found in entries:
                    if found.is_dir(follow_symlinks=False):
                        directories.append(found.name)
                    else:
                        os.unlink(found.name, dir_fd=readable)
        finally:
            os.close(readable)
    finally:
        os.close(handle)
    return directories
