"""Commands that plugins add: looked for only when a name is asked for that core does not know."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches

from perstack.cli.parsing import Parser, add_plugin_options
from perstack.cli.plugin_loading import load_plugins
from perstack.errors import PluginMissing, UsageError

_NO_REGISTRY = "There is no hosted registry here: declare Experts in perstack.toml."
_OF_THE_ORIGINAL = {
    "start": "There is no screen of its own yet; this shows a job at the terminal: perstack run EXPERT QUERY",
    "publish": _NO_REGISTRY,
    "unpublish": _NO_REGISTRY,
    "tag": _NO_REGISTRY,
    "status": _NO_REGISTRY,
}
"""Commands of the TypeScript original that are left out, each with what to do instead."""


def run_plugin_command(name: str, rest: Sequence[str], args: argparse.Namespace, known: Sequence[str]) -> int:
    """The exit code of the plugin's command `name`.

    Args:
        name: What the user typed.
        rest: The arguments after the name.
        args: What was parsed so far; gets the registry and the command's own arguments.
        known: Core's commands, for a suggestion.

    Raises:
        UsageError: Neither core nor a plugin knows the command.
        PluginConflict: Two plugins offer it.
    """
    close = get_close_matches(name, known, n=1)
    hint = _OF_THE_ORIGINAL.get(name) or (f"Did you mean {close[0]!r}?" if close else "See: perstack --help")
    args.registry = registry = load_plugins(args)
    try:
        command = registry.command(name)
    except PluginMissing as error:
        raise UsageError(f"There is no command {name!r}.", hint=hint) from error
    parser = Parser(prog=f"perstack {name}", description=command.summary)
    add_plugin_options(parser)
    command.configure(parser)
    parser.parse_args(rest, args)
    return command.run(args)
