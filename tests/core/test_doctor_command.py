"""``perstack doctor`` asks plugins about this machine; one that fails to answer is a finding, not a crash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import perstack
from fake_plugins import install
from perstack.errors import ExitCode

CHECKS = """
async def sound():
    return HealthReport(ok=True, detail="It is fine.")

async def ailing():
    return HealthReport(ok=False, detail="It is \\x1b[31mold.", fix="update it")

async def broken():
    raise RuntimeError("no idea")

@hookimpl
def perstack_doctor_checks():
    return [DoctorCheck(name=run.__name__, summary="The machine is " + run.__name__, run=run) for run in (RUNS)]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where plugins are installed; those in the working directory itself do not count."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def test_AO2_every_finding_has_its_line_and_what_helps(tmp_path, site) -> None:
    install(site, "acme", CHECKS.replace("RUNS", "sound, ailing, broken"))
    done = perstack("doctor", "acme", home=tmp_path, PYTHONPATH=str(site))
    assert done.returncode == ExitCode.FAILED, done.stderr
    assert done.stdout.splitlines() == [
        "ok    acme: The machine is sound",
        "        It is fine.",
        "FAIL  acme: The machine is ailing",
        "        It is \\x1b[31mold.",
        "        fix: update it",
        "FAIL  acme: The machine is broken",
        "        The check itself failed: no idea",
    ]
    rows = json.loads(perstack("doctor", "acme", "--json", home=tmp_path, PYTHONPATH=str(site)).stdout)
    assert [(row["check"], row["ok"]) for row in rows] == [("sound", True), ("ailing", False), ("broken", False)]


def test_a_plugin_that_has_no_checks_or_is_none_is_an_error(tmp_path, site) -> None:
    install(site, "acme", CHECKS.replace("RUNS", "sound,"))
    assert perstack("doctor", "acme", home=tmp_path, PYTHONPATH=str(site)).returncode == ExitCode.COMPLETED
    done = perstack("doctor", "acme", "acne", home=tmp_path, PYTHONPATH=str(site))
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert "'acne'" in done.stderr


def test_a_plugin_that_cannot_say_what_it_checks_is_a_finding(tmp_path, site) -> None:
    install(site, "acme", CHECKS.replace("RUNS", "1 / 0,"))
    done = perstack("doctor", "acme", home=tmp_path, PYTHONPATH=str(site))
    assert done.returncode == ExitCode.FAILED
    assert "FAIL  acme: The plugin says which checks it has." in done.stdout
    assert "division by zero" in done.stdout
