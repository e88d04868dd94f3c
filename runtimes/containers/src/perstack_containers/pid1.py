"""The first process of every sandbox. It is in the image, and runs as the user that the skill will run as.

Run as ``python3 -I -S pid1.py``. What crosses its standard streams before the skill's first byte:

    pid 1 → perstack   {"facts": …}                      a line: what is true inside, before any secret arrives
    perstack → pid 1   8 hexadecimal digits, then that many bytes of {"argv": …, "env": …, "cwd": …, "key": …}
    pid 1 → perstack   {"started": true} or {"failed": reason}    a line; after it the stream is the skill's

The skill inherits the three streams. The secrets are nowhere but in its environment: not in the container's
configuration, and not here where the skill could look, because this process is not dumpable. When standard input has
no writer any more, perstack is gone, and everything ends: the kernel kills a namespace whose first process has ended.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress

LIBRARY = "/opt/perstack/lib"
EGRESS = "/run/egress"
"""Where the gate's socket is, in a sandbox that has one."""
LINGER_SECONDS = 0.25
"""For a server that ends by itself once its standard input is closed, as MCP asks."""
GRACE_SECONDS = 1.0
"""Between SIGTERM and the end of everything."""
ORDER_BYTES = 64 * 1024 * 1024
CANNOT_START = 126
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
CGROUPS = "/sys/fs/cgroup"
CGROUP_FILES = {
    "memory": ("memory.max", "memory/memory.limit_in_bytes"),
    "swap": ("memory.swap.max", "memory/memory.memsw.limit_in_bytes"),
    "pids": ("pids.max", "pids/pids.max"),
    "cpu_quota": ("cpu.max", "cpu/cpu.cfs_quota_us"),
    "cpu_period": ("cpu.max", "cpu/cpu.cfs_period_us"),
}
"""Where version 2 and version 1 of control groups show a limit to the group's own members."""

Json = dict[str, object]


def main() -> int:
    """The skill has lived when this returns, and all that it started ends with it."""
    sys.path.append(LIBRARY)
    from perstack_proxy.processes import set_not_dumpable

    set_not_dumpable()  # before the secrets arrive
    tell_forwarder = start_forwarder() if os.path.isdir(EGRESS) else None
    tell({"facts": facts()})
    order = read_order()
    if order is None:
        return 0
    if tell_forwarder is not None:
        with suppress(OSError):
            os.write(tell_forwarder, str(order.pop("key", "")).encode())
        os.close(tell_forwarder)
    wake = wake_on_children()
    child = start(order)
    del order
    if child is None:
        return CANNOT_START
    code = watch(child, wake)
    if code is not None and os.WIFSIGNALED(code) and was_out_of_memory():
        os.write(2, b"perstack: out of memory: the kernel ended a process at the sandbox's limit\n")
    last = end_others(child)
    return exit_code(last if code is None else code)


def facts() -> Json:
    """What is true of this process and its namespaces, read from the kernel."""
    status = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines() if ":\t" in line)
    return {
        "pid": os.getpid(),
        "uid": sorted({int(word) for word in status["Uid"].split()}),
        "gid": sorted({int(word) for word in status["Gid"].split()}),
        "groups": [int(word) for word in status["Groups"].split()],
        "capabilities": {name: int(status[name], 16) for name in CAPABILITIES},
        "no_new_privileges": status.get("NoNewPrivs", "").strip() == "1",
        "seccomp": int(status.get("Seccomp", "0")),
        "interfaces": interfaces(),
        "mounts": mounts(),
        "cgroups": 2 if os.path.exists(f"{CGROUPS}/cgroup.controllers") else 1,
        "limits": {name: limit(files) for name, files in CGROUP_FILES.items()},
        "environment": sorted(os.environ),
        "python": list(sys.version_info[:2]),
    }


def interfaces() -> list[str]:
    """The network interfaces that are up."""
    up = []
    for name in sorted(os.listdir("/sys/class/net")):
        flags = read(f"/sys/class/net/{name}/flags").strip()
        if not flags or int(flags, 16) & 1:
            up.append(name)
    return up


def mounts() -> list[list[str]]:
    """Target, file system type and options of every mount."""
    rows = []
    for line in read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        words = left.split()
        target = words[4].encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1")
        rows.append([target.decode("utf-8", "replace"), right.split()[0], words[5]])
    return rows


def limit(files: tuple[str, str]) -> str:
    """What the control group says, in its own words; empty when it does not show."""
    for name in files:
        with suppress(OSError):
            return read(f"{CGROUPS}/{name}").strip()
    return ""


def was_out_of_memory() -> bool:
    """Whether the kernel has ended a process of this control group for the memory that it used."""
    for name in ("memory.events", "memory/memory.oom_control"):
        with suppress(OSError, ValueError):
            for line in read(f"{CGROUPS}/{name}").splitlines():
                word, _, count = line.partition(" ")
                if word == "oom_kill":
                    return int(count) > 0
    return False


def read(path: str) -> str:
    """A small file of the kernel's."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def tell(message: Json) -> None:
    """Write one line to perstack."""
    os.write(1, json.dumps(message).encode() + b"\n")


def read_order() -> Json | None:
    """What to start; None when perstack went away instead. Not one byte more is taken from the stream."""
    header = read_exactly(8)
    size = int(header, 16) if header else 0
    if not 0 < size <= ORDER_BYTES:
        return None
    body = read_exactly(size)
    order: Json | None = json.loads(body) if body else None
    return order


def read_exactly(size: int) -> bytes:
    """So many bytes of standard input, or none when it ends before."""
    data = b""
    while len(data) < size:
        chunk = os.read(0, size - len(data))
        if not chunk:
            return b""
        data += chunk
    return data


def start_forwarder() -> int:
    """A port on loopback leads to the gate's socket from now on; the process that serves it knows no secret.

    Returns:
        Where it is told the key with which the gate takes the port. It serves from then on.
    """
    from perstack_proxy.forward import Forwarder

    forwarder = Forwarder(f"{EGRESS}/gate.sock")
    told, telling = os.pipe()
    if os.fork() == 0:
        os.close(telling)
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        forwarder.run(os.read(told, 4096).decode())
        os._exit(0)
    os.close(told)
    forwarder.close()
    return telling


def wake_on_children() -> int:
    """A descriptor that becomes readable when a child ends.

    The kernel keeps every signal without a handler from a namespace's first process, so it has no other handler: not
    even the one that Python sets for SIGINT.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    readable, writable = os.pipe()
    for fd in (readable, writable):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return readable


def start(order: Json) -> int | None:
    """The process id of the skill; None when it could not be started, which perstack was told."""
    argv, env, cwd = order["argv"], order["env"], order["cwd"]
    if not (isinstance(argv, list) and isinstance(env, dict) and isinstance(cwd, str)):
        tell({"failed": "it was given no command"})
        return None
    os.chdir(cwd)
    path = shutil.which(argv[0], path=env.get("PATH", os.defpath))
    if path is None:
        tell({"failed": f"command {argv[0]!r} was not found in the image"})
        return None
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
    tell({"started": True})
    try:
        return os.posix_spawn(os.path.abspath(path), argv, env, setsid=True, setsigmask=(), setsigdef=ignored)
    except OSError as error:
        os.write(2, f"perstack: {argv[0]!r} could not be started: {error}\n".encode())
        return None


def watch(child: int, wake: int) -> int | None:
    """The skill's wait status once it has ended by itself, or None once perstack is gone."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(0, 0)  # the skill reads standard input; only its hang-up is of interest here
    deadline: float | None = None
    while True:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        events = dict(poll.poll(timeout))
        with suppress(BlockingIOError):
            os.read(wake, 65536)
        status = collect(child)
        if status is not None:
            return status
        if 0 in events:
            poll.unregister(0)
            deadline = time.monotonic() + LINGER_SECONDS
        if deadline is not None and time.monotonic() >= deadline:
            return None


def collect(child: int) -> int | None:
    """The wait status of `child` if it has ended; orphans are collected on the way."""
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                found = status
    return found


def end_others(child: int) -> int | None:
    """Every other process was asked to end and had its time; the wait status of `child` if it ended now."""
    found = None
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        status = collect(child)
        found = status if status is not None else found
        try:
            os.kill(-1, 0)
        except ProcessLookupError:
            break
        time.sleep(0.005)
    return found


def exit_code(status: int | None) -> int:
    """The exit code for a wait status, as a shell gives it: 128 and the number of the signal."""
    if status is None:
        return 128 + signal.SIGKILL
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
