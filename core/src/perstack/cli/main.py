"""``perstack COMMAND``: a static table of commands, so that help and version import none of them."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType

from perstack import __version__
from perstack.cli.parsing import Parser, add_plugin_options
from perstack.errors import UsageError


@dataclass(frozen=True, slots=True)
class Command:
    """A command of core: a module with ``configure(parser)`` and ``run(args)``, imported when it is named."""

    module: str
    summary: str


COMMANDS = {
    "run": Command("perstack.cli.run", "Run an Expert until it has an answer"),
    "install": Command("perstack.cli.install", "Fetch and lock what skills run, in perstack.lock"),
    "check": Command("perstack.cli.check", "Check a configuration without running it"),
    "explain": Command("perstack.cli.explain", "Show what each skill of an Expert may do, and why"),
    "prove": Command("perstack.cli.prove", "Try to break out of a project's own sandboxes"),
    "runtimes": Command("perstack.cli.runtimes", "Show which controls each runtime enforces here"),
    "log": Command("perstack.cli.log", "Show what happened in past runs"),
    "changes": Command("perstack.cli.changes", "Show, apply or drop what skills changed in copies of workspaces"),
    "doctor": Command("perstack.cli.doctor", "Check this machine and its runtimes"),
    "gc": Command("perstack.cli.gc", "Remove what killed runs left behind"),
    "plugins": Command("perstack.cli.plugins", "List, show and check plugins"),
}

DESCRIPTION = "Run AI agents with a boundary around each of their tools."


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one command; every failure was shown on standard error.

    Args:
        argv: Arguments without the program's name; None means those of this process.
    """
    args = argparse.Namespace()
    if None in (sys.stdin, sys.stdout, sys.stderr) or getattr(sys.stdout, "write_through", False):
        from perstack.cli.streams import buffer_output, open_missing_streams

        open_missing_streams()
        buffer_output()
    try:
        code = _dispatch(sys.argv[1:] if argv is None else argv, args)
        sys.stdout.flush()  # so that a closed pipe is met here and not at the interpreter's end
        return code
    except BaseException as error:  # noqa: BLE001 whatever it is, a person reads one message
        from perstack.cli.failures import report
        from perstack.cli.hints import with_given

        return report(error, registry=getattr(args, "registry", None), hinted=partial(with_given, args=args))


def _dispatch(argv: Sequence[str], args: argparse.Namespace) -> int:
    parser = _top_parser()
    try:
        parser.parse_args(argv, args)
        return _run(parser, args)
    except SystemExit as exit_:  # argparse ends help and version this way
        if isinstance(exit_.code, str):
            raise UsageError(exit_.code) from exit_
        return exit_.code or 0


def _run(parser: Parser, args: argparse.Namespace) -> int:
    if not args.command:
        parser.print_help()
        return 0
    name, *rest = args.command
    if name.startswith("-"):
        parser.error(f"unrecognised option: {name}")
    command = COMMANDS.get(name)
    if command is None:
        from perstack.cli.plugin_commands import run_plugin_command

        return run_plugin_command(name, rest, args, tuple(COMMANDS))
    module = _import(name, command)
    own = Parser(prog=f"perstack {name}", description=command.summary + ".")
    add_plugin_options(own)
    module.configure(own)
    own.parse_args(rest, args)
    own.check_given(args)
    code: int = module.run(args)
    return code


def _top_parser() -> Parser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    parser = Parser(
        prog="perstack",
        usage="perstack [-h] [--version] [-p no:NAME] COMMAND ...",
        description=DESCRIPTION,
        epilog="\n".join(["commands:", *lines, "", "Plugins can add commands. Each one has its own --help."]),
    )
    parser.add_argument("--version", action="version", version=f"perstack {__version__}")
    add_plugin_options(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _import(name: str, command: Command) -> ModuleType:
    try:
        return importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if error.name != command.module:
            raise
        raise UsageError(f"The command {name!r} is not part of this installation.") from error
