"""``perstack plugins``: what is installed, what one plugin does, and whether it is well made."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise_line

from perstack.cli.plugin_loading import load_plugins, plugin_selection
from perstack.errors import ExitCode, PluginMissing

if TYPE_CHECKING:
    from perstack.plugins.checks import CheckResult
    from perstack.plugins.discovery import Candidate
    from perstack.plugins.records import PluginRecord
    from perstack.specs import RuntimeSpec
    from perstack.testing.contract import Verdict


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions ``list``, ``show`` and ``check``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in (
        ("list", "what is installed, without importing any of it"),
        ("show", "one plugin: whether it loads, its hooks, and why not"),
        ("check", "whether one plugin is well made, for those who write it"),
    ):
        action = actions.add_parser(name, help=summary, description=f"Show {summary}.")
        if name != "list":
            action.add_argument("name", metavar="NAME", help="the plugin's name, as listed")
        action.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what was asked. ``check`` ends with 2 when a check fails."""
    if args.action == "list":
        return _list(args)
    return _show(args) if args.action == "show" else _check(args)


def _list(args: argparse.Namespace) -> int:
    from perstack import __version__
    from perstack.plugins.discovery import discover
    from perstack.plugins.screening import screen

    records = screen(discover(), plugin_selection(args), core_version=__version__)
    if args.json:
        _print_json([_as_json(record) for record in records])
        return ExitCode.COMPLETED
    if not records:
        print("No plugins are installed.")
    width = max((len(record.name) for record in records), default=0)
    for record in records:
        note = record.cause or record.summary
        _print(f"{record.name:<{width}}  {record.version:<8}  {record.status:<12}  {note}")
    return ExitCode.COMPLETED


def _show(args: argparse.Namespace) -> int:
    _installed(args.name)
    registry = load_plugins(args, names=[args.name])
    for record in registry.records:
        if record.name != args.name:
            continue
        if args.json:
            _print_json({**_as_json(record), "at": _place(record.error)})
            continue
        for label, value in (
            ("plugin", record.name),
            ("status", record.status),
            ("cause", record.cause),
            ("at", _place(record.error)),
            ("package", f"{record.distribution} {record.version}"),
            ("module", record.module),
            ("summary", record.summary),
            ("hooks", ", ".join(record.hooks)),
        ):
            if value:
                _print(f"{label:<8}  {value}")
    return ExitCode.COMPLETED


def _check(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from perstack.plugins.checks import check_plugin
    from perstack.specs import RuntimeSpec

    candidate = _installed(args.name)
    registry = load_plugins(args, names=[args.name])
    [plugin] = [plugin for plugin in registry.plugins if plugin.record.name == args.name]
    results: list[CheckResult | Verdict] = [*check_plugin(candidate, plugin)]
    for spec in plugin.specs:
        if isinstance(spec, RuntimeSpec) and not any(one.problem for one in results):
            results += _contract(spec)
    if args.json:
        _print_json([asdict(one) for one in results])
    else:
        _print_results(results)
    return ExitCode.FAILED if any(one.problem for one in results) else ExitCode.COMPLETED


def _contract(spec: RuntimeSpec) -> list[Verdict]:
    """The contract of a runtime, tried on this machine."""
    import anyio

    from perstack.testing.contract import verdicts

    async def collect() -> list[Verdict]:
        return [verdict async for verdict in verdicts(spec)]

    return anyio.run(collect)


def _print_results(results: Sequence[CheckResult | Verdict]) -> None:
    for one in results:
        _print(f"{'FAILED' if one.problem else 'ok':<6}  {one.id:<28}  {one.sentence}")
        if one.problem:
            _print(f"        {one.problem}")
    failed = sum(bool(one.problem) for one in results)
    print(f"{len(results) - failed} passed, {failed} failed")


def _installed(name: str) -> Candidate:
    from perstack.plugins.discovery import discover
    from perstack.plugins.hints import missing_hint

    candidates = discover()
    for candidate in candidates:
        if candidate.name == name:
            return candidate
    kind, _, rest = name.partition("-")
    hint = missing_hint(kind, rest, []) if rest else ""
    raise PluginMissing(f"Plugin {name!r} is not installed.", hint=hint or "See: perstack plugins list")


def _place(error: BaseException | None) -> str:
    """File and line where the plugin failed, or empty."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    place = ""
    trace = error.__traceback__ if error else None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<frozen"):
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _as_json(record: PluginRecord) -> dict[str, object]:
    return {
        "name": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "module": record.module,
        "status": record.status.value,
        "cause": record.cause,
        "summary": record.summary,
        "hooks": list(record.hooks),
    }


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=True))


def _print(line: str) -> None:
    print(sanitise_line(line))
