"""Where things stand: test folders, public names, and nothing that belongs to one machine."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest
from repository import ROOT, distributions, relative, tracked_files

# Tests of more than one distribution: each folder is named after what it shows.
SHARED_TEST_FOLDERS = {"contract", "integration", "interop", "repo", "run", "security", "support", "testing", "data"}
PACKAGES = [distribution for distribution in distributions() if distribution.modules()]
REGISTRIES = ["pypi." + "org", "python" + "hosted.org", "npm" + "js.", "deb.debian" + ".org", "proxy.golang" + ".org"]


def test_every_test_folder_is_named_after_a_distribution() -> None:
    expected = {d.short_name.replace("-", "_") for d in distributions()} | SHARED_TEST_FOLDERS
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - expected == set()


def test_no_test_folder_can_hide_a_package() -> None:
    folders = {path.name for path in (ROOT / "tests").rglob("*") if path.is_dir()}
    assert folders & {"docker", "podman"} == set()
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def bound_names(path: Path) -> set[str]:
    """The public names that a module's top level binds, imports under TYPE_CHECKING aside."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("distribution", PACKAGES, ids=lambda distribution: distribution.package)
def test_all_is_exactly_the_public_names_of_each_package(distribution) -> None:
    package = importlib.import_module(distribution.package)
    listed = set(getattr(package, "__all__", ()))
    assert bound_names(distribution.source / "__init__.py") <= listed
    assert [name for name in listed if not hasattr(package, name)] == []


EVERYWHERE = {"/", "/tmp", "/var/tmp", "/home", "/root", "/opt", "/srv", "/mnt"}
"""Directories that every machine has; a clone in one of them gives away nothing."""


def test_nothing_committed_names_a_registry_or_a_place_on_one_machine() -> None:
    places = {str(ROOT), sys.prefix, str(Path.home() / ".cache")}
    places |= {f"{parent}/" for parent in [ROOT.parent] if parent != Path.home() and str(parent) not in EVERYWHERE}
    found = []
    for path in tracked_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [(relative(path), word) for word in [*REGISTRIES, *places] if word in text]
    assert found == []


def test_no_lock_file_with_addresses_is_committed() -> None:
    names = {path.name for path in tracked_files()}
    assert names & {"uv.lock", "package-lock.json", "poetry.lock", "pdm.lock"} == set()


def unguarded_imports(path: Path) -> set[str]:
    """What a module imports whenever it is imported: statements at its top, outside any `if` or `try`."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    plain = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in body if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("distribution", PACKAGES, ids=lambda distribution: distribution.package)
def test_modules_that_windows_lacks_are_imported_under_a_guard(distribution) -> None:
    lacking = {"fcntl", "grp", "pwd", "resource", "termios", "tty", "pty"}
    found = {relative(path): unguarded_imports(path) & lacking for path in distribution.modules()}
    assert {name: modules for name, modules in found.items() if modules} == {}
