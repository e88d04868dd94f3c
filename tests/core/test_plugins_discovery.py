"""Installed plugins are found by their metadata, and nothing is imported for that."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from fake_plugins import install
from perstack.errors import ConfigError, UsageError
from perstack.plugins.compatibility import incompatibility
from perstack.plugins.discovery import GROUP, discover
from perstack.plugins.records import PluginSelection
from perstack.plugins.selection import select


def test_a_candidate_carries_what_its_metadata_says(tmp_path) -> None:
    fake = install(tmp_path, "acme", distribution="Acme.Tools", version="1.2", requires=("perstack-core>=0.1", "x"))
    [found] = discover([str(tmp_path)])
    assert (found.name, found.distribution, found.version, found.module) == ("acme", "Acme.Tools", "1.2", fake.module)
    assert found.requires == ("perstack-core>=0.1", "x")
    assert found.summary == "A plugin of the tests"
    assert not fake.was_imported


def test_discovery_agrees_with_the_standard_library_on_this_environment() -> None:
    theirs = {(point.name, point.value) for point in importlib.metadata.entry_points(group=GROUP)}
    ours = {(candidate.name, candidate.module) for candidate in discover()}
    assert ("example-guard", "perstack_example_guard.plugin") in ours
    assert ours == theirs


def test_the_first_copy_on_the_path_counts_whatever_its_spelling(tmp_path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    install(tmp_path / "one", "acme", distribution="perstack-acme", version="1.0")
    install(tmp_path / "two", "acme", distribution="Perstack_Acme", version="2.0")
    path = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert [found.version for found in discover(path)] == ["1.0"]
    assert [found.version for found in discover(path[::-1])] == ["2.0"]


def test_a_first_copy_without_plugins_hides_a_later_one_with(tmp_path) -> None:
    (tmp_path / "one" / "perstack_acme-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "two").mkdir()
    install(tmp_path / "two", "acme")
    assert discover([str(tmp_path / "one"), str(tmp_path / "two")]) == ()


def test_the_current_directory_is_never_looked_into(tmp_path, monkeypatch) -> None:
    install(tmp_path, "acme")
    assert [found.name for found in discover([str(tmp_path)])] == ["acme"]
    monkeypatch.chdir(tmp_path)
    assert discover([str(tmp_path), "", "."]) == ()


def test_what_cannot_be_read_is_passed_over(tmp_path) -> None:
    install(tmp_path, "acme")
    (tmp_path / "broken-1.0.dist-info").mkdir()
    (tmp_path / "broken-1.0.dist-info" / "entry_points.txt").write_bytes(b"[perstack]\n\xff\xfe\n[")
    (tmp_path / "file-1.0.dist-info").write_text("")
    (tmp_path / "~erstack_old-1.0.dist-info").mkdir()
    (tmp_path / "zip").write_bytes(b"PK")
    path = [str(tmp_path / "absent"), str(tmp_path / "zip"), str(tmp_path)]
    assert [found.name for found in discover(path)] == ["acme"]


def test_a_cloned_project_cannot_bring_a_plugin_or_a_module(tmp_path) -> None:
    fake = install(tmp_path, "intruder")
    (tmp_path / "argparse.py").write_text("raise SystemExit('a module of the project was imported')")
    control = subprocess.run([sys.executable, "-c", "import argparse"], cwd=tmp_path, capture_output=True, check=False)
    assert b"a module of the project was imported" in control.stderr
    assert [found.name for found in discover([str(tmp_path)])] == ["intruder"]
    listing = [sys.executable, "-m", "perstack", "plugins", "list"]

    done = subprocess.run(listing, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert "example-guard" in done.stdout
    assert "intruder" not in done.stdout
    assert not fake.was_imported


@pytest.mark.parametrize(
    ("requirement", "fits"),
    [
        ("perstack-core", True),
        ("perstack-core==0.1.0", True),
        ("perstack-core>=0.1,<0.2", True),
        ("perstack-core (>=0.1,<0.2)", True),
        ("perstack_core >= 0.1.0, != 0.1.1", True),
        ("perstack-core~=0.1.0", True),
        ("perstack-core[testing]>=0.1", True),
        ("perstack-core>=9; extra == 'test'", True),
        ("perstack-core>=9; python_version < '3'", True),
        ("perstack-core-extra>=9", True),
        ("other>=9", True),
        ("perstack-core>=0.2", False),
        ("perstack-core<0.1", False),
        ("perstack-core==0.2.*", False),
        ("perstack-core!=0.1", False),
        ("perstack-core>0.1.0", False),
        ("Perstack.Core>=9; python_version > '3'", False),
        ("perstack-core>=", False),
    ],
)
def test_compatibility_reads_every_form_of_a_requirement(requirement, fits) -> None:
    cause = incompatibility(["unrelated>=3", requirement], core_version="0.1.0")
    assert (cause == "") is fits
    assert fits or "0.1.0" in cause


def test_pre_releases_of_core_are_versions_too() -> None:
    assert incompatibility(["perstack-core>=0.1,<0.3"], core_version="0.2.0rc1") == ""
    assert incompatibility(["perstack-core>=0.2"], core_version="0.2.0rc1") != ""


def test_without_wishes_every_installed_plugin_is_selected() -> None:
    assert select(environ={}) == PluginSelection()


def test_all_who_block_and_require_are_heard() -> None:
    chosen = select(
        environ={},
        options=["no:a"],
        user={"block": ["b"], "require": ["x"], "allow": ["c"]},
        project={"block": ["d"], "require": ["y"], "acme": {"table": "of a plugin"}},
    )
    assert chosen.block == {"a", "b", "d"}
    assert chosen.require == {"x", "y"}
    assert chosen.allow == {"c"}


def test_a_project_cannot_allow_plugins_and_the_user_can() -> None:
    assert select(environ={}, user={"allow": ["acme"]}).allow == {"acme"}
    with pytest.raises(ConfigError, match=r"plugins\.allow"):
        select(environ={}, project={"allow": ["acme"]})


@pytest.mark.parametrize(
    ("variable", "user", "allowed"),
    [("a, b,", {}, {"a", "b"}), ("", {}, set()), ("a,b", {"allow": ["b", "c"]}, {"b"})],
)
def test_the_variable_is_an_exact_list_and_widens_nothing(variable, user, allowed) -> None:
    assert select(environ={"PERSTACK_PLUGINS": variable}, user=user).allow == allowed


@pytest.mark.parametrize("option", ["acme", "no:", "yes:acme", "no:core"])
def test_an_option_that_is_not_understood_is_a_usage_error(option) -> None:
    with pytest.raises(UsageError, match="-p"):
        select(environ={}, options=[option])


@pytest.mark.parametrize("value", ["acme", [1], {"acme": True}])
def test_a_list_that_is_none_is_a_problem_with_its_key(value) -> None:
    with pytest.raises(ConfigError, match=r"plugins\.block"):
        select(environ={}, project={"block": value})


def test_discovery_is_a_thing_of_milliseconds_because_it_imports_nothing() -> None:
    code = "import sys, perstack.plugins.discovery as d; d.discover(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert {"importlib.metadata", "email", "pluggy", "packaging", "configparser"} & set(done.stdout.split()) == set()
    assert not any(Path(name).name.startswith("perstack_example") for name in done.stdout.split())
