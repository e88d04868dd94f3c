"""How files and directories are opened: without following a link, and without waiting."""

from __future__ import annotations

import os

_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

#: A handle that needs no read permission on Linux; elsewhere an ordinary read-only one.
DIRECTORY_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _SAFE
#: A directory whose entries are read.
LISTING_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _SAFE
#: Never waits for a FIFO's other end, never follows the last component, never becomes a controlling terminal.
FILE_FLAGS = _SAFE | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
