"""Attacks on a sandbox's limits, and what its control group says of them."""

from __future__ import annotations

import _thread
import os
import time
from contextlib import suppress

Json = dict[str, object]

MIB = 1024 * 1024
CGROUPS = "/sys/fs/cgroup"
STACK_BYTES = 64 * 1024
SETTLE_SECONDS = 5.0


def memory(limit: int, fill: bool) -> Json:  # noqa: FBT001 - called by name
    """What the control group allows, and how much a child got before it was ended.

    Args:
        limit: Bytes that the sandbox should have.
        fill: Try to use more; a large limit is only read.
    """
    found: Json = {
        "limit": _read("memory.max", "memory/memory.limit_in_bytes"),
        "swap": _read("memory.swap.max", ""),
        "memory_and_swap": _read("", "memory/memory.memsw.limit_in_bytes"),
        "host_swap": _host_swap(),
    }
    if fill:
        found["used"], found["ended"] = _fill(limit // MIB + 64)
    return found


def _fill(wanted: int) -> tuple[int, bool]:
    """MiB that a child used, and whether it was ended for them."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            held = []
            for _ in range(wanted):
                held.append(bytearray(b"x" * MIB))
                os.write(writer, b"x")
            os._exit(0)
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        used = len(file.read())
    return used, os.waitpid(child, 0)[1] != 0


def _host_swap() -> str:
    with suppress(OSError), open("/proc/meminfo", encoding="ascii") as file:
        return next((line.split()[1] for line in file if line.startswith("SwapTotal:")), "")
    return ""


def processors(burners: int, seconds: float) -> Json:
    """What the control group allows, and how many processor cores `burners` children used in `seconds`."""
    quota = _read("cpu.max", "cpu/cpu.cfs_quota_us")
    period = _read("", "cpu/cpu.cfs_period_us")
    started, children = time.monotonic(), []
    for _ in range(burners):
        child = os.fork()
        if child == 0:
            while time.monotonic() < started + seconds:
                pass
            os._exit(0)
        children.append(child)
    used = 0.0
    for child in children:
        _, _, usage = os.wait4(child, 0)
        used += usage.ru_utime + usage.ru_stime
    return {"quota": quota, "period": period, "used": used / (time.monotonic() - started), "cores": os.cpu_count() or 1}


def threads(most: int) -> Json:
    """How many threads could be there at once, which the kernel counts as processes; it stops at `most`."""
    limit, before = _read("pids.max", "pids/pids.max"), _tasks()
    started, refused = 0, ""
    _thread.stack_size(STACK_BYTES)  # so that the limit of processes is met before that of memory
    gate = _thread.allocate_lock()
    gate.acquire()
    try:
        while started < most:
            _thread.start_new_thread(_wait, (gate,))
            started += 1
    except RuntimeError as error:
        refused = str(error)
    gate.release()
    # A busy kernel counts threads for a while after they ended, and would refuse the next attack its process.
    deadline = time.monotonic() + SETTLE_SECONDS
    while _tasks() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    return {"limit": limit, "started": started, "refused": refused}


def _wait(gate: _thread.LockType) -> None:
    with gate:
        pass


def _tasks() -> int:
    """What the kernel counts against the limit now; 0 where it does not show it."""
    return int(_read("pids.current", "pids/pids.current") or 0)


def _read(second: str, first: str) -> str:
    """A limit in the words of version 2 or version 1 of control groups; empty where it is not shown."""
    for name in filter(None, (second, first)):
        with suppress(OSError), open(f"{CGROUPS}/{name}", encoding="ascii") as file:
            return file.read().strip()
    return ""
