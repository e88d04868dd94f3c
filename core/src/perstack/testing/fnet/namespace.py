"""A network namespace with a loopback interface and nothing else, alive as long as its holder."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

T = TypeVar("T")

ROUTE_SECONDS = 10.0
_CLONE_NEWNET = 0x40000000
# Its own mount namespace too, so that its resolv.conf is nobody else's. It ends when its stdin does.
_HOLD = 'ip link set lo up && mount --bind "$1" /etc/resolv.conf && echo ready && read -r _'


class NoNamespace(RuntimeError):
    """This system cannot make a network namespace, or it has a way out."""


class Namespace:
    """A place where sockets reach only what was put there.

    Args:
        resolver: Address of the name server that programs inside use.
        folder: Where its resolv.conf is written.
    """

    def __init__(self, folder: Path, *, resolver: str = "127.0.0.1") -> None:
        if sys.platform != "linux" or os.geteuid() != 0:
            raise NoNamespace("network namespaces need Linux and root")
        file = folder / f"resolv-{os.urandom(4).hex()}.conf"
        file.write_text(f"nameserver {resolver}\noptions timeout:1 attempts:1\n")
        command = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", _HOLD, "hold", str(file)]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            self.close()
            raise NoNamespace("unshare, ip or mount failed; its lines above say why")
        self.assert_no_way_out()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The namespace is gone with its last process and socket."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait(10)

    def command(self, *words: str) -> list[str]:
        """The command line that runs the words inside."""
        return ["nsenter", "--target", str(self._holder.pid), "--net", "--mount", "--wd=.", "--", *words]

    def run(self, *words: str) -> str:
        """What the command printed.

        Raises:
            subprocess.CalledProcessError: It failed.
        """
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=30, check=True).stdout

    def add_address(self, address: str) -> None:
        """The address is this namespace's own, on its loopback interface."""
        if ":" in address:
            self.run("ip", "addr", "add", f"{address}/128", "dev", "lo", "nodad")
            self._await_route(address)
        else:
            self.run("ip", "addr", "add", f"{address}/32", "dev", "lo")

    def _await_route(self, address: str) -> None:
        """The kernel makes the route to an address of version 6 a moment after the address."""
        deadline = time.monotonic() + ROUTE_SECONDS
        while f"local {address} " not in self.run("ip", "-6", "route", "show", "table", "local"):
            if time.monotonic() > deadline:
                raise NoNamespace(f"there is no route to {address} in the namespace")

    def assert_no_way_out(self) -> None:
        """There is no interface but loopback, and no default route.

        Raises:
            NoNamespace: There is, so nothing may be sent.
        """
        links = [link["ifname"] for link in json.loads(self.run("ip", "-j", "link"))]
        routes = [self.run("ip", family, "route", "show", "table", "all", "default") for family in ("-4", "-6")]
        if links != ["lo"] or any(route.strip() for route in routes):
            raise NoNamespace(f"the namespace has a way out: {links} {routes}")

    def inside(self, function: Callable[[], T]) -> T:
        """What the function returns; the sockets that it makes stay inside."""
        return call_inside(self._holder.pid, function)


class JoinedNamespace(Namespace):
    """The network namespace of a process that somebody else keeps alive, such as a container's without a network.

    Args:
        pid: The process, as this machine numbers it.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.assert_no_way_out()

    def close(self) -> None:
        """It is not ours to end."""

    def command(self, *words: str) -> list[str]:
        """The command line that runs the words inside; files are those of the caller."""
        return ["nsenter", "--target", str(self._pid), "--net", "--wd=.", "--", *words]

    def inside(self, function: Callable[[], T]) -> T:
        """What the function returns; the sockets that it makes stay inside."""
        return call_inside(self._pid, function)


def call_inside(pid: int, function: Callable[[], T]) -> T:
    """What the function returns on a thread that is in the network namespace of a process."""
    results: list[T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    raise NoNamespace(os.strerror(ctypes.get_errno()))
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
