"""How far a fetch has come: a bar on a terminal, lines everywhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TextIO, TypeAlias

Report: TypeAlias = Callable[[str, int, int], None]
"""Told of each change: what is being done, bytes done, bytes in all."""

LINE_EVERY = 25
"""Percent between two lines where there is no bar."""


@contextlib.contextmanager
def progress(stream: TextIO, title: str) -> Iterator[Report]:
    """A `Report` that shows on `stream`."""
    if stream.isatty():
        with _bar(title) as report:
            yield report
    else:
        yield _Lines(stream, title)


class _Lines:
    """One line per quarter of each stage."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self._stream = stream
        self._title = title
        self._shown: tuple[str, int] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        percent = min(100, 100 * done // total) // LINE_EVERY * LINE_EVERY
        if (stage, percent) != self._shown:
            self._shown = (stage, percent)
            self._stream.write(f"{self._title}: {stage} {percent} %\n")
            self._stream.flush()


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title)

        def report(stage: str, done: int, total: int) -> None:
            bar.update(task, description=f"{title}: {stage}", completed=min(done, total), total=total)

        yield report
