"""healthCheck: that the server answers, and from where."""

from __future__ import annotations

import os
import time

from perstack_proxy.limits import MIB

from perstack_skill_base.calls import Call, ToolResult

_STARTED = time.monotonic()


def health_check(call: Call) -> ToolResult:
    """Always `ok`: a server that cannot work does not answer."""
    current, peak = _memory()
    return ToolResult(
        {
            "status": "ok",
            "workspace": call.workspace.root,
            "uptime": f"{int(time.monotonic() - _STARTED)}s",
            "memory": {"heapUsed": f"{current // MIB}MB", "heapTotal": f"{peak // MIB}MB"},
            "pid": os.getpid(),
        }
    )


def _memory() -> tuple[int, int]:
    """Resident bytes now and at most; the peak for both where the system does not tell."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"), peak
    except OSError:
        return peak, peak
