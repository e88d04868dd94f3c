"""The pages for plugin authors are true: their code runs, and every hook is in them and is called."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import perstack
import pytest
from fake_plugins import install
from perstack import hookspecs
from perstack.messages import ToolCall
from perstack.plugins.discovery import discover
from perstack.plugins.manager import load
from perstack.plugins.registry import POLICY_HOOKS, REGISTRATIONS
from perstack.specs import ToolView
from repository import ROOT

DOCS = ROOT / "docs" / "plugins"
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("perstack_"))
LATER = {"perstack_doctor_checks"}
"""Hooks whose feature is not there yet."""

CALLERS = {
    "perstack_check_config": "check_config",
    "perstack_config_layers": "config_layers",
    "perstack_configure": "configure",
    "perstack_egress_rules": "egress_rules",
    "perstack_env_rules": "env_rules",
    "perstack_error_hints": "error_hints",
    "perstack_parse_config": "parse_config",
    "perstack_register_commands": "command",
    "perstack_register_event_sinks": "sinks",
    "perstack_register_providers": "provider",
    "perstack_register_runtimes": "runtime",
    "perstack_register_settings": "setting",
    "perstack_register_storages": "storage",
    "perstack_register_tool_middleware": "middleware",
    "perstack_register_transports": "transport",
    "perstack_review_tool_call": "review",
}
"""The member of `Registry` through which core asks each hook."""


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def uses_of_registries() -> set[str]:
    """Members of registries that core uses outside of the package that makes them."""
    package = Path(perstack.__file__).parent
    used: set[str] = set()
    for path in package.rglob("*.py"):
        if path.is_relative_to(package / "plugins") or path.is_relative_to(package / "testing"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith(("registry", "reviewers")):
                used.add(node.attr)
    return used


def test_the_page_of_hooks_says_what_the_hookspecs_say() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "hook-docs"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    headings = re.findall(r"^### (\w+)$", (DOCS / "hooks.md").read_text(), re.MULTILINE)
    assert sorted(headings) == HOOKS


def test_every_hook_has_an_example_that_implements_it() -> None:
    examples = [ast.parse(block) for block in blocks("hooks.md", "python") if "@hookimpl" in block]
    shown = {node.name for tree in examples for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert shown == set(HOOKS)


def test_every_hook_whose_feature_is_there_has_a_caller_in_core() -> None:
    assert sorted({*CALLERS, *LATER}) == HOOKS
    assert {*REGISTRATIONS, *POLICY_HOOKS} <= CALLERS.keys()
    used = uses_of_registries()
    assert {hook for hook, member in CALLERS.items() if member not in used} == set()


@pytest.fixture
def verdict(tmp_path, monkeypatch):
    """What the plugin in a page's first block says of a call, after it was told the page's settings."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def ask(page: str, tool: str, settings: dict[str, object] | None = None, **args: object) -> str:
        install(tmp_path, "acme-guard", blocks(page, "python")[0])
        registry = load(names=["acme-guard"], candidates=discover([str(tmp_path)]))
        if settings is not None:
            registry = registry.configure({"acme-guard": registry.setting("acme-guard").parse(settings)})
        assert [record.cause for record in registry.records] == ["", ""]
        call = ToolCall(id="1", skill_name="s", tool_name=tool, args=args)
        view = ToolView(expert="e", skill="s", name=tool, description="", input_schema={})
        return "".join(found.decision for _, found in registry.review(call, view))

    return ask


@pytest.mark.parametrize(("tool", "decision"), [("exec", "ask"), ("readTextFile", "")])
def test_the_fifteen_lines_work(verdict, tool, decision) -> None:
    assert verdict("index.md", tool) == decision


@pytest.mark.parametrize(("path", "decision"), [("uv.lock", "ask"), ("infra/a", "ask"), ("notes.md", ""), (7, "")])
def test_the_tutorial_works_with_the_settings_that_it_shows(verdict, path, decision) -> None:
    import tomllib

    [table] = [block for block in blocks("tutorial-guard.md", "toml") if "[plugins.acme-guard]" in block]
    settings = tomllib.loads(table)["plugins"]["acme-guard"]
    assert verdict("tutorial-guard.md", "writeTextFile", settings, path=path) == decision


def test_the_test_of_the_tutorial_passes(tmp_path) -> None:
    plugin, test = blocks("tutorial-guard.md", "python")
    install(tmp_path, "acme-guard", plugin)
    (tmp_path / "test_guard.py").write_text(test)
    (tmp_path / "cwd").mkdir()
    program = "import test_guard; test_guard.test_lock_files_are_asked_about()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "cwd",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_tutorial_is_as_short_as_it_says() -> None:
    plugin = blocks("tutorial-guard.md", "python")[0]
    assert len([line for line in plugin.splitlines() if line.strip()]) <= 30
