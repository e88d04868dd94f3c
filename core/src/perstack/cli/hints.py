"""The commands in what a person is told to do next, so that a copied one means the same project and the same jobs."""

from __future__ import annotations

import argparse
import re
import shlex

PROJECT = ("--config", "--runtime")
TAKES = {
    "run": (*PROJECT, "--state-dir"),
    "prove": (*PROJECT, "--state-dir"),
    "install": PROJECT,
    "check": PROJECT,
    "explain": PROJECT,
    "log": ("--state-dir",),
    "changes": ("--state-dir",),
}
"""The options that say which project and which jobs are meant, by the command that takes them."""
COMMAND = re.compile(rf"\bperstack ({'|'.join(TAKES)})\b(?! --help)")


def with_given(text: str, args: argparse.Namespace) -> str:
    """`text`, whose commands name the configuration, the runtime and the state directory that `args` name.

    An option that `text` has already stays as it is there.
    """

    def command(found: re.Match[str]) -> str:
        given = {option: getattr(args, option[2:].replace("-", "_"), None) for option in TAKES[found[1]]}
        return found[0] + "".join(
            f" {option} {shlex.quote(value)}"
            for option, value in given.items()
            if isinstance(value, str) and option not in text
        )

    return COMMAND.sub(command, text)
