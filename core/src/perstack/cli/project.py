"""How commands open the project that their options mean."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.messages import JsonValue
    from perstack.plugins.registry import Registry


def add_project_options(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options that say which project is meant."""
    parser.add_argument("--config", metavar="PATH", help="configuration file (default: perstack.toml here or above)")
    parser.add_argument(
        "--env-path", metavar="PATH", action="append", help="env file, instead of the configured ones; can be repeated"
    )
    parser.add_argument("--runtime", metavar="NAME", help="decide for this runtime (default: the configured one)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def open_with(args: argparse.Namespace, overrides: Mapping[str, JsonValue] | None = None) -> tuple[Loaded, Registry]:
    """The project that the options of `add_project_options` mean, under `overrides`, and its plugins.

    Raises:
        ConfigError: Carries every problem.
        PluginError: A required plugin did not load, or there is no such runtime.
    """
    runtime: dict[str, JsonValue] = {"runtime": args.runtime} if args.runtime else {}
    loaded, registry = open_overridden(args, {**(overrides or {}), **runtime})
    if args.runtime:
        registry.runtime(args.runtime)
    return loaded, registry


def open_overridden(args: argparse.Namespace, overrides: Mapping[str, JsonValue]) -> tuple[Loaded, Registry]:
    """The project under the values of a command's options, and its plugins, which errors may ask for hints.

    Raises:
        ConfigError: Carries every problem.
        PluginError: A required plugin did not load.
    """
    from perstack.cli.failures import warn
    from perstack.config.opening import open_project
    from perstack.paths import working_directory

    loaded, registry = open_project(
        config=args.config,
        cwd=working_directory(),
        overrides=overrides,
        environ=os.environ,
        env_paths=args.env_path,
        plugin_options=args.plugin_options,
    )
    args.registry = registry
    warn(registry.warnings)
    return loaded, registry
