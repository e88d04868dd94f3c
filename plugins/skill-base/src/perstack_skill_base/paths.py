"""Paths of the model turned into handles below the workspace.

The workspace is one directory handle, opened at the start. A path is reduced to plain components (`locate`), its parent
is opened below that handle (`parent`), and every operation is an `*at` call on the parent's handle with a last
component that is never followed. No path text is used twice, so nothing can be swapped between a check and its use.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from perstack_proxy.beneath import DIRECTORY_FLAGS, FILE_FLAGS
from perstack_proxy.file_policy import FilePolicy
from perstack_proxy.filenames import is_own
from perstack_proxy.sanitise import sanitise_line

from perstack_skill_base.beneath import link_error, open_by_walk, open_directory
from perstack_skill_base.errors import ToolError, denied, from_os_error, invalid, not_found
from perstack_skill_base.limits import PATH_CHARACTERS

_EXCEPTION = "Leave it, or ask the user, whose perstack.toml can allow it: the skill '@perstack/base', "


class Place(NamedTuple):
    """A path in the workspace as plain components: none is empty, `.` or `..`. No components: the workspace itself."""

    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last component; the workspace itself has none."""
        return self.parts[-1]

    @property
    def shown(self) -> str:
        """The path relative to the workspace, safe to print."""
        return sanitise_line("/".join(self.parts) or ".")


class Entry(NamedTuple):
    """A place below the workspace as an open parent and a name in it.

    Attributes:
        parent: Handle of the parent directory.
        name: The last component.
        shown: The whole path, for messages.
    """

    parent: int
    name: str
    shown: str

    def lstat(self) -> os.stat_result:
        """The entry's own state; a link is not followed.

        Raises:
            ToolError: Nothing has this name.
        """
        try:
            return os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        except OSError as error:
            raise from_os_error(error, self.shown) from None

    def lstat_or_none(self) -> os.stat_result | None:
        """As `lstat`, with None for a free name."""
        try:
            return os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os_error(error, self.shown) from None


class Workspace:
    """The one directory that tools can reach.

    Attributes:
        root: Its real path, for display and for paths that the model writes in full.
        files: Which files are not written or not read.
        writing: Held while a file's content changes: calls run in parallel, and two edits must both be in it.
    """

    def __init__(self, directory: str, files: FilePolicy) -> None:
        self.root = os.path.realpath(directory)
        self.files = files
        self._named = os.path.abspath(directory)
        self.writing = threading.Lock()
        self._handle = os.open(self.root, DIRECTORY_FLAGS)

    def locate(self, path: str) -> Place:
        """The place that a path names: relative to the workspace, or in full inside it.

        `..` is taken off the text, which is exact because no link is ever followed. `~` is not expanded: the home
        directory is outside.

        Raises:
            ToolError: The path leaves the workspace or is no path.
        """
        shown = sanitise_line(path, limit=200)
        if len(path) > PATH_CHARACTERS:
            raise invalid(f"The path {shown!r} is longer than {PATH_CHARACTERS} characters.")
        if "\0" in path:
            raise invalid(f"The path {shown!r} contains a character that no path can have.")
        if path == "~" or path.startswith("~/"):
            raise denied(f"{shown!r} is a home directory, which is outside the workspace. Use a path relative to it.")
        relative = self._relative(os.path.normpath(path), shown) if path.startswith("/") else path
        parts: list[str] = []
        for part in relative.split("/"):
            if part == "..":
                if not parts:
                    raise denied(f"{shown!r} is outside the workspace. Use a path relative to the workspace.")
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        return Place(tuple(parts))

    def _relative(self, path: str, shown: str) -> str:
        path = "/" + path.lstrip("/")  # POSIX keeps two leading slashes
        for root in (self.root, self._named):
            inside = root.rstrip("/") + "/"
            if path == root or path.startswith(inside):
                return path[len(inside) :]
        raise denied(f"{shown!r} is outside the workspace. Use a path relative to the workspace.")

    @contextmanager
    def directory(self, place: Place) -> Iterator[int]:
        """An open handle of a directory."""
        handle = open_directory(self._handle, place.parts)
        try:
            yield handle
        finally:
            os.close(handle)

    def allowed(self, path: str, *, reads: bool = False, writes: bool = False) -> Place:
        """As `locate`, for a place that the policy lets be used so.

        Args:
            path: What the model wrote.
            reads: The content is wanted.
            writes: The entry is made, changed, moved or deleted.

        Raises:
            ToolError: The path leaves the workspace or is no path, or the policy keeps it.
        """
        place = self.locate(path)
        if writes:
            refuse_control(self.files, place)
        if reads and self.files.secret(place.parts):
            raise denied(f"{place.shown!r} is a file for secrets, which tools do not read. {_EXCEPTION}files.readable.")
        return place

    @contextmanager
    def entry(
        self, path: str, *, reads: bool = False, writes: bool = False, create_parents: bool = False
    ) -> Iterator[Entry]:
        """A path as an entry of its open parent directory; every tool that names a file comes by here.

        Args:
            path: What the model wrote.
            reads: The content is wanted; then it is no secret file.
            writes: The entry is made, changed, moved or deleted; then it is no control file.
            create_parents: Make the missing directories above it, whose names must then be plain.

        Raises:
            ToolError: The path is not in the workspace, is the workspace itself, is kept by the policy, or its parent
                cannot be opened.
        """
        place = self.allowed(path, reads=reads, writes=writes)
        if not place.parts:
            raise denied("the workspace itself cannot be the target of this tool. Name something in it.")
        above = place.parts[:-1]
        if create_parents:
            _refuse_unprintable(place)
            handle = open_by_walk(self._handle, above, create=True)
        else:
            handle = open_directory(self._handle, above)
        try:
            yield Entry(handle, place.name, place.shown)
        finally:
            os.close(handle)


def refuse_control(files: FilePolicy, place: Place) -> None:
    """Only a place that nothing outside obeys passes."""
    reason = files.control(place.parts)
    if reason is not None:
        way = "Leave it to the user." if is_own(place.parts) else f"{_EXCEPTION}files.writable."
        raise denied(f"{place.shown!r} is {reason}, so tools do not change it. {way}")


def open_regular(entry: Entry, flags: int) -> tuple[int, os.stat_result]:
    """A descriptor of a regular file and its state; the caller closes it.

    The state is looked at before opening, because opening a device can act on it, and again on the descriptor, because
    the entry may have changed in between.

    Raises:
        ToolError: The entry is missing, a link, a directory or a special file, or it may not be opened.
    """
    refuse_special(entry, entry.lstat())
    try:
        descriptor = os.open(entry.name, flags | FILE_FLAGS, dir_fd=entry.parent)
    except OSError as error:
        raise link_error(entry.parent, entry.name, entry.shown) or from_os_error(error, entry.shown) from None
    try:
        state = os.fstat(descriptor)
        refuse_special(entry, state)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, state


def refuse_special(entry: Entry, state: os.stat_result) -> None:
    """Only a regular file passes."""
    if stat.S_ISREG(state.st_mode):
        return
    if stat.S_ISLNK(state.st_mode):
        raise link_error(entry.parent, entry.name, entry.shown) or not_found(entry.shown)
    if stat.S_ISDIR(state.st_mode):
        raise ToolError("IsADirectory", f"{entry.shown!r} is a directory. Use listDirectory to see what is in it.")
    raise ToolError("NotAFile", f"{entry.shown!r} is not a regular file (a FIFO, socket or device), which is refused.")


def refuse_unwritable(entry: Entry, state: os.stat_result) -> None:
    """Only a regular file with its write bit and with no second name passes.

    A second name (hard link) may be outside the workspace, and nothing tells where.
    """
    refuse_special(entry, state)
    if not state.st_mode & stat.S_IWUSR:
        raise ToolError("NotWritable", f"{entry.shown!r} is read-only. Ask for its permissions to be changed.")
    if state.st_nlink > 1:
        raise denied(f"{entry.shown!r} has {state.st_nlink} hard links, so a change could reach outside the workspace.")


def _refuse_unprintable(place: Place) -> None:
    if any(sanitise_line(part) != part for part in place.parts):
        raise invalid(f"The path {place.shown!r} has control or invisible characters; choose a name without them.")
