"""``perstack plugins``: what is installed, what one plugin does, and whether it is well made."""

from __future__ import annotations

import argparse

SUMMARY = "List, show and check plugins"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``perstack plugins``."""
    parser.set_defaults(action="list")


def run(args: argparse.Namespace) -> int:
    """Print one line per installed plugin."""
    from perstack.cli.plugin_loading import plugin_selection
    from perstack.plugins.discovery import discover

    plugin_selection(args)
    for candidate in discover():
        print(candidate.name, candidate.version)
    return 0
