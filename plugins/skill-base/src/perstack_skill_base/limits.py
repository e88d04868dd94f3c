"""Bounds of the base tools, each with its reason."""

from __future__ import annotations

from perstack_proxy.limits import KIB, MIB

#: Most bytes of text that one readTextFile returns; about 60,000 tokens. More is read page by page.
READ_TEXT_BYTES = 256 * KIB
#: Most bytes that readTextFile passes over to reach a line, so that a huge sparse file ends within a second.
SCAN_BYTES = 512 * MIB
#: Largest file that editTextFile changes; it is held in memory a few times.
EDIT_BYTES = 10 * MIB
#: Most entries that one listDirectory returns.
LIST_ENTRIES = 2_000
#: Longest path, in characters: Linux's own limit.
PATH_CHARACTERS = 4_096

#: Time of a command that does not ask for another, in milliseconds. The requirement's figure.
EXEC_TIMEOUT_MS = 60_000
#: Longest time a command may ask for, in milliseconds, unless the server was started with another.
EXEC_MAX_TIMEOUT_MS = 3_600_000
#: Bytes of each stream that a command's result keeps: the first and the last half. About 16,000 tokens.
EXEC_STREAM_BYTES = 64 * KIB
#: Time that a command's tree has between SIGTERM and SIGKILL, in milliseconds.
EXEC_GRACE_MS = 2_000
#: Most arguments and variables of a command; the kernel bounds their bytes.
EXEC_ARGUMENTS = 4_096

#: Most tasks, and the longest task, of the todo list; all of it is sent to the model each time.
TODO_ITEMS = 500
TODO_CHARACTERS = 2_000

#: Calls that run at once; more are refused, which a client that pipelines without end needs.
CONCURRENT_CALLS = 64
