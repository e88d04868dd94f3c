"""`perstack plugins` tells what is installed without running it, and what is wrong with one plugin."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from command_line import perstack
from fake_plugins import install, runtime
from perstack.errors import ExitCode


@pytest.fixture
def site(tmp_path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def plugins(tmp_path, site):
    home = tmp_path / "home"
    home.mkdir()

    def run(*arguments: str, **environment: str):
        return perstack("plugins", *arguments, home=home, PYTHONPATH=str(site), **environment)

    return run


def test_the_list_imports_no_plugin_and_knows_who_is_kept_out(site, plugins) -> None:
    fakes = [
        install(site, "acme", runtime("acme"), version="1.5", summary="Acme's sandboxes"),
        install(site, "future", requires=("perstack-core>=9",)),
    ]
    done = plugins("list", PERSTACK_PLUGINS="acme,future")
    assert done.returncode == 0, done.stderr
    by_name = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert by_name["acme"].split()[1:3] == ["1.5", "installed"]
    assert "Acme's sandboxes" in by_name["acme"]
    assert by_name["future"].split()[2] == "incompatible"
    assert by_name["example-guard"].split()[2] == "not-allowed"
    assert not any(fake.was_imported for fake in fakes)


def test_the_list_as_json_has_every_field(site, plugins) -> None:
    fake = install(site, "acme", runtime("acme"))
    [found] = [one for one in json.loads(plugins("list", "--json").stdout) if one["name"] == "acme"]
    assert found == {
        "name": "acme",
        "distribution": "perstack-acme",
        "version": "1.0",
        "module": fake.module,
        "status": "installed",
        "cause": "",
        "summary": "A plugin of the tests",
        "hooks": [],
    }


def test_the_settings_of_the_user_and_of_the_project_are_heard(site, plugins, tmp_path) -> None:
    install(site, "acme")
    install(site, "other")
    settings = tmp_path / "home" / ".config" / "perstack"
    settings.mkdir(parents=True)
    (settings / "config.toml").write_text('[plugins]\nallow = ["acme", "other"]\n')
    (tmp_path / "home" / "perstack.toml").write_text('[plugins]\nblock = ["other"]\n')
    statuses = {one["name"]: one["status"] for one in json.loads(plugins("list", "--json").stdout)}
    assert statuses["acme"] == "installed"
    assert statuses["other"] == "blocked"
    assert statuses["example-guard"] == "not-allowed"


def test_show_imports_one_plugin_and_prints_its_hooks(site, plugins) -> None:
    shown, other = install(site, "acme", runtime("acme")), install(site, "other")
    done = plugins("show", "acme")
    assert "status    active\n" in done.stdout
    assert "hooks     perstack_register_runtimes\n" in done.stdout
    assert (shown.was_imported, other.was_imported) == (True, False)


def test_show_says_why_and_where_a_plugin_failed(site, plugins) -> None:
    canary = uuid.uuid4().hex
    fake = install(site, "acme", f"raise RuntimeError({canary!r})")
    shown = json.loads(plugins("show", "acme", "--json").stdout)
    assert shown["status"] == "failed"
    assert canary in shown["cause"]
    assert shown["at"].startswith(str(site / f"{fake.module}.py:"))


def test_show_does_not_import_a_blocked_plugin(site, plugins) -> None:
    fake = install(site, "acme", runtime("acme"))
    done = plugins("show", "acme", PERSTACK_PLUGINS="")
    assert "status    not-allowed\n" in done.stdout
    assert not fake.was_imported


def test_a_plugin_that_is_not_installed_is_an_error_that_says_where_to_look(plugins) -> None:
    done = plugins("show", "runtime-absent")
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert "'runtime-absent' is not installed" in done.stderr
    assert "perstack plugins list" in done.stderr


def test_what_a_plugin_says_of_itself_cannot_reach_the_terminal_raw(site, plugins) -> None:
    install(site, "acme", summary="\x1b[2J cleared")
    assert "\\x1b[2J cleared" in plugins("list").stdout


def failed_checks(done) -> dict[str, str]:
    return {one["id"]: one["problem"] for one in json.loads(done.stdout) if one["problem"]}


def test_a_well_made_plugin_passes_every_check(site, plugins) -> None:
    done = plugins("check", "runtime-local", "--json")
    assert (done.returncode, failed_checks(done)) == (0, {})
    assert {one["control"] for one in json.loads(done.stdout) if one.get("control")} == {"env"}
    assert plugins("check", "example-guard").returncode == 0


def test_check_finds_a_runtime_that_does_not_keep_the_contract(site, plugins) -> None:
    install(site, "acme", runtime("acme"))
    done = plugins("check", "acme", "--json")
    assert done.returncode == ExitCode.FAILED
    assert "preflight:says-what-to-do" in failed_checks(done)
    assert "io:binary" not in done.stdout, "a runtime that does not work here is not tried further"


def test_check_finds_an_sdk_that_the_module_imports(site, plugins) -> None:
    install(site, "acme", "import httpx2\n" + runtime("acme"))
    done = plugins("check", "acme", "--json")
    assert done.returncode == ExitCode.FAILED
    assert "httpx2" in failed_checks(done)["load:no-sdk-import"]


def test_check_finds_an_sdk_that_a_hook_imports(site, plugins) -> None:
    install(site, "acme", runtime("acme").replace("    return", "    import httpx2\n    return"))
    problems = failed_checks(plugins("check", "acme", "--json"))
    assert problems.keys() == {"load:factory-late"}
    assert "httpx2" in problems["load:factory-late"]


def test_check_finds_what_is_wrong_with_the_metadata(site, plugins) -> None:
    install(site, "acme", runtime("acme"), distribution="other-name", requires=())
    problems = failed_checks(plugins("check", "acme", "--json"))
    assert "'other-name'" in problems["metadata:name"]
    assert "perstack-core" in problems["metadata:core-range"]


def test_check_finds_a_descriptor_that_is_not_whole(site, plugins) -> None:
    source = runtime("has space").replace("A runtime", " ").replace("frozenset()", "frozenset({'magic'})")
    install(site, "acme", source)
    problem = failed_checks(plugins("check", "acme", "--json"))["load:spec-valid"]
    assert "'has space'" in problem
    assert "no summary" in problem
    assert "'magic'" in problem


def test_check_of_a_plugin_that_does_not_load_says_why(site, plugins) -> None:
    install(site, "acme", "import nowhere_at_all")
    done = plugins("check", "acme")
    assert done.returncode == ExitCode.FAILED
    assert "nowhere_at_all" in done.stdout


def test_a_run_of_a_project_with_a_failed_guard_stops_with_its_cause(site, tmp_path) -> None:
    canary = uuid.uuid4().hex
    install(site, "guard", f"raise RuntimeError({canary!r})")
    project = tmp_path / "project"
    project.mkdir()
    experts = '[experts.e]\ninstruction = "i"\n'
    file = project / "perstack.toml"

    def check(text: str):
        file.write_text(text)
        return perstack("check", home=tmp_path, cwd=project, PYTHONPATH=str(site))

    without = check(experts)
    assert without.returncode == 0, without.stderr
    assert canary in without.stderr, "it is reported all the same"
    for text in ('[plugins]\nrequire = ["guard"]\n', "[plugins.guard]\nstrict = true\n"):
        stopped = check(text + experts)
        assert stopped.returncode == ExitCode.USAGE
        assert canary in stopped.stderr + stopped.stdout
    assert check('[plugins]\nblock = ["guard"]\n[plugins.guard]\nstrict = true\n' + experts).returncode == 0
