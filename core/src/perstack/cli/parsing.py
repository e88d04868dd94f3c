"""Arguments of commands: mistakes become `UsageError`, and options are never guessed from their first letters."""

from __future__ import annotations

import argparse
from typing import NoReturn

from perstack_proxy.limits import NUMBER_DIGITS

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

    def check_given(self, args: argparse.Namespace) -> None:
        """No option was given an empty text: that is a variable of a script that has no value, and means nothing.

        Raises:
            UsageError: One was.
        """
        for action in self._actions:
            value = getattr(args, action.dest, None)
            means_something = not action.option_strings or action.const == ""  # such as `--review` without an Expert
            if not means_something and (value == "" or (isinstance(value, list) and "" in value)):
                self.error(f"argument {action.option_strings[-1]}: is empty")


def whole_number(text: str) -> int:
    """The number that an option's text means.

    Raises:
        argparse.ArgumentTypeError: It is none, or has more digits than anything that is counted here.
    """
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number")
    if len(text) > NUMBER_DIGITS:
        raise argparse.ArgumentTypeError(f"has {len(text)} digits, and may have {NUMBER_DIGITS}")
    return int(text)


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
