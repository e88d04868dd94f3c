"""The rows that have to be shown on each container engine, and which of them a run of the tests has shown there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

from requirements import FILE

ENGINES = ("docker", "podman")
Rows = Mapping[str, Mapping[str, str]]
"""Outcome by test, by id."""


def declared() -> list[str]:
    """The ids that have to be shown on each engine."""
    return list(tomllib.loads(FILE.read_text(encoding="utf-8"))["on-each-engine"]["shown"])


def outcomes(rows: Rows, ident: str, engine: str) -> list[str]:
    """Of the tests that have the engine among their parameters, or are those of its runtime."""
    return [
        outcome
        for test, outcome in rows.get(ident, {}).items()
        if f"/runtime_{engine}/" in test or engine in re.split(r"[-\[\]]", test.rpartition("::")[2])[1:]
    ]


def shown(rows: Rows, ident: str, engine: str) -> bool:
    """Whether a test on that engine has passed, and none has failed."""
    found = outcomes(rows, ident, engine)
    return "passed" in found and "failed" not in found


def problems(rows: Rows) -> list[str]:
    """What was not shown on an engine."""
    return [
        f"nothing shows {ident} on {engine}"
        for engine in ENGINES
        for ident in declared()
        if not shown(rows, ident, engine)
    ]


def counts(rows: Rows) -> list[str]:
    """How many rows were declared, run and passed on each engine."""
    lines = []
    for engine in ENGINES:
        run = [ident for ident in declared() if outcomes(rows, ident, engine)]
        passed = sum(shown(rows, ident, engine) for ident in run)
        lines.append(f"{engine}: {len(declared())} declared, {len(run)} run, {passed} passed")
    return lines
