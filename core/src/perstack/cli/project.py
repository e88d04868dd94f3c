"""Commands that read a project and run nothing: their options, and how they open it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.plugins.registry import Registry


def add_project_options(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options that say which project is meant."""
    parser.add_argument("--config", metavar="PATH", help="configuration file (default: perstack.toml here or above)")
    parser.add_argument(
        "--env-path", metavar="PATH", action="append", help="env file, instead of the configured ones; can be repeated"
    )
    parser.add_argument("--runtime", metavar="NAME", help="decide for this runtime (default: the configured one)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def open_with(args: argparse.Namespace) -> tuple[Loaded, Registry]:
    """The project that the options mean, and its plugins.

    Raises:
        ConfigError: Carries every problem.
        PluginError: A required plugin did not load, or there is no such runtime.
    """
    from perstack.cli.failures import warn
    from perstack.config.opening import open_project

    loaded, registry = open_project(
        config=args.config,
        cwd=Path.cwd(),
        overrides={"runtime": args.runtime} if args.runtime else {},
        environ=os.environ,
        env_paths=args.env_path,
        plugin_options=args.plugin_options,
    )
    args.registry = registry
    warn(registry.warnings)
    if args.runtime:
        registry.runtime(args.runtime)
    return loaded, registry
