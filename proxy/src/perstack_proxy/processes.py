"""Process trees: find what a process started, and end all of it.

A descendant may leave its session, its group and its parent. It stays findable if an ancestor is a *subreaper*
(Linux): an orphan is then given to that ancestor and not to pid 1. Elsewhere the process group is what is left, and
`become_subreaper` says so by returning False.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection
from typing import NamedTuple

from perstack_proxy.limits import KILL_SETTLE_SECONDS, TERM_GRACE_SECONDS
from perstack_proxy.prctl import LINUX, become_subreaper, die_with_parent, set_not_dumpable

__all__ = [
    "LINUX",
    "Process",
    "become_subreaper",
    "descendants",
    "die_with_parent",
    "end_tree",
    "process_table",
    "set_not_dumpable",
]

_POLL_SECONDS = 0.01


class Process(NamedTuple):
    """One row of the process table."""

    pid: int
    parent: int
    group: int
    state: str


def descendants(pid: int) -> list[int]:
    """The living processes below `pid`, nearest first, without `pid` itself.

    Members of the process group that `pid` leads count too, so that an orphan is found where nothing reaps it.
    """
    return _below(pid, process_table())


def process_table() -> list[Process]:
    """Every process that this one can see; of /proc on Linux, of `ps` elsewhere, empty on Windows."""
    if os.path.exists("/proc/self/stat"):
        return _table_of_proc()
    return [] if sys.platform == "win32" else _table_of_ps()


def end_tree(
    pid: int,
    *,
    grace: float = TERM_GRACE_SECONDS,
    settle: float = KILL_SETTLE_SECONDS,
    include_root: bool = True,
    groups: Collection[int] = (),
) -> list[int]:
    """Nothing of the tree below `pid` runs any more: SIGTERM, `grace` seconds, then SIGKILL until it is empty.

    A subreaper ends everything that it started with `end_tree(os.getpid(), include_root=False)`. Exit statuses are
    left for the caller to collect.

    Args:
        pid: The root of the tree.
        grace: Seconds between the two signals; 0 kills at once.
        settle: Seconds in which the killed processes must be gone.
        include_root: End `pid` itself too.
        groups: Process groups that belong to the tree although their leader may be gone. Where there is no subreaper,
            they are what an orphan is found by.

    Returns:
        The processes that are still there after `settle`, normally none.

    Raises:
        ValueError: `pid` is 1 or less, which means the init process, whole groups, or everything; or it is this
            process and `include_root` is set.
    """
    if pid <= 1:
        raise ValueError(f"refusing to end the tree of process {pid}")
    if include_root and pid == os.getpid():
        raise ValueError("refusing to end this process itself; pass include_root=False")
    tree = _Tree(pid, groups, include_root=include_root)
    if grace > 0 and _empty_after(tree, signal.SIGTERM, grace):
        return []
    _empty_after(tree, signal.SIGKILL, settle)
    return tree.living()


class _Tree:
    """The members of a tree, kept by identity so that a member is not lost when its parent ends."""

    def __init__(self, root: int, groups: Collection[int], *, include_root: bool) -> None:
        self._root = root
        self._include_root = include_root
        self._groups = {root, *groups}

    def living(self) -> list[int]:
        table = process_table()
        found = _below(self._root, table, frozenset(self._groups))
        if self._include_root and any(row.pid == self._root and row.state != "Z" for row in table):
            found.insert(0, self._root)
        own_group = os.getpgrp()
        members = set(found)
        # A group led by a member holds nothing but what that member started.
        self._groups.update(row.group for row in table if row.pid in members and row.group in members)
        self._groups.discard(own_group)
        return found


def _empty_after(tree: _Tree, number: int, seconds: float) -> bool:
    """Whether the tree is empty after each member got the signal, those included that are started meanwhile."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    signalled: set[int] = set()
    while living := tree.living():
        for pid in living:
            if pid not in signalled:
                signalled.add(pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
                    os.kill(pid, signal.SIGCONT)  # a stopped process handles SIGTERM only when it goes on
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _POLL_SECONDS)
    return True


def _below(root: int, table: list[Process], groups: frozenset[int] | None = None) -> list[int]:
    groups = frozenset({root}) if groups is None else groups
    children: dict[int, list[int]] = {}
    for row in table:
        children.setdefault(row.parent, []).append(row.pid)
    dead = {row.pid for row in table if row.state == "Z"}
    own = os.getpid()
    queue = [*children.get(root, []), *(row.pid for row in table if row.group in groups)]
    seen = {root, own, 0, 1}
    found: list[int] = []
    for pid in queue:  # grows while it is walked
        if pid not in seen:
            seen.add(pid)
            found.append(pid)
            queue.extend(children.get(pid, []))
    return [pid for pid in found if pid not in dead]


def _table_of_proc() -> list[Process]:
    table = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    stat = file.read()
            except OSError:
                continue  # it ended, or is hidden
            # The command's name is in parentheses and may hold any byte.
            fields = stat[stat.rindex(b")") + 2 :].split(None, 4)
            table.append(Process(int(name), int(fields[1]), int(fields[2]), fields[0].decode("ascii")))
    return table


def _table_of_ps() -> list[Process]:
    import subprocess

    command = ["/bin/ps", "-axo", "pid=,ppid=,pgid=,stat="]
    listing = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=10, check=True).stdout
    rows = (line.split(None, 3) for line in listing.decode("ascii", "replace").splitlines())
    return [Process(int(row[0]), int(row[1]), int(row[2]), row[3][:1]) for row in rows if len(row) == 4]
