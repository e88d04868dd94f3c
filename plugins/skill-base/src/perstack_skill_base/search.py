"""Search of a tree of files, by content or by name. It runs in a process of its own (`tools.search` starts it).

A regular expression can be written to run for ever, and nothing can stop one within a process; so the search has a
process that is killed when its time is over. That process divides itself, because the work is the processor's.

One JSON object on standard input, one on standard output. The working tree is a directory handle, entered without
following a link.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from typing import NamedTuple, TypedDict
from zlib import crc32

from perstack_proxy.beneath import DIRECTORY_FLAGS, FILE_FLAGS
from perstack_proxy.file_policy import FilePolicy
from perstack_proxy.globs import translate

from perstack_skill_base.finder import Finder, Match, Options
from perstack_skill_base.ignore import IGNORE_FILES, Rules, rules_of
from perstack_skill_base.walk import TooMuchError, walk

#: More processes would not be faster than the disk.
MOST_PROCESSES = 4


class Task(Options):
    """What is searched for.

    `pattern` is a regular expression, or with `names` a glob over paths. `handle` is the workspace, `parts` the
    directory in it that is searched, `single` the one file there that is, or empty.
    """

    handle: int
    parts: list[str]
    single: str
    pattern: str
    names: bool
    glob: list[str]
    hidden: bool
    no_ignore: bool
    results: int
    result_bytes: int
    file_bytes: int
    entries: int
    depth: int
    readable: list[str]


class Found(TypedDict):
    """What one process found: its first matches in order, and what it left out."""

    matches: list[Match]
    files: int
    truncated: bool
    large: int
    secret: int
    problem: str


class _Candidate(NamedTuple):
    handle: int
    name: str
    path: str


def main() -> None:
    """The console of the process."""
    task: Task = json.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(json.dumps(search(task)).encode())


def search(task: Task) -> Found:
    """Everything that was found, by all processes, in the order of the paths."""
    count = 1 if task["names"] or task["single"] else min(MOST_PROCESSES, os.cpu_count() or 1)
    readers = [_divided(task, share, count) for share in range(1, count)]
    parts = [_share(task, 0, count)]
    for reader in readers:
        with open(reader, "rb") as pipe:
            parts.append(json.loads(pipe.read() or b'{"problem": "a part of the search ended early"}'))
    return _joined(task, parts)


def _divided(task: Task, share: int, count: int) -> int:
    """The handle from which the answer of a new process is read."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        with open(writer, "wb") as pipe:
            pipe.write(json.dumps(_share(task, share, count)).encode())
        os._exit(0)
    os.close(writer)
    return reader


def _joined(task: Task, parts: list[Found]) -> Found:
    matches = sorted(
        (match for part in parts for match in part.get("matches", [])),
        key=lambda match: (match["path"].split("/"), match.get("line", 0)),
    )
    kept: list[Match] = []
    size = 0
    for match in matches[: task["results"]]:
        size += len(match["path"]) + len(match.get("text", ""))
        size += sum(map(len, (*match.get("before", ()), *match.get("after", ()))))
        if size > task["result_bytes"]:
            break
        kept.append(match)
    return {
        "matches": kept,
        "files": sum(part.get("files", 0) for part in parts),
        "truncated": len(kept) < len(matches) or any(part.get("truncated") for part in parts),
        "large": sum(part.get("large", 0) for part in parts),
        "secret": sum(part.get("secret", 0) for part in parts),
        "problem": next((part["problem"] for part in parts if part.get("problem")), ""),
    }


def _share(task: Task, share: int, count: int) -> Found:
    """What one of `count` processes finds: each walks the whole tree, and opens its share of the files."""
    found: Found = {"matches": [], "files": 0, "truncated": False, "large": 0, "secret": 0, "problem": ""}
    policy = FilePolicy(readable=task["readable"])
    finder = None if task["names"] else Finder(task["pattern"], task)
    size = 0
    try:
        for candidate in _candidates(task):
            if count > 1 and crc32(candidate.path.encode("utf-8", "surrogateescape")) % count != share:
                continue
            if finder is None:
                fresh: list[Match] = [{"path": candidate.path}]
            elif policy.secret(candidate.path.split("/")):
                found["secret"] += 1
                continue
            else:
                data = _content(candidate, task["file_bytes"])
                if data is None:
                    found["large"] += 1
                    continue
                found["files"] += 1
                fresh = finder.matches(candidate.path, data, task["results"] + 1 - len(found["matches"]))
            found["matches"] += fresh
            size += sum(len(match.get("text", "")) + len(match["path"]) for match in fresh)
            if len(found["matches"]) > task["results"] or size > task["result_bytes"]:
                found["truncated"] = True
                break
    except TooMuchError as error:
        found["problem"] = f"the tree has {error}"
    except OSError as error:
        found["problem"] = f"the directory changed meanwhile ({error.strerror})"
    return found


def _candidates(task: Task) -> Iterator[_Candidate]:
    """The files that the globs and the ignore files leave, in order."""
    above = _Above(task)
    if task["single"]:
        yield _Candidate(above.handle, task["single"], above.path + task["single"])
        return
    keeps = _Keeps(task)
    rules: dict[str, Rules | None] = {"": above.rules}
    for folder in walk(above.handle, entries=task["entries"], depth=task["depth"]):
        path = above.path + folder.path
        here = rules.pop(folder.path)
        if not task["no_ignore"]:
            here = rules_of(folder.handle, path, {entry.name for entry in folder.files}, here)
        folder.folders[:] = [
            name
            for name in folder.folders
            if keeps.folder(name, folder.path + name) and not (here and here.ignored(path + name, folder=True))
        ]
        for name in folder.folders:
            rules[f"{folder.path}{name}/"] = here
        for entry in folder.files:
            if keeps.file(entry, folder.path + entry.name) and not (
                here and here.ignored(path + entry.name, folder=False)
            ):
                yield _Candidate(folder.handle, entry.name, path + entry.name)


class _Above:
    """The searched directory, and the ignore files of those above it, which hold in it too."""

    def __init__(self, task: Task) -> None:
        self.handle, self.path = task["handle"], ""
        self.rules: Rules | None = None
        for part in task["parts"]:
            if not task["no_ignore"]:
                self.rules = rules_of(self.handle, self.path, set(IGNORE_FILES), self.rules)
            # No part is a link: the caller has opened this path just now, and a link is refused here too.
            self.handle = os.open(part, DIRECTORY_FLAGS, dir_fd=self.handle)
            self.path += f"{part}/"


class _Keeps:
    """What the arguments of a search leave, ignore files aside. Paths are relative to the searched directory."""

    def __init__(self, task: Task) -> None:
        self._hidden = task["hidden"]
        self._any_kind = task["names"]
        self._name = _glob(task["pattern"]) if task["names"] else None
        self._wanted = [_glob(pattern) for pattern in task["glob"] if not pattern.startswith("!")]
        self._unwanted = [_glob(pattern[1:]) for pattern in task["glob"] if pattern.startswith("!")]

    def folder(self, name: str, path: str) -> bool:
        """Whether a directory is entered."""
        if name == ".git" or (name.startswith(".") and not self._hidden):
            return False
        return not any(pattern.fullmatch(path) for pattern in self._unwanted)

    def file(self, entry: os.DirEntry[str], path: str) -> bool:
        """Whether a file is looked at."""
        if entry.name.startswith(".") and not self._hidden:
            return False
        if not (self._any_kind or entry.is_file(follow_symlinks=False)):
            return False
        if self._wanted and not any(pattern.fullmatch(path) for pattern in self._wanted):
            return False
        if any(pattern.fullmatch(path) for pattern in self._unwanted):
            return False
        return self._name is None or self._name.fullmatch(path) is not None


def _glob(pattern: str) -> re.Pattern[str]:
    """A pattern without a slash is about the name, in any directory."""
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    return re.compile(f"(?s:{anywhere}{translate(pattern.strip('/'))})")


def _content(candidate: _Candidate, limit: int) -> bytes | None:
    """The bytes of a regular file, empty if it cannot be read, None if it is larger than the limit."""
    try:
        descriptor = os.open(candidate.name, os.O_RDONLY | FILE_FLAGS, dir_fd=candidate.handle)
    except OSError:
        return b""
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            return b""
        if state.st_size > limit:
            return None
        return os.read(descriptor, min(state.st_size + 1, limit))  # what it has grown by since is left out
    except OSError:
        return b""
    finally:
        os.close(descriptor)
