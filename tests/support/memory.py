"""How much memory a process of a test has needed at most."""

from __future__ import annotations

PEAK = """
def peak_kib():
    try:
        with open("/proc/self/status") as status:
            return int(next(line.split()[1] for line in status if line.startswith("VmHWM")))
    except FileNotFoundError:  # not Linux
        import resource, sys
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
"""
"""Source of `peak_kib()`. The kernel counts what a process's parent held into ``ru_maxrss``; this is its own alone."""
