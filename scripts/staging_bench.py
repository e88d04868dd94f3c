"""What a copy of a workspace costs, for `scripts/bench`: 10,000 files of 2 kB copied, and looked through."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from perstack.staging.copies import About, Copies, StagedCopy, sandbox_owner

DIRECTORIES, FILES = 200, 50


@contextmanager
def workspace() -> Iterator[tuple[Path, Path]]:
    """A workspace, and a state directory beside it."""
    with tempfile.TemporaryDirectory(prefix="perstack-bench-") as name:
        place = Path(name) / "workspace"
        for number in range(DIRECTORIES):
            directory = place / f"{number // 20}" / f"{number}"
            directory.mkdir(parents=True)
            for file in range(FILES):
                (directory / f"{file}.py").write_text("x" * 2000)
        yield place, Path(name) / "state"


def _copy(place: Path, state: Path) -> StagedCopy:
    about = About(id="job", job="job", workspace=str(place), purpose="overlay")
    return Copies(state).make(about, sandbox_owner(place))


def copied(runs: int) -> float:
    """Seconds until the copy is there."""
    times = []
    with workspace() as (place, state):
        for _ in range(runs):
            started = time.perf_counter()
            copy = _copy(place, state)
            times.append(time.perf_counter() - started)
            copy.drop()
    return median(times)


def looked_at(runs: int) -> float:
    """Seconds of the look after a tool call."""
    times = []
    with workspace() as (place, state):
        copy = _copy(place, state)
        for _ in range(10 * runs):
            started = time.perf_counter()
            copy.scan()
            times.append(time.perf_counter() - started)
        copy.drop()
    return median(times)
