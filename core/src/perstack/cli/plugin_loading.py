"""The plugins that take part in a command: the user's wishes come first, and nothing unwanted is imported."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perstack.plugins.records import PluginSelection
    from perstack.plugins.registry import Registry


def load_plugins(args: argparse.Namespace, *, names: Iterable[str] | None = None) -> Registry:
    """The plugins of a command that needs no project; `names` limits them to some."""
    from perstack.plugins.manager import load

    return load(plugin_selection(args), names=names)


def plugin_selection(args: argparse.Namespace) -> PluginSelection:
    """Which plugins the command line, the environment and the settings want.

    A project takes part if there is one, because it may block plugins.

    Raises:
        ConfigError: A file of settings cannot be read.
    """
    from perstack.config import files
    from perstack.config.layers import Rank
    from perstack.config.loading import Sources
    from perstack.paths import working_directory
    from perstack.plugins.selection import select

    here = working_directory()
    path = files.find(None, here)
    directory = path.parent if path else here
    layers = files.settings_layers(os.environ, directory)
    if path is not None:
        layers.append(files.read_layer(path, rank=Rank.PROJECT, operator=False))
    sources = Sources(path=path or directory, directory=directory, layers=tuple(layers))
    return select(
        environ=os.environ,
        options=args.plugin_options,
        user=sources.plugins(operator=True),
        project=sources.plugins(operator=False),
    )
