"""The same configuration gets the same verdict, whichever runtime is asked: refused in the same words, or allowed."""

from __future__ import annotations

import perstack_runtime_docker.plugin
import perstack_runtime_local.plugin
import perstack_runtime_podman.plugin
import pytest
from perstack.errors import PerstackError
from perstack.specs import RuntimeSpec
from perstack_proxy.envnames import SAFE_NAMES
from policy_corpus import HELD, HELD_IN_CONTAINERS, REFUSED, Configuration
from projects import decision, load, skill

PLUGINS = (perstack_runtime_docker.plugin, perstack_runtime_podman.plugin, perstack_runtime_local.plugin)
RUNTIMES = [spec for plugin in PLUGINS for spec in plugin.perstack_register_runtimes()]
AT_LEAST = 60
VALUES = {"WANTED": "one-value", "OTHER": "other-value", "THIRD": "third-value", "ODD": "odd-value"}


def named(configurations: tuple[Configuration, ...]) -> list:
    return [pytest.param(one, id=one.name.replace(" ", "-")) for one in configurations]


def verdict(one: Configuration, runtime: RuntimeSpec, directory) -> str:
    """Why the configuration is refused, or the part of its decision that no runtime has a say in."""
    head = '[experts.writer]\ninstruction = "Write."\n[experts.writer.skills.tool]\n'
    text = f'{one.top}{head}type = "mcpStdioSkill"\ncommand = "server"\n{one.body}\n'
    try:
        policy = skill(decision(load(directory, text, environ=VALUES), on=runtime))
    except PerstackError as error:
        return f"refused: {error}".replace(f"Runtime {runtime.name!r}", "It")
    env = [(grant.name, grant.source, grant.secret) for grant in policy.env if grant.name not in SAFE_NAMES]
    mounts = [(mount.target, mount.mode) for mount in policy.mounts]
    return f"allowed: {policy.argv} {policy.image} {env} {policy.egress} {mounts} {policy.limits} {policy.lazy}"


def test_the_corpus_is_large_enough() -> None:
    assert len(REFUSED) + len(HELD) + len(HELD_IN_CONTAINERS) >= AT_LEAST


@pytest.mark.parametrize("one", named(REFUSED))
def test_T5_C1_what_is_refused_is_refused_by_every_runtime_in_the_same_words(one, tmp_path) -> None:
    (found,) = {verdict(one, runtime, tmp_path) for runtime in RUNTIMES}
    assert found.startswith("refused: ")
    control = verdict(HELD[0], RUNTIMES[0], tmp_path)
    assert control.startswith("allowed: "), "the control: without the line it is allowed"


@pytest.mark.parametrize("one", named(HELD))
def test_C1_what_is_allowed_is_allowed_by_every_runtime_with_the_same_grants(one, tmp_path) -> None:
    (found,) = {verdict(one, runtime, tmp_path) for runtime in RUNTIMES}
    assert found.startswith("allowed: ")


@pytest.mark.parametrize("one", named(HELD_IN_CONTAINERS))
def test_C1_both_engines_agree_and_local_takes_it_or_names_the_control_that_it_lacks(one, tmp_path) -> None:
    docker, podman, local = (verdict(one, runtime, tmp_path) for runtime in RUNTIMES)
    assert docker == podman
    assert docker.startswith("allowed: ")
    assert local == docker or "does not enforce filesystem" in local


@pytest.mark.parametrize("control", ["network", "filesystem", "limits.memory"])
def test_C1_a_control_that_is_required_is_refused_exactly_where_it_is_not_claimed(control, tmp_path) -> None:
    one = Configuration(name="required", top=f'policy = {{ require = ["{control}"] }}\n')
    for runtime in RUNTIMES:
        found = verdict(one, runtime, tmp_path)
        assert found.startswith("allowed: ") is (control in runtime.claims)
        assert found.startswith("allowed: ") or control in found
