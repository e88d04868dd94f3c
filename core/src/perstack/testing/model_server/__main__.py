"""``python -m perstack.testing.model_server --script FILE``: a scripted model for programs of any language."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from perstack.testing.model_server.script import load
from perstack.testing.model_server.server import ModelServer


def main() -> int:
    """Serve until interrupted; the first line of stdout is the server's URL."""
    parser = argparse.ArgumentParser(prog="python -m perstack.testing.model_server", description=__doc__)
    parser.add_argument("--script", type=Path, required=True, help='JSON: {"turns": [{"text": "hello"}]}')
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 chooses a free one")
    options = parser.parse_args()
    try:
        turns = load(options.script.read_bytes())
    except (OSError, ValueError) as error:
        parser.error(f"{options.script}: {error}")
    with ModelServer(turns, port=options.port) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
