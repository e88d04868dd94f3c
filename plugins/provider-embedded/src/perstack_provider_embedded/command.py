"""``perstack model``: fetch weights, and list those that are here."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from perstack.errors import UsageError
from perstack.paths import cache_dir

from perstack_provider_embedded.weights import KNOWN, KnownModel


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="fetch the weights of a model and check their digest")
    add.add_argument("name", metavar="NAME", help=f"one of: {', '.join(KNOWN)}")
    listing = actions.add_parser("list", help="show the known models and where their weights are")
    listing.add_argument("--json", action="store_true", help="as one JSON array")


def run(args: argparse.Namespace) -> int:
    """The exit code of one action."""
    cache = cache_dir(os.environ)
    return _add(args.name, cache) if args.action == "add" else _list(cache, as_json=args.json)


def _add(name: str, cache: Path) -> int:
    model = KNOWN.get(name)
    if model is None:
        raise UsageError(
            f"There is no known model {name!r}.",
            hint=f"Known: {', '.join(KNOWN)}. Any other GGUF file needs no adding: give its path as the model.",
        )
    if not model.present(cache):
        from perstack_provider_embedded.fetch import fetch
        from perstack_provider_embedded.progress import progress

        with progress(sys.stderr, f"fetching {model.title}") as report:
            fetch(model, cache, report=report)
    print(model.path(cache))  # noqa: T201 - the result of the command
    return 0


def _list(cache: Path, *, as_json: bool) -> int:
    rows = [_row(model, cache) for model in KNOWN.values()]
    if as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201
        return 0
    for row in rows:
        state = row["path"] if row["present"] else f"not here; run: perstack model add {row['name']}"
        print(f"{row['name']}  {row['title']}, {row['size'] // 10**6} MB, {row['licence']}  {state}")  # type: ignore[operator] # noqa: T201
    return 0


def _row(model: KnownModel, cache: Path) -> dict[str, object]:
    return {
        "name": model.name,
        "title": model.title,
        "licence": model.licence,
        "package": model.package,
        "size": model.size,
        "sha256": model.sha256,
        "present": model.present(cache),
        "path": str(model.path(cache)),
    }
