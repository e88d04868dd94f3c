"""Attacks on what a sandbox shows of its host: variables, files, sockets, processes, and its own root."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import time
from contextlib import suppress

Json = dict[str, object]

MOST_DIRECTORIES = 500
KERNEL_PLACES = ("/proc", "/sys", "/dev")
SOCKET_PLACES = ("/run", "/var/run", "/tmp", "/home")  # noqa: S108 - of the sandbox
ENGINE_SOCKETS = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
)


def environment(salt: str) -> Json:
    """Each variable's name with a salted digest of its value, so that no value leaves the sandbox."""
    return {
        "variables": {
            name: hashlib.sha256((salt + value).encode("utf-8", "surrogateescape")).hexdigest()
            for name, value in os.environ.items()
        }
    }


def files(
    directories: list[str],
    name: str,
    mark: str,
    guarded: list[str],
    hidden: list[str],
    read_only: list[str],
    copied: list[str],
    left: str,
) -> Json:
    """By which roads a file of the host was read and a new one was made beside it, and what else is open.

    Args:
        directories: Of the host, which the sandbox is not given.
        name: A file in each; its name ends with what it holds.
        mark: What is written.
        guarded: Paths in the working directory that nobody inside may change.
        hidden: Paths in the working directory that nobody inside may read.
        read_only: Directories in which nothing may be made.
        copied: Directories in which a file is made, and stays.
        left: Its name.
    """
    links: list[str] = []
    roads = [road for directory in directories for road in _roads(directory, links)]
    read: list[str] = []
    written: list[str] = []
    changeable: list[str] = []
    shown: list[str] = []
    for road in roads:
        with suppress(OSError), open(os.path.join(road, name), encoding="utf-8", errors="replace") as file:
            if name.endswith(file.read(4096) or " "):
                read.append(road)
        with suppress(OSError):
            with open(os.path.join(road, f"made-{os.getpid()}-{len(written)}"), "x", encoding="ascii") as file:
                file.write(mark)
            written.append(road)
    for path in guarded:
        with suppress(OSError), open(path, "r+b"):  # opened for writing, and left as it is
            changeable.append(path)
    for place in read_only:
        made = os.path.join(place, f".made-{os.getpid()}")
        with suppress(OSError):
            os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            os.unlink(made)
            changeable.append(place)
    for place in copied:
        with suppress(OSError), open(os.path.join(place, left), "x", encoding="ascii"):
            pass
    for path in hidden:
        with suppress(OSError), open(path, "rb") as secret:
            if secret.read(1):
                shown.append(path)
    for link in links:
        os.unlink(link)
    return {"tried": len(roads), "read": read, "written": written, "changeable": changeable, "shown": shown}


def _roads(directory: str, links: list[str]) -> list[str]:
    """Ways to name a directory of the host, of which one may lead past the boundary."""
    roads = [directory, "../" * 32 + directory.lstrip("/")]
    roads += [f"/proc/{pid}/root{directory}" for pid in ("self", *_processes()[:64])]
    parts = directory.strip("/").split("/")
    below = ["/".join(parts[first:]) for first in range(len(parts))]
    roads += [os.path.join(mount, path) for mount in _mounts() if mount != "/" for path in below]
    link = f"/tmp/link-{os.getpid()}-{len(links)}"  # noqa: S108 - of the sandbox
    with suppress(OSError):
        os.symlink(directory, link)
        links.append(link)
        roads.append(link)
    return roads


def _mounts() -> list[str]:
    """Where something is mounted; what of the host it shows is not known, so every part of a path is tried below."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        places = {line.split()[4].encode().decode("unicode_escape") for line in file}
    return sorted(place for place in places if not place.startswith(KERNEL_PLACES))[:64]


def sockets(address: str, mark: str) -> Json:
    """Which unix sockets answer: that of the host at `address`, and those that look like an engine's.

    `mark` is what is sent to the first.
    """
    reached = []
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        client.connect(address)
        client.sendall(mark.encode())
        reached.append(address)
    engines = []
    found = {*ENGINE_SOCKETS, *_sockets()}
    for path in sorted(found):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            client.connect(path)
            client.sendall(b"GET /version HTTP/1.0\r\nHost: engine\r\n\r\n")
            if b"ApiVersion" in client.recv(4096):
                engines.append(path)
    return {"tried": len(found) + 1, "reached": reached, "engines": engines}


def _sockets() -> list[str]:
    found = []
    for place in SOCKET_PLACES:
        for directory, directories, names in os.walk(place):
            del directories[64:]
            for name in names[:1024]:
                path = os.path.join(directory, name)
                with suppress(OSError):
                    if stat.S_ISSOCK(os.lstat(path).st_mode):
                        found.append(path)
            if len(found) > 64:
                return found
    return found


def processes(mark: str) -> Json:
    """Which processes are seen, and which of them show `mark` in their variables."""
    seen = _processes()
    holders = []
    for pid in seen:
        with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if mark.encode() in file.read(1024 * 1024):
                holders.append(pid)
    return {"seen": len(seen), "holders": holders}


def _processes() -> list[str]:
    return sorted(filter(str.isdigit, os.listdir("/proc")), key=int)


def root(whole: bool, seconds: float) -> Json:  # noqa: FBT001 - called by name
    """Whether the file system that programs are in is read-only, and where on it something could be made.

    Args:
        whole: Try some hundred directories, and not only the first ones.
        seconds: The longest that it may take.
    """
    deadline = time.monotonic() + seconds
    device, tried, made = os.stat("/").st_dev, 0, []
    for directory, directories, _ in os.walk("/"):
        if directory in KERNEL_PLACES or _device(directory) != device:
            directories[:] = []
            continue
        tried += 1
        path = os.path.join(directory, f".made-{os.getpid()}")
        with suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            os.unlink(path)
            made.append(directory)
        if tried >= (MOST_DIRECTORIES if whole else 50) or time.monotonic() > deadline:
            break
    return {"read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY), "tried": tried, "made": made[:16]}


def _device(path: str) -> int:
    with suppress(OSError):
        return os.lstat(path).st_dev
    return -1
