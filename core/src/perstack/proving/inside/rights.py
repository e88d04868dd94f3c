"""Attacks on the rights of a sandbox's user."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from contextlib import suppress

Json = dict[str, object]

CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
NEW_USER_NAMESPACE = 0x10000000
MOUNT_READ_ONLY = 1


def privileges() -> Json:
    """What the kernel says of this process's rights."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    return {
        "capabilities": {name: int(status[name], 16) for name in CAPABILITIES if name in status},
        "no_new_privileges": status.get("NoNewPrivs", "").strip(),
        "seccomp": status.get("Seccomp", "").strip(),
    }


def deeds() -> Json:
    """What this process could do that takes more rights than a skill has."""
    tries: dict[str, Callable[[], object]] = {
        "become another user": lambda: os.setuid(0 if os.getuid() else 1),
        "change the root directory": lambda: os.chroot("/"),
        "make a device": lambda: os.mknod(f"/tmp/device-{os.getpid()}", 0o20600, os.makedev(1, 3)),  # noqa: S108
        "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "rename the machine": lambda: _call("sethostname", b"owned", 5),
        "mount a file system": lambda: _call("mount", b"none", b"/tmp", b"tmpfs", MOUNT_READ_ONLY, None),
        "make a user namespace": lambda: _call("unshare", NEW_USER_NAMESPACE),
        "give a file away": _give_away,
    }
    return {"tried": len(tries), "done": [name for name, deed in tries.items() if _succeeds(deed)]}


def identity() -> Json:
    """Who this process is, in every way that the kernel counts."""
    return {
        "users": sorted(set(os.getresuid())),
        "groups": sorted({*os.getresgid(), *os.getgroups()}),
        "became_root": _succeeds(lambda: os.setresuid(0, 0, 0)) and os.getuid() != 0,
    }


def _succeeds(deed: Callable[[], object]) -> bool:
    """Whether the deed can be done; it is done by a child, so that nothing of it stays."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            deed()
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _call(name: str, *args: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*args) != 0:
        raise OSError(ctypes.get_errno(), name)


def _give_away() -> None:
    path = f"/tmp/given-{os.getpid()}"  # noqa: S108 - of the sandbox
    with open(path, "w", encoding="ascii"):
        pass
    try:
        os.chown(path, 0 if os.getuid() else 1, -1)
    finally:
        os.unlink(path)
