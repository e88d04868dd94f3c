"""Every distribution can be installed alone, and each says the same as the others where they must agree."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from repository import ROOT, Distribution, distributions, read_toml

ALL = distributions()
each = pytest.mark.parametrize("distribution", ALL, ids=lambda distribution: distribution.name)
METAPACKAGE = read_toml(ROOT / "pyproject.toml")
OURS = {distribution.name for distribution in ALL} | {"perstack"}
STDLIB_ONLY = {"perstack-proxy": set[str](), "perstack-skill-base": {"perstack_proxy"}}

# Import names of a declared dependency that are not its own name.
PART_OF = {"pydantic_core": "pydantic", "httpcore2": "httpx2"}


def imported_roots(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in plain | froms}


def literal_version(path: Path) -> object:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__version__" for t in node.targets
        ):
            return ast.literal_eval(node.value)
    return None


@each
def test_the_project_file_has_what_every_one_of_ours_has(distribution: Distribution) -> None:
    project = distribution.project
    assert project["requires-python"] == METAPACKAGE["project"]["requires-python"]  # type: ignore[index]
    assert project["license"] == "Apache-2.0"
    assert project["readme"] == "README.md"
    assert (distribution.folder / "README.md").read_text().startswith(f"# {distribution.name}\n")
    assert (distribution.folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (distribution.source / "py.typed").is_file()
    assert distribution.tool["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{distribution.package}"]  # type: ignore[index]


@each
def test_versions_move_in_lockstep(distribution: Distribution) -> None:
    version = METAPACKAGE["project"]["version"]  # type: ignore[index]
    assert distribution.project["version"] == version
    assert literal_version(distribution.source / "__init__.py") == version


@each
def test_our_own_pins_are_exact_and_others_are_ranges(distribution: Distribution) -> None:
    version = METAPACKAGE["project"]["version"]  # type: ignore[index]
    for requirement in map(Requirement, distribution.dependencies):
        if distribution.name == "perstack-example-guard" and requirement.name == "perstack-core":
            assert requirement.specifier == SpecifierSet(">=0.1,<0.2"), "written as anybody's plugin would be"
        elif canonicalize_name(requirement.name) in OURS:
            assert str(requirement.specifier) == f"=={version}", requirement
        else:
            operators = {specifier.operator for specifier in requirement.specifier}
            assert operators, f"{requirement} has no lower bound"
            assert "==" not in operators, requirement


@each
def test_imports_are_declared_as_dependencies(distribution: Distribution) -> None:
    declared = {Requirement(item).name for item in distribution.dependencies}
    for extra in distribution.project.get("optional-dependencies", {}).values():  # type: ignore[attr-defined]
        declared |= {Requirement(item).name for item in extra}
    by_import = {"perstack" if name == "perstack-core" else name.replace("-", "_") for name in declared}
    imported = set[str]().union(*(imported_roots(path) for path in distribution.modules()))
    foreign = imported - sys.stdlib_module_names - {distribution.package}
    assert {PART_OF.get(name, name) for name in foreign} <= by_import


@pytest.mark.parametrize("name", sorted(STDLIB_ONLY))
def test_code_that_runs_in_sandboxes_imports_the_standard_library_and_the_leaf_only(name: str) -> None:
    [distribution] = [candidate for candidate in ALL if candidate.name == name]
    assert distribution.modules()
    imported = set[str]().union(*(imported_roots(path) for path in distribution.modules()))
    assert imported - sys.stdlib_module_names - {distribution.package} <= STDLIB_ONLY[name]


@each
def test_a_plugin_is_one_entry_point_named_after_its_distribution(distribution: Distribution) -> None:
    groups = distribution.project.get("entry-points", {})
    if distribution.name in {"perstack-core", *STDLIB_ONLY}:
        assert groups == {}
        return
    value = f"{distribution.package}.plugin"
    assert groups == {"perstack": {distribution.short_name: value}}
    importlib.import_module(value)


def test_the_console_script_is_cores() -> None:
    scripts = {d.name: d.project.get("scripts") for d in ALL if "perstack" in d.project.get("scripts", {})}  # type: ignore[operator]
    assert scripts == {"perstack-core": {"perstack": "perstack.cli.main:main"}}
    assert callable(importlib.import_module("perstack.cli.main").main)


def test_the_metapackage_names_only_ours_and_has_no_code() -> None:
    project = METAPACKAGE["project"]
    optional = project["optional-dependencies"]  # type: ignore[index]
    named = [*project["dependencies"], *(item for extra in optional.values() for item in extra)]  # type: ignore[index]
    assert {canonicalize_name(Requirement(item).name) for item in named} <= OURS
    assert not (ROOT / "src").exists()


def test_the_workspace_knows_every_member_by_name() -> None:
    sources = METAPACKAGE["tool"]["uv"]["sources"]  # type: ignore[index]
    assert set(sources) == {distribution.name for distribution in ALL}


def test_import_contracts_know_every_package() -> None:
    linter = METAPACKAGE["tool"]["importlinter"]  # type: ignore[index]
    assert set(linter["root_packages"]) == {distribution.package for distribution in ALL}


def test_pins_are_exact_and_carry_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+( ; .+)?", line)] == []


def test_the_changelog_knows_the_version() -> None:
    version = METAPACKAGE["project"]["version"]  # type: ignore[index]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
