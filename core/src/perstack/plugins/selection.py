"""Which plugins are wanted, from the command line, the environment and the ``[plugins]`` tables.

A project can block and require plugins and never allow one: a cloned project gains no code on the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from perstack.errors import ConfigError, Problem, UsageError
from perstack.plugins.records import BUILT_IN_PLUGIN, PluginSelection

VARIABLE = "PERSTACK_PLUGINS"
"""The exact list of plugins, separated by commas; empty means none but core's own."""

SELECTION_KEYS = frozenset({"allow", "block", "require"})
"""Keys of ``[plugins]`` that select; every other key is the table of the plugin of that name."""


def select(
    *,
    environ: Mapping[str, str],
    options: Sequence[str] = (),
    user: Mapping[str, object] | None = None,
    project: Mapping[str, object] | None = None,
) -> PluginSelection:
    """The selection that all of the user's and the project's wishes leave.

    Args:
        environ: The process environment, for ``PERSTACK_PLUGINS``.
        options: Values of ``-p``, each ``no:NAME``.
        user: The ``[plugins]`` table of the user's own file.
        project: The ``[plugins]`` table of the project's file.

    Raises:
        ConfigError: A list is none, or the project tries to allow.
        UsageError: An option is not ``no:NAME``, or NAME is perstack itself.
    """
    user, project = user or {}, project or {}
    problems = [
        Problem(message="must be a list of plugin names", where=where, key=f"plugins.{key}")
        for where, table in (("the user's settings", user), ("the project", project))
        for key in sorted(SELECTION_KEYS & table.keys())
        if not _is_names(table[key])
    ]
    if "allow" in project:
        problems.append(
            Problem(
                message="only the user's own settings may allow plugins",
                where="the project",
                key="plugins.allow",
                hint="Move it to your own settings; a project can block and require.",
            )
        )
    if problems:
        raise ConfigError(problems)
    left_out = frozenset(map(_blocked, options))
    block = {*_names(user.get("block")), *_names(project.get("block")), *left_out}
    allow = frozenset(_names(user["allow"])) if "allow" in user else None
    if VARIABLE in environ:
        exact = frozenset(filter(None, (name.strip() for name in environ[VARIABLE].split(","))))
        allow = exact if allow is None else allow & exact
    require = {*_names(user.get("require")), *_names(project.get("require"))}
    return PluginSelection(
        allow=allow, block=frozenset(block - {BUILT_IN_PLUGIN}), require=frozenset(require), left_out=left_out
    )


def _blocked(option: str) -> str:
    word, colon, name = option.partition(":")
    if word != "no" or not colon or not name:
        raise UsageError(f"-p {option!r} is not understood.", hint="Write -p no:NAME to leave out a plugin.")
    if name == BUILT_IN_PLUGIN:
        raise UsageError(f"-p no:{name} would leave out perstack itself.", hint="See: perstack plugins list")
    return name


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _names(value: object) -> Iterable[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
