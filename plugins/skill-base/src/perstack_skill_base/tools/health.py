"""healthCheck: that the server answers, and from where."""

from __future__ import annotations

import os
import time

from perstack_proxy.limits import KIB, MIB

from perstack_skill_base.calls import STARTED, Call, ToolResult


def health_check(call: Call) -> ToolResult:
    """Always `ok`: a server that cannot work does not answer."""
    current, peak = _memory()
    return ToolResult(
        {
            "status": "ok",
            "workspace": call.workspace.root,
            "uptime": f"{int(time.monotonic() - STARTED)}s",
            "memory": {"heapUsed": f"{current // MIB}MB", "heapTotal": f"{peak // MIB}MB"},
            "pid": os.getpid(),
        }
    )


def _memory() -> tuple[int, int]:
    """Resident bytes now and at most; the peak for both where the system does not tell."""
    try:
        with open("/proc/self/status", "rb") as file:
            lines = dict(line.split(b":", 1) for line in file)
        return int(lines[b"VmRSS"].split()[0]) * KIB, int(lines[b"VmHWM"].split()[0]) * KIB
    except (OSError, KeyError):
        import resource  # on Linux its peak would include the process that started this one

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak, peak
