"""Plugins are loaded one by one from real metadata, and a broken one takes nothing else with it."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from fake_plugins import install, runtime
from perstack.errors import PluginConflict, PluginLoadError, PluginMissing, UsageError
from perstack.plugins.discovery import discover
from perstack.plugins.manager import load
from perstack.plugins.records import PluginRecord, PluginSelection, Status
from perstack.plugins.registry import Registry
from perstack.plugins.selection import select


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def load_from(site: Path, **selection: frozenset[str]) -> Registry:
    return load(PluginSelection(**selection), candidates=discover([str(site)]))


def record(registry: Registry, name: str) -> PluginRecord:
    [found] = [record for record in registry.records if record.name == name]
    return found


def test_a_good_plugin_is_active_with_its_hooks_and_its_version(site) -> None:
    install(site, "acme", runtime("acme"), version="2.3")
    registry = load_from(site)
    found = record(registry, "acme")
    assert (found.status, found.cause, found.version) == (Status.ACTIVE, "", "2.3")
    assert found.hooks == ("perstack_register_runtimes",)
    assert registry.runtime("acme").summary == "A runtime"
    assert registry.warnings == ()


def test_core_is_a_plugin_that_cannot_be_blocked(site) -> None:
    registry = load_from(site, block=frozenset({"core"}), allow=frozenset())
    assert record(registry, "core").status is Status.ACTIVE
    assert registry.transport("mcpStdioSkill").type == "mcpStdioSkill"
    assert registry.storage("file").scheme == "file"


BROKEN = {
    "import": ("import nowhere_at_all", Status.FAILED, "ModuleNotFoundError"),
    "exit": ("raise SystemExit('no')", Status.FAILED, "SystemExit"),
    "syntax": ("def", Status.FAILED, "SyntaxError"),
    "unknown-hook": ("@hookimpl\ndef perstack_dance(): pass", Status.INCOMPATIBLE, "perstack_dance"),
    "wrong-argument": (
        "@hookimpl\ndef perstack_env_rules(target, mood): pass",
        Status.INCOMPATIBLE,
        "mood",
    ),
    "wrapper": (
        "@hookimpl(wrapper=True)\ndef perstack_review_tool_call():\n    return (yield)",
        Status.INCOMPATIBLE,
        "wrapper",
    ),
    "async": ("@hookimpl\nasync def perstack_review_tool_call(): pass", Status.INCOMPATIBLE, "asynchronous"),
    "no-hook": ("def perstack_env_rules(): pass", Status.INCOMPATIBLE, "hookimpl"),
    "half-a-generator": (
        runtime("half").replace("return [", "yield ").replace("]\n", "\n") + "    raise RuntimeError('later')",
        Status.FAILED,
        "later",
    ),
    "wrong-type": ("@hookimpl\ndef perstack_register_runtimes(): return ['docker']", Status.FAILED, "RuntimeSpec"),
    "no-iterable": ("@hookimpl\ndef perstack_register_runtimes(): return 7", Status.FAILED, "not an iterable"),
    "class": ("class Plugin:\n    def __init__(self): raise OSError('no state')", Status.FAILED, "no state"),
}


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_plugin_is_recorded_with_its_cause_and_the_others_work(site, kind) -> None:
    source, status, cause = BROKEN[kind]
    install(site, "bad", source)
    install(site, "a-good", runtime("first"))
    install(site, "z-good", runtime("last"))

    registry = load_from(site)

    bad = record(registry, "bad")
    assert bad.status is status
    assert cause in bad.cause
    assert bad.error is not None
    assert sorted(registry.runtimes) == ["first", "last"]
    assert len(registry.warnings) == 1
    assert "'bad' (perstack-bad 1.0)" in registry.warnings[0]


def test_a_plugin_that_needs_another_core_is_incompatible_and_never_imported(site) -> None:
    future = install(site, "future", requires=("perstack-core>=7,<8",))
    present = install(site, "present", runtime("present"))
    registry = load_from(site)
    assert record(registry, "future").status is Status.INCOMPATIBLE
    assert ">=7,<8" in record(registry, "future").cause
    assert (future.was_imported, present.was_imported) == (False, True)


def test_a_blocked_plugin_is_never_imported(site) -> None:
    blocked, other = install(site, "acme", runtime("acme")), install(site, "other", runtime("other"))
    registry = load_from(site, block=frozenset({"acme"}))
    assert record(registry, "acme").status is Status.BLOCKED
    assert (blocked.was_imported, other.was_imported) == (False, True)


def test_a_plugin_that_is_not_on_the_list_of_allowed_ones_is_never_imported(site) -> None:
    allowed, other = install(site, "acme", runtime("acme")), install(site, "other", runtime("other"))
    registry = load_from(site, allow=frozenset({"acme"}))
    assert record(registry, "other").status is Status.NOT_ALLOWED
    assert (allowed.was_imported, other.was_imported) == (True, False)


def test_blocking_beats_allowing(site) -> None:
    install(site, "acme")
    registry = load_from(site, allow=frozenset({"acme"}), block=frozenset({"acme"}))
    assert record(registry, "acme").status is Status.BLOCKED


def test_one_plugin_name_in_two_packages_belongs_to_neither(site) -> None:
    first = install(site, "acme", runtime("acme"), distribution="perstack-acme")
    second = install(site, "acme", runtime("acme"), distribution="acme", version="9.9")
    registry = load_from(site)
    causes = [found.cause for found in registry.records if found.name == "acme"]
    assert [found.status for found in registry.records if found.name == "acme"] == [Status.FAILED] * 2
    assert "perstack-acme 1.0" in "".join(causes)
    assert "acme 9.9" in "".join(causes)
    assert not first.was_imported
    assert not second.was_imported


def test_nobody_else_may_be_called_core(site) -> None:
    intruder = install(site, "core", runtime("acme"), distribution="intruder")
    registry = load_from(site)
    statuses = {found.distribution: found.status for found in registry.records}
    assert statuses == {"perstack-core": Status.ACTIVE, "intruder": Status.FAILED}
    assert not intruder.was_imported


def test_a_name_that_two_plugins_offer_is_an_error_that_names_both_with_versions(site) -> None:
    install(site, "one", runtime("docker"), version="1.1")
    install(site, "two", runtime("docker"), version="2.2")
    registry = load_from(site)
    with pytest.raises(PluginConflict) as caught:
        registry.runtime("docker")
    assert "'one' (perstack-one 1.1)" in str(caught.value)
    assert "'two' (perstack-two 2.2)" in str(caught.value)
    assert "docker" not in registry.runtimes
    assert load_from(site, block=frozenset({"two"})).runtime("docker").name == "docker"


def test_an_alias_cannot_take_another_plugins_name(site) -> None:
    install(site, "good", runtime("docker"))
    install(site, "squatter", runtime("other", "docker"))
    registry = load_from(site)
    with pytest.raises(PluginConflict, match="squatter"):
        registry.runtime("docker")
    assert registry.runtime("other").aliases == ("docker",)


def test_a_missing_name_is_an_error_that_names_the_package_to_install(site) -> None:
    install(site, "acme", runtime("acme"))
    registry = load_from(site)
    with pytest.raises(PluginMissing) as caught:
        registry.runtime("docker")
    assert caught.value.hint == "pip install perstack-runtime-docker, or pass --runtime acme"
    with pytest.raises(PluginMissing) as caught:
        registry.runtime("acne")
    assert caught.value.hint == "Did you mean 'acme'?"


def test_a_selected_plugin_that_failed_stops_with_its_cause(site) -> None:
    canary = uuid.uuid4().hex
    install(site, "runtime-acme", f"raise RuntimeError({canary!r})")
    with pytest.raises(PluginLoadError, match=canary) as caught:
        load_from(site).runtime("acme")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_required_plugin_that_is_not_active_stops_with_its_cause(site) -> None:
    canary = uuid.uuid4().hex
    install(site, "guard", f"raise RuntimeError({canary!r})")
    install(site, "good", runtime("acme"))
    load_from(site, require=frozenset({"good"}))
    with pytest.raises(PluginLoadError, match=canary) as caught:
        load_from(site, require=frozenset({"good", "guard"}))
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(PluginLoadError, match="blocked"):
        load_from(site, require=frozenset({"good"}), block=frozenset({"good"}))
    with pytest.raises(PluginLoadError, match="not installed"):
        load_from(site, require=frozenset({"absent"}))


def test_asking_for_one_plugin_imports_only_that_one(site) -> None:
    wanted, other = install(site, "acme", runtime("acme")), install(site, "other", runtime("other"))
    registry = load(names=["acme"], candidates=discover([str(site)]))
    assert [found.name for found in registry.records] == ["acme", "core"]
    assert (wanted.was_imported, other.was_imported) == (True, False)


def test_a_plugin_class_is_made_anew_by_each_load(site) -> None:
    source = """
class Plugin:
    def __init__(self):
        self.settings = None

    @hookimpl
    def perstack_configure(self, settings):
        self.settings = settings

    @hookimpl
    def perstack_error_hints(self):
        return [ErrorHint(text=str(self.settings))]
"""
    install(site, "acme", source)
    first, second = load_from(site), load_from(site)
    assert first.configure({"acme": 1}).error_hints(Exception()) == ("{'acme': 1}",)
    assert second.error_hints(Exception()) == ("None",)


def test_a_hook_that_only_a_newer_core_calls_may_be_marked_as_optional(site) -> None:
    install(site, "acme", runtime("acme") + "\n@hookimpl(optionalhook=True)\ndef perstack_dance(): pass\n")
    assert record(load_from(site), "acme").hooks == ("perstack_register_runtimes",)


def test_a_plugin_that_is_left_out_for_once_has_to_be_installed(tmp_path: Path) -> None:
    install(tmp_path, "acme")
    found = discover([str(tmp_path)])
    with pytest.raises(UsageError, match=r"-p no:acmee leaves out a plugin that is not installed") as refused:
        load(select(environ={}, options=["no:acmee"]), candidates=found)
    assert refused.value.hint == "Did you mean -p no:acme?"
    load(select(environ={}, project={"block": ["acmee"]}), candidates=found)  # a project may know more plugins than we
    registry = load(select(environ={}, options=["no:acme"]), candidates=found)
    assert {record.name: record.status for record in registry.records}["acme"] is Status.BLOCKED
