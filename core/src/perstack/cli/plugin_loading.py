"""The plugins that take part in a command: the user's wishes come first, and nothing unwanted is imported."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perstack.plugins.records import PluginSelection
    from perstack.plugins.registry import Registry


def plugin_selection(args: argparse.Namespace) -> PluginSelection:
    """Which plugins the command line, the environment and the settings want."""
    from perstack.plugins.selection import select

    return select(environ=os.environ, options=args.plugin_options)


def load_plugins(args: argparse.Namespace, *, names: Iterable[str] | None = None) -> Registry:
    """The loaded plugins; `names` limits them to some."""
    from perstack.plugins.manager import load

    return load(plugin_selection(args), names=names)
