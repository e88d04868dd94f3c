"""The base skill's figures for `scripts/bench`: its server as a process, asked over MCP."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from base_tools import Server

FILES = 10_000
CALLS = 300
FLOOD = "import sys\nfor _ in range(16_384): sys.stdout.write('x' * 65_535 + '\\n')"


@contextmanager
def server() -> Iterator[tuple[Server, Path]]:
    """A server in a workspace of its own."""
    with tempfile.TemporaryDirectory(prefix="perstack-bench-") as name:
        started = Server(name)
        try:
            yield started, Path(name)
        finally:
            started.close()


def ready(runs: int) -> float:
    """Seconds from the start of the process until its tools are listed."""

    def once() -> None:
        with server() as (started, _):
            started.request("tools/list")
            times.append(time.perf_counter() - begun)

    times: list[float] = []
    for _ in range(runs):
        begun = time.perf_counter()
        once()
    return median(times)


def read() -> float:
    """Median seconds of reading a file of 10 KB."""
    with server() as (started, folder):
        (folder / "ten").write_text("x" * 10_000)
        return _median(lambda: started.ok("readTextFile", path="ten"), CALLS)


def write() -> float:
    """Median seconds of replacing a file of 10 KB."""
    with server() as (started, _):
        return _median(lambda: started.ok("writeTextFile", path="ten", text="x" * 10_000), CALLS)


def search_against_ripgrep(runs: int) -> float:
    """Time of a search of 10,000 files, over that of ripgrep for the same lines.

    Raises:
        FileNotFoundError: There is no ripgrep to compare with.
    """
    ripgrep = shutil.which("rg")
    if ripgrep is None:
        raise FileNotFoundError("needs ripgrep (rg) to compare with")
    with server() as (started, folder):
        _fill(folder)
        expected = subprocess.run([ripgrep, "-c", "needle", "."], cwd=folder, capture_output=True, check=True).stdout
        found = started.ok("searchFiles", pattern="needle")
        assert len(found["files"]) == expected.count(b"\n")
        theirs, ours = [], []
        command = [ripgrep, "--json", "needle", "."]
        for _ in range(runs):  # by turns, so that both meet the same load
            theirs.append(_once(lambda: subprocess.run(command, cwd=folder, capture_output=True, check=True)))
            ours.append(_once(lambda: started.ok("searchFiles", pattern="needle")))
        return median(ours) / median(theirs)


def flood_memory() -> float:
    """Peak MB of the server when a command prints 1 GB."""
    with server() as (started, _):
        words = ("exec", {"command": sys.executable, "args": ["-c", FLOOD], "timeout": 300_000})
        (result,) = started.together(words, seconds=300)
        assert result["bytes"]["stdout"] == 1024**3
        return float(started.ok("healthCheck")["memory"]["heapTotal"].removesuffix("MB"))


def _fill(folder: Path) -> None:
    """A tree of source-like files with a fixed seed; one in 500 has the word that is searched for."""
    rng = random.Random(1)  # noqa: S311 - no secret
    words = ["".join(rng.choice("abcdefghij") for _ in range(7)) for _ in range(2_000)]
    for number in range(FILES):
        path = folder / f"d{number // 100}" / f"f{number}.py"
        path.parent.mkdir(exist_ok=True)
        lines = [" ".join(rng.choices(words, k=8)) for _ in range(40)]
        path.write_text("\n".join([*lines, "needle here" if number % 500 == 0 else "hay", ""]))


def _once(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def _median(action: Callable[[], object], count: int) -> float:
    return median(_once(action) for _ in range(count))
