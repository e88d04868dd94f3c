"""The packages that a command line fetches are found, and those without an exact version are told apart."""

from __future__ import annotations

import pytest
from perstack.policy.packages import packages


def found(line: str) -> list[tuple[str, str | None, bool]] | None:
    of = packages(line.split())
    return None if of is None else [(package.spec, package.version, package.elsewhere) for package in of]


@pytest.mark.parametrize(
    ("line", "spec", "version"),
    [
        ("npx -y @scope/name@1.2.3", "@scope/name@1.2.3", "1.2.3"),
        ("npx -y name@1.2.3 --flag other", "name@1.2.3", "1.2.3"),
        ("npx --yes @scope/name", "@scope/name", None),
        ("npx name@latest", "name@latest", None),
        ("npx name@^1.2.3", "name@^1.2.3", None),
        ("npx name@~1", "name@~1", None),
        ("npx name@>=1", "name@>=1", None),
        ("npx name@*", "name@*", None),
        ("npx -p name@1.0.0 binary", "name@1.0.0", "1.0.0"),
        ("npx --package=name binary", "name", None),
        ("/usr/local/bin/npx name", "name", None),
        ("npx.cmd name@2.0.0", "name@2.0.0", "2.0.0"),
        ("npm exec -- name@1.0.0", "name@1.0.0", "1.0.0"),
        ("pnpm dlx name", "name", None),
        ("bunx name@1.0.0", "name@1.0.0", "1.0.0"),
        ("uvx mcp-server-time", "mcp-server-time", None),
        ("uvx mcp-server-time==2025.1.1", "mcp-server-time==2025.1.1", "2025.1.1"),
        ("uvx mcp-server-time@2025.1.1", "mcp-server-time@2025.1.1", "2025.1.1"),
        ("uvx --from name==1.0 binary", "name==1.0", "1.0"),
        ("uvx --python 3.12 name>=1", "name>=1", None),
        ("uvx name[extra]==1.0", "name[extra]==1.0", "1.0"),
        ("uv tool run name==1.0", "name==1.0", "1.0"),
        ("pipx run --spec name==1.0 binary", "name==1.0", "1.0"),
    ],
)
def test_Q4_the_version_of_a_package_is_exact_or_it_is_not(line, spec, version) -> None:
    assert found(line) == [(spec, version, False)]


@pytest.mark.parametrize(
    "spec",
    [
        "git+https://h.example/r.git",
        "https://h.example/p.tgz",
        "github:owner/repo",
        "owner/repo#main",
        "./local",
        "../local",
        "/abs/path",
        "file:x",
        "name@https://h.example/p.tgz",
        "name@git+ssh://h/r",
    ],
)
@pytest.mark.parametrize("launcher", ["npx", "uvx --from"])
def test_Q4_a_package_from_outside_of_its_registry_is_told_apart(launcher, spec) -> None:
    assert found(f"{launcher} {spec}") == [(spec, None, True)]


def test_packages_besides_the_one_that_is_started_count_as_well() -> None:
    assert found("uvx --with extra --from name==1.0 binary") == [("extra", None, False), ("name==1.0", "1.0", False)]


@pytest.mark.parametrize("line", ["python -m x", "node server.js", "npm start", "/opt/server", "uv run x"])
def test_other_programs_fetch_no_packages(line) -> None:
    assert found(line) is None


@pytest.mark.parametrize("line", ["npx", "npx -y", "uvx --from"])
def test_a_launcher_whose_package_cannot_be_seen_has_none_that_is_known(line) -> None:
    assert not [package for package in packages(line.split()) or () if package.version]
