"""``python -m perstack`` is ``perstack``."""

from __future__ import annotations

import sys

if not sys.flags.safe_path:
    # Python put the current directory first on the path: a cloned project must not replace a module of ours.
    del sys.path[0]

from perstack.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
