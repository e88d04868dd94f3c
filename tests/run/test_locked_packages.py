"""What a registry may do to whoever installs from it: nothing. Asked on the local runtime, in the fake internet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from locked import LockedProject, locked_project, shout, skill
from package_registry import HOST, PackageRegistry
from perstack.errors import ExitCode
from perstack.testing.model_server import Call

pytestmark = pytest.mark.interop

ARCHIVE = "/npm/shout/-/shout-1.0.0.tgz"
PRIVATE = "10.20.30.40"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[LockedProject]:
    if shutil.which("npm") is None:
        pytest.fail("npm is missing: run scripts/test-servers, as `make test` does")
    registry = PackageRegistry()
    registry.add_npm(shout("first"))
    with locked_project(tmp_path, "local", registry) as project:
        project.write(skill("shout", "npx", "shout", "--loud"))
        yield project


def point_to(made: LockedProject, url: str) -> None:
    """The registry says that the archive is there."""
    document = json.loads(made.registry.pages["/npm/shout"][1])
    document["versions"]["1.0.0"]["dist"]["tarball"] = url
    made.net.pages["/npm/shout"] = ("application/json", json.dumps(document).encode())


def test_packages_are_installed_and_run_on_the_local_runtime_too(made) -> None:
    assert made.install().exit_code == 0
    made.net.forget()
    result = made.run(Call("shout", {}))
    assert result.exit_code == 0, result.stderr
    assert result.tool_results == {"shout": "first"}
    (started,) = [event for event in result.of("skillStarting") if event["skillName"] == "shout"]
    assert started["command"] == "node"
    assert str(started["args"][0]).endswith("/node_modules/shout/index.js")
    assert started["args"][1:] == ["--loud"]
    assert made.requests() == []


def test_installed_packages_are_listed_and_removed_when_they_are_not_used(made) -> None:
    assert made.install().exit_code == 0
    listed = made.install("--list", "--json")
    assert [row["packages"] for row in json.loads(listed.stdout)] == ["npm shout"]
    for days, left in ((1, 1), (0, 0)):
        removed = made.project.perstack("gc", "--runtime", "local", "--packages", str(days), env=made.env)
        assert removed.exit_code == 0, removed.stderr
        assert len(list(made.store.glob("*.json"))) == left
    assert "removed packages npm shout" in removed.stdout
    missing = made.run()
    assert missing.exit_code == ExitCode.REFUSED
    assert "perstack install --runtime local box" in missing.stderr
    before = made.lock.read_bytes()
    assert made.install().exit_code == 0, "the lock brings them back"
    assert made.lock.read_bytes() == before


def test_Q4_the_review_tells_locked_packages_from_those_that_only_a_name_fixes(made) -> None:
    def codes() -> set[str]:
        checked = made.project.perstack("check", "--review", "--json", "--runtime", "local", env=made.env)
        return {found["code"] for found in json.loads(checked.stdout)["findings"]}

    assert {"PKG001", "PKG004"} & codes() == {"PKG001"}
    assert made.install().exit_code == 0
    assert {"PKG001", "PKG004"} & codes() == {"PKG004"}
    made.write(skill("shout", "npx", "shout@2.0.0"))
    assert "PKG004" not in codes(), "what is started now was not locked"


@pytest.mark.parametrize("file", ["npmrc", "env"])
def test_AC2_a_project_cannot_name_the_registry(made, file) -> None:
    if file == "npmrc":
        (made.project.directory / ".npmrc").write_text("registry=https://evil.example/\n")
    else:
        (made.project.directory / ".env").write_text("NPM_CONFIG_REGISTRY=https://evil.example/\n")
    result = made.install()
    assert result.exit_code == 0, result.stderr
    assert {arrival.server_name for arrival in made.net.arrivals} == {HOST}
    assert made.net.asked() == {HOST}


def test_AN5_Q15_a_registry_leads_to_no_private_address_and_to_nothing_without_encryption(made) -> None:
    made.net.name("inside.fnet.example", [PRIVATE])
    made.net.serve(PRIVATE, 443, tls=False)
    for url in (
        f"https://inside.fnet.example{ARCHIVE}",
        f"https://169.254.169.254{ARCHIVE}",
        f"http://{HOST}{ARCHIVE}",
        "file:///etc/passwd",
        "https://[",
        f"https://{HOST}/\0",
        f"https://me:secret@inside.fnet.example{ARCHIVE}",
    ):
        point_to(made, url)
        made.net.forget()
        result = made.install()
        assert result.exit_code == ExitCode.FAILED, url
        assert "internal error" not in result.stderr, url
        assert "secret" not in result.stderr, url
        assert {arrival.address for arrival in made.net.arrivals} == {"93.184.216.71"}, url
        assert not made.lock.exists()
    point_to(made, f"https://{HOST}{ARCHIVE}")
    assert made.install().exit_code == 0, "the control"


def test_AC2_an_archive_that_is_not_what_the_registry_says_is_not_unpacked(made) -> None:
    made.net.pages[ARCHIVE] = ("application/octet-stream", shout("other"))
    result = made.install()
    assert result.exit_code == ExitCode.CHANGED
    assert "was published again with other content" in result.stderr
    assert not list(made.store.glob("*")), "nothing is left"
    made.serve()
    assert made.install().exit_code == 0, "the control"


def test_AC2_a_lock_that_holds_another_package_than_the_command_names_is_refused(made) -> None:
    made.registry.add_npm(shout("evil", name="evil"))
    made.registry.add_npm(shout("old", version="0.9.0"))
    made.registry.add_npm(shout("first"))
    made.serve()
    assert made.install().exit_code == 0
    honest = made.lock.read_text()
    for was, now, why in (
        ('name = "shout"', 'name = "evil"', "package shout"),
        ("node_modules/shout/index.js", "node_modules/other/index.js", "program node_modules/other/index.js"),
    ):
        made.lock.write_text(honest.replace(was, now))
        for result in (made.run(), made.install()):
            assert result.exit_code == ExitCode.CHANGED, was
            assert why in result.stderr
    made.lock.write_text(honest.replace('"npx", "-y", "shout"', '"npx", "-y", "shout@0.9.0"'))
    made.write(skill("shout", "npx", "shout@0.9.0", "--loud"))
    assert "package shout 0.9.0 is not among what is locked" in made.run().stderr
    made.lock.write_text(honest)
    made.write(skill("shout", "npx", "shout", "--loud"))
    assert made.run().exit_code == 0, "the control"


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("https://evil.example/p.tgz", "comes from no registry"),
        ("git+https://evil.example/p.git", "comes from no registry"),
        ("file:../p", "comes from no registry"),
        ("--registry=https://evil.example", "cannot be locked"),
        ("--userconfig=x", "cannot be locked"),
    ],
)
def test_AC2_a_command_line_that_asks_for_more_than_a_package_is_not_installed(made, argument, why) -> None:
    made.write(skill("shout", "npx", argument, "shout"))
    result = made.install()
    assert result.exit_code == ExitCode.FAILED
    assert why in result.stderr
    assert made.net.arrivals == []


def test_a_package_that_is_not_there_is_said_in_the_tools_own_words(made) -> None:
    made.write(skill("shout", "npx", "missing-package"))
    result = made.install()
    assert result.exit_code == ExitCode.FAILED
    assert "missing-package" in result.stderr
    assert "404" in result.stderr
