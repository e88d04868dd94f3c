"""What the project has to show, and which tests say in their names that they show it.

`requirements.toml` holds every row and attack with its title, and a reason where there is no test.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("requirements.toml")
TESTS = Path(__file__).resolve().parents[1]
ID = re.compile(r"(?:^|_)((?:[TCNFPLVXORQZ]|A[SNFXMCOH])\d{1,2}|W_\d\d)(?=_|$)")
RANGE = re.compile(r"_([A-Z]{1,2})(\d{1,2})_to_\1(\d{1,2})(?=_)")
"""``N8_to_N15`` names each of them."""

RUNTIMES = {
    "containers": "docker, podman",
    "runtime_docker": "docker",
    "runtime_podman": "podman",
    "runtime_local": "local",
    "run": "local",
    "example_guard": "local",
    "interop": "local",
}
"""The runtimes that the tests of a folder use; those of other folders use none."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A row of the requirement, or an attack. `reason` says why no test covers it, and is empty where one should."""

    id: str
    title: str
    attack: bool
    reason: str = ""


@cache
def requirements() -> tuple[Requirement, ...]:
    """All of them, in their order."""
    data = tomllib.loads(FILE.read_text(encoding="utf-8"))
    reasons = data["without-test"]
    return tuple(
        Requirement(id=ident, title=title, attack=table == "attacks", reason=reasons.get(ident, ""))
        for table in ("rows", "attacks")
        for ident, title in data[table].items()
    )


def at_least() -> dict[str, int]:
    """How many rows and attacks a whole run shows."""
    return dict(tomllib.loads(FILE.read_text(encoding="utf-8"))["at-least"])


def ids_of(test: str) -> list[str]:
    """The ids in a test's node id or name, in order."""
    name = test.rpartition("::")[2].partition("[")[0].partition("@")[0]
    found = [each.replace("_", "-") for each in ID.findall(RANGE.sub(_every, name))]
    return list(dict.fromkeys(found))


def _every(match: re.Match[str]) -> str:
    letters, first, last = match[1], int(match[2]), int(match[3])
    return "_" + "_".join(f"{letters}{number}" for number in range(first, last + 1))


STRONGEST_FIRST = ("containers", "runtime_docker", "runtime_podman", "run", "security", "runtime_local", "interop")
"""Folders whose tests see the most of the whole; those of other folders follow, and documents' tests are last."""


@dataclass(frozen=True, kw_only=True)
class NamedTest:
    """A test as its file has it."""

    path: str
    name: str

    @property
    def rank(self) -> tuple[int, str, str]:
        """Its place among the tests of one id."""
        folder = self.path.split("/")[1]
        order = STRONGEST_FIRST.index(folder) if folder in STRONGEST_FIRST else len(STRONGEST_FIRST)
        return order + (folder == "repo"), self.path, self.name

    @property
    def runtimes(self) -> str:
        return RUNTIMES.get(self.path.split("/")[1], "-")


def covering() -> dict[str, list[NamedTest]]:
    """The tests that have each id in their name, from their files alone."""
    found: dict[str, list[NamedTest]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for name in _functions(ast.parse(path.read_text(encoding="utf-8"))):
            test = NamedTest(path=path.relative_to(TESTS.parent).as_posix(), name=name)
            for each in ids_of(name):
                found.setdefault(each, []).append(test)
    return {ident: sorted(tests, key=lambda test: test.rank) for ident, tests in found.items()}


def _functions(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name
