"""Run as a program, it tells what loading one plugin imports, in two JSON lists: by its import and by its hooks.

A process of its own, because in this one much is imported already.
"""

from __future__ import annotations

import importlib
import json
import sys

from perstack.plugins.manager import load


def main(name: str, module: str) -> None:
    """Print what importing `module`, and then loading the plugin `name`, adds to the imported modules."""
    load(names=[])
    before = set(sys.modules)
    importlib.import_module(module)
    imported = set(sys.modules)
    load(names=[name])
    asked = set(sys.modules)
    sys.stdout.write(json.dumps([sorted(imported - before), sorted(asked - imported)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
