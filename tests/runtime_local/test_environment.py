"""A skill on the local runtime sees exactly the decided variables: the control that this runtime claims."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import pytest
from perstack.errors import SandboxUnavailable
from perstack.protocols import SandboxRequest
from perstack.testing.probe import probe_argv
from perstack_proxy.envnames import SAFE_NAMES
from skills import Events, ask, lease_context, opened, policy, probed

# Python itself sets this one when it starts in the C locale (PEP 538): after the skill was started, by the skill.
SET_BY_PYTHON = {"LC_CTYPE"}


def canary() -> str:
    return f"canary-{secrets.token_hex(16)}"


async def seen(directory: Path, env: dict[str, str]) -> dict[str, str]:
    async with probed(directory, env=env) as session:
        shown = await ask(session, "environment")
    assert isinstance(shown, dict)
    return {name: value for name, value in shown.items() if name not in SET_BY_PYTHON - set(env)}


async def test_T9_V5_a_skill_sees_the_decided_variables_and_no_others(tmp_path) -> None:
    env = {"PATH": os.defpath, "GRANTED": canary(), "EMPTY": "", "SPECIAL": 'a=b\n"ü$(x)'}
    assert await seen(tmp_path, env) == env


async def test_V1_no_variable_of_the_host_reaches_a_skill(tmp_path, monkeypatch) -> None:
    canaries = {f"HOST_{number}": canary() for number in range(30)}
    for name, value in canaries.items():
        monkeypatch.setenv(name, value)
    granted = {"PATH": os.defpath, "HOST_7": canaries["HOST_7"]}
    shown = await seen(tmp_path, granted)
    assert shown == granted
    assert [name for name, value in canaries.items() if value in repr(shown)] == ["HOST_7"]


async def test_V2_every_safe_variable_arrives_unchanged(tmp_path) -> None:
    env = {name: f"/{canary()}" for name in SAFE_NAMES}
    assert await seen(tmp_path, env) == env


async def test_an_empty_environment_is_possible(tmp_path) -> None:
    assert await seen(tmp_path, {}) == {}


async def test_V6_one_skill_does_not_see_the_variables_of_another(tmp_path) -> None:
    from perstack.sandbox.lease import open_skills

    secret = canary()
    one, other = policy("one", probe_argv()), policy("other", probe_argv())
    env = {"one": {"KEY_OF_ONE": secret}, "other": {}}
    async with open_skills([one, other], env=env, context=lease_context(tmp_path, Events())) as skills:
        assert (await ask(skills["one"].session, "environment"))["KEY_OF_ONE"] == secret
        assert secret not in repr(await ask(skills["other"].session, "environment"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
async def test_AS6_AS9_values_are_on_no_command_line_in_no_file_and_in_no_event(tmp_path) -> None:
    secret, events = canary(), Events()
    async with probed(tmp_path, env={"KEY": secret}, events=events) as session:
        identity = await ask(session, "identity")
        places = await ask(session, "processes_that_hold", needle=secret)
    assert places == {"environ": [str(identity["pid"])]}  # the skill's own, so the search can find it
    assert [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_text()] == []
    assert secret not in repr(events.all)


async def test_a_request_does_not_show_its_values(tmp_path) -> None:
    secret = canary()
    request = SandboxRequest(policy=policy("one", ("true",)), env={"KEY": secret}, workspace=tmp_path)
    assert secret not in repr(request)


async def test_a_missing_command_is_an_error_that_names_it_and_the_skill(tmp_path) -> None:
    with pytest.raises(SandboxUnavailable, match=r"'no-such-program' of skill 'tool'") as caught:
        async with opened(tmp_path, policy("tool", ("no-such-program",))):
            pass
    assert "full path" in caught.value.hint


async def test_a_command_is_looked_up_on_the_path_of_the_skill_and_never_in_the_workspace(tmp_path) -> None:
    programs, workspace = tmp_path / "programs", tmp_path / "workspace"
    for directory in (programs, workspace):
        directory.mkdir()
        (directory / "server").write_text(f"#!/bin/sh\nexec {sys.executable} -I {probe_argv()[2]}\n")
        (directory / "server").chmod(0o755)
    on_path, relative = {"PATH": str(programs)}, {"PATH": f".:{os.pathsep}"}
    async with opened(workspace, policy("tool", ("server",)), env=on_path) as skills:
        assert (await ask(skills["tool"].session, "identity"))["cwd"] == str(workspace)
    with pytest.raises(SandboxUnavailable, match="'server'"):
        async with opened(workspace, policy("tool", ("server",)), env=relative):
            pass


async def test_arguments_arrive_as_they_are_because_no_shell_reads_them(tmp_path) -> None:
    arguments = ["$(touch owned)", "`touch owned`", "a;b|c", 'quo"te', "new\nline", "*", ""]
    script = "import sys; open('argv', 'w').write(repr(sys.argv[1:])); sys.exit(0)"
    with pytest.raises(Exception, match="did not connect"):
        async with opened(tmp_path, policy("tool", (sys.executable, "-I", "-c", script, *arguments))):
            pass
    assert (tmp_path / "argv").read_text() == repr(arguments)
    assert not (tmp_path / "owned").exists()
