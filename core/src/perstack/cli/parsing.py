"""Arguments of commands: mistakes become `UsageError`, and options are never guessed from their first letters."""

from __future__ import annotations

import argparse
from typing import NoReturn

from perstack.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of ending the process, because our exit code for usage is 1, not 2."""

    def __init__(self, *args: object, **options: object) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line.

        Raises:
            UsageError: Always.
        """
        hint = f"See: {self.prog} --help"
        if message.startswith("the following arguments are required"):
            hint += ". What begins with '-' and is no option comes last, after '--'."
        raise UsageError(message, hint=hint)


def add_plugin_options(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the option ``-p no:NAME``, which every command takes, before its name and after."""
    parser.add_argument(
        "-p",
        dest="plugin_options",
        action="append",
        default=[],
        metavar="no:NAME",
        help="leave out a plugin; can be repeated",
    )
