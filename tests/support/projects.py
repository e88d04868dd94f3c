"""Projects in temporary directories, loaded with nothing of this machine in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from perstack.config.loading import Loaded, load_project
from perstack.messages import JsonValue
from perstack.plugins.hooks import LoadedPlugin
from perstack.plugins.implementations import Implementation
from perstack.plugins.records import PluginRecord, Status
from perstack.plugins.registry import Registry
from perstack.policy.decide import Decision, decide
from perstack.skill_policy import CONTROLS, Control, SkillPolicy
from perstack.specs import RuntimeContext, RuntimeSpec

EXPERT = """
[experts.writer]
instruction = "Write."
"""

WHOLE = {
    "provider": {"providerName": "p", "setting": {"baseUrl": "https://h.example/v1", "headers": {"X-Key": "v"}}},
    "model": "m",
    "runtime": "r",
    "envPath": [".env"],
    "perstackApiBaseUrl": "https://api.example",
    "perstackBaseSkillCommand": ["command"],
    "egress": {"network": "n", "nameServers": ["10.1.1.53"], "parentProxy": "http://proxy.example:3128"},
    "plugins": {"allow": ["a"], "block": ["b"], "require": ["c"]},
    "approvals": [{"decision": "ask", "skill": "s", "tool": "t", "args": {"command": "c"}, "reason": "r"}],
    "policy": {
        "require": ["env"],
        "relax": ["env"],
        "allowProviderKeys": ["K"],
        "allowProviderOrigins": ["https://h.example"],
        "accept": ["X"],
        "workspaceMode": "ro",
    },
    "experts": {
        "e": {
            "version": "1.0.0",
            "description": "d",
            "instruction": "i",
            "delegates": ["e"],
            "tags": ["t"],
            "skills": {
                "process": {
                    "type": "mcpStdioSkill",
                    "description": "d",
                    "rule": "r",
                    "pick": ["p"],
                    "omit": ["o"],
                    "command": "c",
                    "args": ["a"],
                    "requiredEnv": [{"name": "N", "from": "F", "description": "d"}],
                    "allowedDomains": ["h.example"],
                    "image": "i:1",
                    "workspaceMode": "overlay",
                    "limits": {"memory": "1GiB"},
                },
                "package": {"type": "mcpStdioSkill", "command": "npx", "packageName": "p"},
                "remote": {"type": "mcpSseSkill", "endpoint": "https://h.example/sse", "headers": {"X": "h"}},
                "ask": {
                    "type": "interactiveSkill",
                    "tools": {"q": {"description": "d", "inputJsonSchema": "{}"}},
                },
            },
        }
    },
}
"""A sound configuration that has every key with a string in it."""

NO_PLUGINS = Registry(plugins=())
EVERYTHING = frozenset(CONTROLS)


def write(directory: Path, text: str, *, name: str = "perstack.toml") -> Path:
    """The path of a file that holds `text`."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def skill_table(body: str, *, skill: str = "tool", expert: str = "writer") -> str:
    """An Expert with one skill that is a process."""
    head = f'[experts.{expert}]\ninstruction = "Write."\n[experts.{expert}.skills.{skill}]\n'
    return f'{head}type = "mcpStdioSkill"\ncommand = "server"\n{body}\n'


def load(
    directory: Path,
    text: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    user: str | None = None,
    overrides: Mapping[str, JsonValue] | None = None,
    env_paths: Sequence[str] | None = None,
    registry: Registry | None = None,
) -> Loaded:
    """The project in `directory`, which is written first if there is a text; `user` is the user's own file."""
    if text is not None:
        write(directory, text)
    home = directory.parent / f"{directory.name}-settings"
    if user is not None:
        write(home, user, name="perstack/config.toml")
    settings = {"XDG_CONFIG_HOME": str(home), "XDG_CONFIG_DIRS": str(home / "none")}
    return load_project(
        cwd=directory,
        overrides=overrides or {},
        environ={**settings, **(environ or {})},
        env_paths=env_paths,
        registry=registry,
    )


def _no_runtime(_context: RuntimeContext) -> NoReturn:
    raise NotImplementedError


def runtime(name: str = "docker", claims: frozenset[Control] = EVERYTHING) -> RuntimeSpec:
    """A runtime that can only be asked what it claims."""
    return RuntimeSpec(name=name, summary="", factory=_no_runtime, claims=claims)


LOCAL = runtime("local", frozenset({"env"}))


def decision(
    loaded: Loaded,
    expert: str = "writer",
    *,
    on: RuntimeSpec = LOCAL,
    registry: Registry = NO_PLUGINS,
    extra_env: Sequence[str] = (),
) -> Decision:
    """What the Expert's skills may do."""
    return decide(loaded, expert, registry=registry, runtime_spec=on, workspace=loaded.directory, extra_env=extra_env)


def skill(decided: Decision, name: str = "tool", expert: str = "writer") -> SkillPolicy:
    """The policy of one skill."""
    return next(policy for policy in decided.experts[expert].skills if policy.skill == name)


def plugin(name: str, *specs: object, **hooks: object) -> LoadedPlugin:
    """An active plugin with these descriptors, and with these functions as hooks (without ``perstack_``)."""
    record = PluginRecord(name=name, distribution=name, version="1", module=name, status=Status.ACTIVE)
    implementations = tuple(
        Implementation(
            plugin=name, hook=f"perstack_{hook}", function=function, arguments=_arguments(function), priority=0
        )
        for hook, function in hooks.items()
    )
    return LoadedPlugin(record=record, implementations=implementations, specs=specs)


def plugins(*loaded: LoadedPlugin) -> Registry:
    """A registry of these plugins."""
    return Registry(plugins=loaded)


def _arguments(function: object) -> tuple[str, ...]:
    code = function.__code__
    return code.co_varnames[: code.co_argcount]
