"""How everything that we make is found again: by our labels, and by nothing else.

The reaper imports this with the standard library alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

RUN = "perstack.run"
OWNER = "perstack.owner"
SUPERVISOR = "perstack.supervisor"
EXPERT = "perstack.expert"
SKILL = "perstack.skill"
SERVICE = "perstack.service"
IMAGE = "perstack.image"
CODE = "perstack.code"
BASE = "perstack.base"


def run_labels(run_id: str, owner: str) -> dict[str, str]:
    """What every container and volume of a run is labelled with: its owner, and who must live for it to be of use."""
    return {RUN: run_id, OWNER: owner, SUPERVISOR: supervisor(os.getpid())}


def owner_name(*, far: bool) -> str:
    """Who we are to an engine: our user, and where users of other machines share a far one, our machine as well.

    A machine without a name of its own has that of its current start, so that nothing of another's is taken for ours.
    """
    return f"{os.getuid()}@{_machine()}" if far else str(os.getuid())


def _machine() -> str:
    """Names this machine and tells nothing about it."""
    import hashlib

    name = ""
    with suppress(OSError), open("/etc/machine-id", encoding="ascii") as file:
        name = file.read().strip()
    try:
        return hashlib.sha256(f"perstack {os.uname().nodename} {name or _boot()}".encode()).hexdigest()[:16]
    except OSError:
        return ""


def supervisor(pid: int) -> str:
    """Names a process for good: machine start, process namespace, id and start time. Empty where /proc is missing."""
    try:
        return f"{_boot()}/{_namespace()}/{pid}/{_started(pid)}"
    except (OSError, IndexError):
        return ""


def is_left_over(labels: Mapping[str, str], owner: str) -> bool:
    """Whether what has these labels is `owner`'s and its supervisor has ended.

    What another user, another machine start's namespace or a program without /proc started is not judged: it stays.
    """
    named = labels.get(SUPERVISOR, "")
    if labels.get(OWNER) != owner or RUN not in labels or named.count("/") != 3:
        return False
    boot, namespace, pid, started = named.split("/")
    try:
        if boot != _boot():
            return True
        return namespace == _namespace() and _started(int(pid)) != started
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError):
        return False


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")


def _started(pid: int) -> str:
    """The 22nd field of its stat; the command's name before it may hold anything."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    if fields[0] == b"Z":
        raise FileNotFoundError(pid)
    return fields[19].decode("ascii")
